"""Shadow variants in the API: a configuration that has one, and how its endpoint is described."""

import logging
from typing import Any

import pytest

from api.harness import ARN, Plane, refusal, variant

A_SHARE = "is the share of the calls that are copied to the shadow variant, from 0 to 1"


@pytest.fixture
def shadowed(sagemaker: Any, model: str) -> str:
    """A configuration with a shadow that gets half of the calls."""
    shadow = variant("next", InitialVariantWeight=0.5, InitialInstanceCount=2)
    sagemaker.create_endpoint_config(
        EndpointConfigName="shadowed", ProductionVariants=[variant("now")], ShadowProductionVariants=[shadow]
    )
    return "shadowed"


@pytest.fixture
def served(plane: Plane, sagemaker: Any, shadowed: str) -> str:
    """Its endpoint, in service."""
    sagemaker.create_endpoint(EndpointName="Demo", EndpointConfigName=shadowed)
    plane.settle("Demo")
    return "Demo"


def weights(described: dict[str, Any], member: str) -> dict[str, tuple[float, float]]:
    return {each["VariantName"]: (each["CurrentWeight"], each["DesiredWeight"]) for each in described[member]}


def test_a_config_with_a_shadow_is_described_as_it_was_given(sagemaker: Any, model: str) -> None:
    """Rule: in the member that it came in, with the default weight."""
    sagemaker.create_endpoint_config(
        EndpointConfigName="c", ProductionVariants=[variant("now")], ShadowProductionVariants=[variant("next")]
    )
    answer = sagemaker.describe_endpoint_config(EndpointConfigName="c")
    assert answer["ProductionVariants"] == [variant("now", InitialVariantWeight=1.0)]
    assert answer["ShadowProductionVariants"] == [variant("next", InitialVariantWeight=1.0)]


@pytest.mark.parametrize(("production", "shadows"), [(2, 1), (1, 2)])
def test_one_shadow_goes_with_one_production_variant(sagemaker: Any, model: str, production: int, shadows: int) -> None:
    """Rule: SageMaker's, and told with what was given."""
    text = refusal(
        sagemaker.create_endpoint_config,
        EndpointConfigName="c",
        ProductionVariants=[variant(f"p{number}") for number in range(production)],
        ShadowProductionVariants=[variant(f"s{number}") for number in range(shadows)],
    )
    assert text == (
        "With ShadowProductionVariants, an endpoint configuration has one variant in ProductionVariants and one in "
        f"ShadowProductionVariants; given: {production} and {shadows}."
    )


@pytest.mark.parametrize(
    ("shadow", "message"),
    [
        (variant("now"), 'VariantName must be unique within an endpoint configuration; given more than once: "now".'),
        (variant("next", "Gone"), f'Could not find model "{ARN}:model/gone".'),
        (
            variant("next", InitialVariantWeight=10.0),
            f"ShadowProductionVariants[0].InitialVariantWeight {A_SHARE}; given: 10.",
        ),
        (
            {"VariantName": "next", "ModelName": "one", "InstanceType": "ml.m5.xlarge"},
            "ShadowProductionVariants[0].InitialInstanceCount must be given.",
        ),
    ],
    ids=["name", "model", "weight", "count"],
)
def test_a_shadow_keeps_the_rules_of_variants(sagemaker: Any, model: str, shadow: dict[str, Any], message: str) -> None:
    """Rule: those of production variants, and its weight is a share."""
    request = {"ProductionVariants": [variant("now")], "ShadowProductionVariants": [shadow]}
    assert refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", **request) == message


