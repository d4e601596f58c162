"""Values of a shape for hypothesis, as a caller of boto3 would write them, and how Polyport holds the same values."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from botocore.model import OperationModel, Shape
from hypothesis import strategies as st

from polyport.aws import patterns, service

SERVED = [
    "CreateModel",
    "DescribeModel",
    "ListModels",
    "DeleteModel",
    "CreateEndpointConfig",
    "DescribeEndpointConfig",
    "ListEndpointConfigs",
    "DeleteEndpointConfig",
    "CreateEndpoint",
    "DescribeEndpoint",
    "ListEndpoints",
    "UpdateEndpoint",
    "UpdateEndpointWeightsAndCapacities",
    "DeleteEndpoint",
    "AddTags",
    "ListTags",
    "DeleteTags",
]

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
#: Unicode classes are thousands of ranges: too slow to draw from.
TAG_TEXT = st.text("abc XYZ\u00e4\u6f22\u0663_.:/=+-@1", max_size=20)
ALPHABET = st.characters(codec="utf-8", exclude_categories=["Cs"])


def operation(name: str, of: str = "sagemaker") -> OperationModel:
    """An operation, of the control plane if nothing else is said."""
    found = service.load(of).operation(name)
    assert found is not None
    return found


def values(shape: Shape, full: bool = False) -> st.SearchStrategy[Any]:
    """Valid values; ``full``: with every member, and at least one entry in every list and map."""
    match shape.type_name:
        case "structure":
            return structures(shape, full)
        case "list":
            least, most = sizes(shape, full)
            return st.lists(values(shape.member, full), min_size=least, max_size=most)
        case "map":
            least, most = sizes(shape, full)
            return st.dictionaries(values(shape.key), values(shape.value, full), min_size=least, max_size=most)
        case "string":
            return strings(shape)
        case "boolean":
            return st.booleans()
        case "integer" | "long":
            return st.integers(shape.metadata.get("min", -(2**31)), shape.metadata.get("max", 2**31 - 1))
        case "float" | "double":
            return st.floats(shape.metadata.get("min", 0), 1e6)
        case "timestamp":
            return st.integers(0, 4 * 10**12).map(lambda ms: EPOCH + timedelta(milliseconds=ms))
        case "blob":
            return st.binary(max_size=20)
    raise AssertionError(f"no strategy for {shape}")


def structures(shape: Shape, full: bool) -> st.SearchStrategy[dict[str, Any]]:
    """Values of a structure; of a union those with one member."""
    members = {name: values(member, full) for name, member in shape.members.items()}
    if shape.is_tagged_union:
        return st.one_of([st.fixed_dictionaries({name: inner}) for name, inner in members.items()])
    required = {name: inner for name, inner in members.items() if full or name in shape.required_members}
    optional = {name: inner for name, inner in members.items() if name not in required}
    return st.fixed_dictionaries(required, optional=optional)


def sizes(shape: Shape, full: bool) -> tuple[int, int]:
    """How few and how many entries to draw for a list or map: small, and within its limits."""
    least = max(shape.metadata.get("min", 0), int(full))
    return least, min(shape.metadata.get("max", least + 2), least + 2)


def strings(shape: Shape) -> st.SearchStrategy[str]:
    """Texts that keep the shape's enum, or its pattern and length."""
    least, most = shape.metadata.get("min", 0), shape.metadata.get("max", 200)
    if "enum" in shape.metadata:
        return st.sampled_from(shape.metadata["enum"])
    pattern = shape.metadata.get("pattern")
    if pattern is None:
        return st.text(ALPHABET, min_size=least, max_size=min(most, least + 20))
    if r"\p" in pattern:
        return TAG_TEXT.filter(lambda text: least <= len(text) <= most)
    drawn = st.from_regex(patterns.compiled(pattern), fullmatch=True, alphabet=ALPHABET)
    return drawn.filter(lambda text: least <= len(text) <= most)


def held(value: Any) -> Any:
    """The value as Polyport's dicts hold it: epoch seconds in place of datetimes."""
    if isinstance(value, datetime):
        return (value - EPOCH) / timedelta(seconds=1)
    if isinstance(value, dict):
        return {name: held(inner) for name, inner in value.items()}
    return [held(inner) for inner in value] if isinstance(value, list) else value


def sites(shape: Shape, value: Any, path: str = "") -> Iterator[tuple[Shape, dict[str, Any], str, str]]:
    """Every member in a value: (the structure's shape, the structure, the member's name, its path)."""
    if shape.type_name == "structure":
        for name in value:
            at = f"{path}.{name[0].lower()}{name[1:]}".lstrip(".")
            yield shape, value, name, at
            yield from sites(shape.members[name], value[name], at)
    elif shape.type_name == "list" and shape.member.type_name == "structure":
        for index, inner in enumerate(value):
            yield from sites(shape.member, inner, f"{path}.{index + 1}.member")
