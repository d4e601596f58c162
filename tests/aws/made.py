"""A service of nobody's, with all that the query protocol has and the services that Polyport knows have not."""

from botocore.model import OperationModel, ServiceModel

SCALARS = ["string", "integer", "long", "float", "double", "boolean", "blob", "timestamp"]
#: Flattened lists and maps, other names, other timestamps.
MADE = ServiceModel(
    {
        "metadata": {"apiVersion": "2020-01-01", "protocol": "query", "endpointPrefix": "made", "serviceId": "Made"},
        "operations": {
            "Do": {"name": "Do", "input": {"shape": "All"}, "output": {"shape": "All", "resultWrapper": "DoResult"}},
            "Bare": {"name": "Bare", "output": {"shape": "All"}},
        },
        "shapes": {
            **{name: {"type": name} for name in SCALARS},
            "All": {
                "type": "structure",
                "members": {
                    **{f"A{name}": {"shape": name} for name in SCALARS},
                    "Flat": {"shape": "Flat"},
                    "FlatNamed": {"shape": "FlatNamed"},
                    "Named": {"shape": "Named", "locationName": "Nom"},
                    "FlatMap": {"shape": "FlatMap"},
                    "FlatMapNamed": {"shape": "FlatMap", "locationName": "Carte"},
                    "Map": {"shape": "Map"},
                    "Deep": {"shape": "Deep"},
                    "Epoch": {"shape": "timestamp", "timestampFormat": "unixTimestamp"},
                },
            },
            "Flat": {"type": "list", "member": {"shape": "string"}, "flattened": True},
            "FlatNamed": {"type": "list", "member": {"shape": "Pair", "locationName": "Paar"}, "flattened": True},
            "Named": {"type": "list", "member": {"shape": "integer", "locationName": "Zahl"}},
            "FlatMap": {"type": "map", "key": {"shape": "string"}, "value": {"shape": "Pair"}, "flattened": True},
            "Map": {
                "type": "map",
                "key": {"shape": "string", "locationName": "Wort"},
                "value": {"shape": "Named", "locationName": "Sinn"},
            },
            "Deep": {"type": "structure", "members": {"Below": {"shape": "Flat"}, "Pairs": {"shape": "FlatNamed"}}},
            "Pair": {
                "type": "structure",
                "required": ["Left"],
                "members": {"Left": {"shape": "string"}, "Right": {"shape": "double", "locationName": "Rechts"}},
            },
        },
    },
    "made",
)


def of_made(name: str) -> OperationModel:
    """An operation of the made service: ``Do``, or ``Bare``, which has no input and no wrapper."""
    return MADE.operation_model(name)