def test_members_without_effect_are_logged_for_shadows_too(
    sagemaker: Any, model: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Rule: as for production variants; that there is a shadow is not one of them."""
    caplog.set_level(logging.INFO, "polyport")
    shadow = variant("next", VolumeSizeInGB=5, RoutingConfig={"RoutingStrategy": "KV_AWARE"})
    sagemaker.create_endpoint_config(
        EndpointConfigName="c", ProductionVariants=[variant("now")], ShadowProductionVariants=[shadow]
    )
    found = caplog.text.rpartition("no effect here: ")[2].strip().split(", ")
    assert found == [
        "ProductionVariants[0].InstanceType",
        "ShadowProductionVariants[0].InstanceType",
        "ShadowProductionVariants[0].RoutingConfig.RoutingStrategy",
        "ShadowProductionVariants[0].VolumeSizeInGB",
    ]


def test_an_endpoint_copies_which_of_its_variants_is_the_shadow(plane: Plane, served: str) -> None:
    """Rule: the reconciler starts both; routes need to know."""
    wanted = plane.endpoint(served).wanted.variants
    assert [(one.name, one.shadow, one.weight, one.instance_count) for one in wanted] == [
        ("now", False, 1.0, 1),
        ("next", True, 0.5, 2),
    ]


def test_a_new_endpoint_shows_its_shadow_apart(plane: Plane, sagemaker: Any, shadowed: str) -> None:
    """Rule: in the variants and in the summary of what is coming."""
    sagemaker.create_endpoint(EndpointName="Demo", EndpointConfigName=shadowed)
    described = sagemaker.describe_endpoint(EndpointName="Demo")
    assert weights(described, "ProductionVariants") == {"now": (0.0, 1.0)}
    assert weights(described, "ShadowProductionVariants") == {"next": (0.0, 0.5)}
    assert weights(described["PendingDeploymentSummary"], "ShadowProductionVariants") == {"next": (0.0, 0.5)}


def test_an_endpoint_at_rest_shows_its_shadow_apart(plane: Plane, sagemaker: Any, served: str) -> None:
    """Rule: as it shows production variants; the member is not there when there is no shadow."""
    plane.live.healthy = {"now": 1, "next": 2}
    described = sagemaker.describe_endpoint(EndpointName=served)
    assert [one["VariantName"] for one in described["ProductionVariants"]] == ["now"]
    [shadow] = described["ShadowProductionVariants"]
    assert (shadow["VariantName"], shadow["CurrentWeight"], shadow["CurrentInstanceCount"]) == ("next", 0.5, 2)
    assert len(shadow["DeployedImages"]) == 2


def test_without_a_shadow_the_member_is_not_there(plane: Plane, sagemaker: Any, endpoint: str) -> None:
    """Rule: the shape allows no empty list."""
    assert "ShadowProductionVariants" not in sagemaker.describe_endpoint(EndpointName=endpoint)
    plane.settle(endpoint)
    assert "ShadowProductionVariants" not in sagemaker.describe_endpoint(EndpointName=endpoint)


def test_a_shadows_share_and_count_can_change(plane: Plane, sagemaker: Any, served: str) -> None:
    """Rule: UpdateEndpointWeightsAndCapacities names it as any variant; more than all of the calls is refused."""
    change = sagemaker.update_endpoint_weights_and_capacities
    wish = {"VariantName": "next", "DesiredWeight": 0.25, "DesiredInstanceCount": 1}
    change(EndpointName=served, DesiredWeightsAndCapacities=[wish])
    described = sagemaker.describe_endpoint(EndpointName=served)
    assert weights(described, "ShadowProductionVariants")["next"][1] == 0.25
    plane.settle(served)
    wish["DesiredWeight"] = 1.5
    text = refusal(change, EndpointName=served, DesiredWeightsAndCapacities=[wish])
    assert text == f"DesiredWeight of next {A_SHARE}; given: 1.5."


def test_what_was_a_shadow_retains_nothing_as_a_production_variant(plane: Plane, sagemaker: Any, served: str) -> None:
    """Rule: the weight of a shadow means something else, also where the names are the same."""
    sagemaker.create_endpoint_config(
        EndpointConfigName="promoted",
        ProductionVariants=[variant("next", InitialVariantWeight=3.0)],
        ShadowProductionVariants=[variant("now", InitialVariantWeight=0.1)],
    )
    sagemaker.update_endpoint(EndpointName=served, EndpointConfigName="promoted", RetainAllVariantProperties=True)
    wanted = plane.endpoint(served).wanted.variants
    assert [(one.name, one.weight, one.instance_count, one.shadow) for one in wanted] == [
        ("next", 3.0, 1, False),
        ("now", 0.1, 1, True),
    ]
