"""``DataCaptureConfig``: its rules, what endpoints carry of it, and what DescribeEndpoint says."""

from collections.abc import Iterable, Mapping
from typing import Any

from polyport.api.refusals import invalid
from polyport.artifacts import locations, tree
from polyport.domain.captures import Capture
from polyport.domain.endpoints import Endpoint, Variant
from polyport.errors import ArtifactError

MEMBER = "DataCaptureConfig"
#: What CSV is taken to be where nothing is said of content types.
USUAL_CSV = ("text/csv",)
_INPUT, _OUTPUT = {"Input", "InputAndOutput"}, {"Output", "InputAndOutput"}


def check(config: Mapping[str, Any]) -> None:
    """The rules beyond the model's. Raises `ApiError`."""
    if MEMBER not in config:
        return
    given = config[MEMBER]["DestinationS3Uri"]
    if given.startswith("https://"):
        raise invalid(f"{MEMBER}.DestinationS3Uri with https is not supported: write it as s3://BUCKET/PREFIX.")
    try:
        place = locations.parse(given)
        assert isinstance(place, locations.Bucket), "it begins with s3://, as the pattern asks for"
        # What can be a key in a store and not a folder on a disk is refused in both: a destination works everywhere.
        key = place.key.rstrip("/")
        tree.check_path(key.split("/") if key else ())
    except ArtifactError as error:
        raise invalid(f"{MEMBER}.DestinationS3Uri: {error}.") from error


def of(config: Mapping[str, Any]) -> Capture | None:
    """What the variants of an endpoint configuration carry."""
    given = config.get(MEMBER)
    if given is None:
        return None
    modes = {option["CaptureMode"] for option in given["CaptureOptions"]}
    types = given.get("CaptureContentTypeHeader")
    return Capture(
        destination=given["DestinationS3Uri"],
        percentage=given["InitialSamplingPercentage"],
        takes_input=bool(modes & _INPUT),
        takes_output=bool(modes & _OUTPUT),
        csv_types=USUAL_CSV if types is None else _lower(types.get("CsvContentTypes", ())),
        json_types=() if types is None else _lower(types.get("JsonContentTypes", ())),
        kms_key=given.get("KmsKeyId", ""),
        enabled=given.get("EnableCapture", True),
    )


def summary(endpoint: Endpoint) -> dict[str, Any] | None:
    """``DataCaptureConfigSummary`` of what takes the traffic, or of what will; ``None``: there is none."""
    active = endpoint.state.active
    variants: Iterable[Variant] = (
        (fleet.variant for fleet in active.fleets) if active is not None else endpoint.wanted.variants
    )
    capture = next((variant.capture for variant in variants if variant.capture is not None), None)
    if capture is None:
        return None
    is_capturing = capture.enabled and active is not None and not endpoint.wanted.deleted
    return {
        "EnableCapture": capture.enabled,
        "CaptureStatus": "Started" if is_capturing else "Stopped",
        "CurrentSamplingPercentage": capture.percentage,
        "DestinationS3Uri": capture.destination,
        "KmsKeyId": capture.kms_key,
    }


def _lower(types: Iterable[str]) -> tuple[str, ...]:
    return tuple(kind.lower() for kind in types)
