"""``DataCaptureConfig`` in CreateEndpointConfig, and what DescribeEndpoint says of it."""

import logging
from typing import Any

import pytest

from api.harness import Plane, refusal, variant
from polyport.domain.captures import Capture

GIVEN = {
    "InitialSamplingPercentage": 20,
    "DestinationS3Uri": "s3://bucket/captured/",
    "CaptureOptions": [{"CaptureMode": "Input"}, {"CaptureMode": "Output"}],
}


def configure(sagemaker: Any, name: str, **capture: Any) -> None:
    sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[variant()], DataCaptureConfig=GIVEN | capture
    )


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Capture("s3://bucket/captured/", 20, True, True, ("text/csv",))),
        (
            {"CaptureOptions": [{"CaptureMode": "Input"}], "EnableCapture": False, "KmsKeyId": "key"},
            Capture("s3://bucket/captured/", 20, True, False, ("text/csv",), (), "key", False),
        ),
        (
            {
                "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
                "CaptureContentTypeHeader": {"JsonContentTypes": ["application/JSON", "text/x"]},
            },
            Capture("s3://bucket/captured/", 20, True, True, (), ("application/json", "text/x")),
        ),
    ],
)
def test_variants_carry_what_was_asked_for(
    plane: Plane, sagemaker: Any, model: str, given: dict[str, Any], expected: Capture
) -> None:
    """Rule: all of it, on every variant. Without content types `text/csv` is text; with any, only those listed are."""
    configure(sagemaker, "c", **given)
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    assert [one.capture for one in plane.endpoint("e").wanted.variants] == [expected]


def test_it_has_an_effect(sagemaker: Any, model: str, caplog: pytest.LogCaptureFixture) -> None:
    """Rule: only what has none is logged as such."""
    caplog.set_level(logging.INFO, "polyport")
    configure(sagemaker, "c")
    assert "DataCaptureConfig" not in caplog.text


def test_describe_tells_whether_it_captures(plane: Plane, sagemaker: Any, model: str) -> None:
    """Rule: Started once a fleet takes traffic; the members are those of its configuration, not of the next."""
    configure(sagemaker, "c")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    expected = {
        "EnableCapture": True,
        "CaptureStatus": "Stopped",
        "CurrentSamplingPercentage": 20,
        "DestinationS3Uri": "s3://bucket/captured/",
        "KmsKeyId": "",
    }
    assert sagemaker.describe_endpoint(EndpointName="e")["DataCaptureConfig"] == expected
    plane.settle("e")
    expected["CaptureStatus"] = "Started"
    assert sagemaker.describe_endpoint(EndpointName="e")["DataCaptureConfig"] == expected
    configure(sagemaker, "off", EnableCapture=False, InitialSamplingPercentage=1)
    sagemaker.update_endpoint(EndpointName="e", EndpointConfigName="off", RetainAllVariantProperties=True)
    assert sagemaker.describe_endpoint(EndpointName="e")["DataCaptureConfig"] == expected
    plane.settle("e")
    found = sagemaker.describe_endpoint(EndpointName="e")["DataCaptureConfig"]
    assert (found["EnableCapture"], found["CaptureStatus"], found["CurrentSamplingPercentage"]) == (False, "Stopped", 1)


def test_an_endpoint_without_it_does_not_show_it(sagemaker: Any, endpoint: str) -> None:
    """Rule: the member is absent."""
    assert "DataCaptureConfig" not in sagemaker.describe_endpoint(EndpointName=endpoint)


@pytest.mark.parametrize("kind", ["DataCaptureConfig", "DesiredWeight"])
def test_an_update_takes_the_new_configurations_capture(plane: Plane, sagemaker: Any, model: str, kind: str) -> None:
    """Rule: whatever is retained or excluded."""
    configure(sagemaker, "c")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    plane.settle("e")
    configure(sagemaker, "next", InitialSamplingPercentage=55)
    sagemaker.update_endpoint(
        EndpointName="e",
        EndpointConfigName="next",
        RetainAllVariantProperties=True,
        ExcludeRetainedVariantProperties=[{"VariantPropertyType": kind}],
    )
    [one] = plane.endpoint("e").wanted.variants
    assert one.capture is not None
    assert one.capture.percentage == 55


def test_new_weights_keep_it(plane: Plane, sagemaker: Any, model: str) -> None:
    """Rule: nothing but weights and counts changes."""
    configure(sagemaker, "c")
    sagemaker.create_endpoint(EndpointName="e", EndpointConfigName="c")
    plane.settle("e")
    wish = {"VariantName": "AllTraffic", "DesiredInstanceCount": 2}
    sagemaker.update_endpoint_weights_and_capacities(EndpointName="e", DesiredWeightsAndCapacities=[wish])
    [one] = plane.endpoint("e").wanted.variants
    assert one.capture is not None


@pytest.mark.parametrize(
    ("destination", "message"),
    [
        (
            "https://bucket.s3.amazonaws.com/x",
            "DataCaptureConfig.DestinationS3Uri with https is not supported: write it as s3://BUCKET/PREFIX.",
        ),
        ("s3://bucket/../other", "DataCaptureConfig.DestinationS3Uri: the name '..'."),
        ("s3://bucket//x", "DataCaptureConfig.DestinationS3Uri: an empty name."),
        ("s3://b?d/x", "DataCaptureConfig.DestinationS3Uri: 'b?d' is not a bucket name."),
    ],
)
def test_a_destination_must_be_one_that_can_be_written(
    sagemaker: Any, model: str, destination: str, message: str
) -> None:
    """Rule: what is told at once need not be looked for in a log."""
    request = {
        "ProductionVariants": [variant()],
        "DataCaptureConfig": GIVEN | {"DestinationS3Uri": destination},
    }
    assert refusal(sagemaker.create_endpoint_config, EndpointConfigName="c", **request) == message
