"""Bad bodies: every one is refused with AWS's code and a sentence that says where."""

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aws.shapes import operation
from polyport.aws import parse, service
from polyport.errors import ApiError


def refused(name: str, body: bytes | dict[str, Any]) -> ApiError:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(ApiError) as caught:
        parse.parse_json(operation(name), raw)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    "body",
    [
        *(b"{", b"[1]", b'"x"', b"null", b"{} x", b'{"a":NaN}', b'{"a":1e999}', b'{"a":"\xff"}', b'{"a":"\\ud800"}'),
        *(b"[" * 100_000, b'{"a":' * 100_000, b"\xef\xbb\xbf{}", b"Action=X", b"9" * 6000, b'{"a":"\x00"}'),
    ],
)
def test_what_is_not_a_json_object_is_a_serialization_error(body: bytes) -> None:
    """Malformed JSON, other JSON than an object, and nesting without end are told apart from bad members."""
    assert refused("CreateModel", body).code == "SerializationException"


@pytest.mark.parametrize("body", [b"", b"{}", b" \n"])
def test_no_body_is_a_request_without_members(body: bytes) -> None:
    """Clients may leave out the body of an operation that requires nothing."""
    assert parse.parse_json(operation("ListModels"), body) == {}


@pytest.mark.parametrize(
    ("name", "body", "text"),
    [
        ("CreateModel", {"ModelName": 7}, "NUMBER_VALUE can not be converted to a String at 'modelName'"),
        ("CreateModel", {"ModelName": True}, "TRUE_VALUE can not be converted to a String at 'modelName'"),
        ("CreateModel", {"Containers": {}}, "START_OBJECT can not be converted to a List at 'containers'"),
        (
            "CreateModel",
            {"Containers": [{"Image": "i"}, "x"]},
            "STRING_VALUE can not be converted to a Structure at 'containers.2.member'",
        ),
        (
            "CreateModel",
            {"PrimaryContainer": {"Environment": {"A": ["x"]}}},
            "START_ARRAY can not be converted to a String at 'primaryContainer.environment.A.member'",
        ),
        (
            "CreateModel",
            {"PrimaryContainer": {"Environment": []}},
            "START_ARRAY can not be converted to a Map at 'primaryContainer.environment'",
        ),
        ("CreateModel", {"EnableNetworkIsolation": 1}, "NUMBER_VALUE can not be converted to a Boolean"),
        ("ListModels", {"MaxResults": "5"}, "STRING_VALUE can not be converted to an Integer at 'maxResults'"),
        ("ListModels", {"MaxResults": False}, "FALSE_VALUE can not be converted to an Integer at 'maxResults'"),
        ("ListModels", {"MaxResults": 1.5}, "NUMBER_VALUE can not be converted to an Integer at 'maxResults'"),
        ("ListModels", {"MaxResults": 2**31}, "A number out of the range of an Integer at 'maxResults'"),
        ("ListModels", {"MaxResults": 10**400}, "A number out of the range of an Integer at 'maxResults'"),
        ("ListModels", {"CreationTimeAfter": "noon"}, "STRING_VALUE can not be converted to a Timestamp"),
        ("ListModels", {"CreationTimeAfter": 1e300}, "A number out of the range of a Timestamp"),
        ("ListModels", {"CreationTimeAfter": "0001-01-01T00:00:00+23:00"}, "out of the range of a Timestamp"),
        (
            "UpdateEndpointWeightsAndCapacities",
            {"DesiredWeightsAndCapacities": [{"DesiredWeight": 10**400}]},
            "A number out of range at 'desiredWeightsAndCapacities.1.member.desiredWeight'",
        ),
        (
            "UpdateEndpointWeightsAndCapacities",
            {"DesiredWeightsAndCapacities": [{"DesiredWeight": "NaN"}]},
            "STRING_VALUE can not be converted to a Float",
        ),
    ],
)
def test_a_wrong_type_is_a_serialization_error_that_says_where(name: str, body: dict[str, Any], text: str) -> None:
    """The message has what was found, what was wanted, and the path in AWS's notation."""
    error = refused(name, body)
    assert error.code == "SerializationException"
    assert text in error.message


def test_unknown_members_are_refused_all_at_once_with_a_suggestion() -> None:
    """AWS drops them unseen; a misspelt member that has no effect costs its author hours."""
    error = refused("CreateModel", {"Modelname": "m", "PrimaryContainer": {"Imagee": "i"}, "Q": 1})
    assert error.code == "ValidationException"
    assert error.message == (
        "3 unknown members in CreateModel: 'Modelname' (did you mean 'ModelName'?); "
        "'Imagee' at 'primaryContainer' (did you mean 'Image'?); 'Q'"
    )
    assert refused("DeleteModel", {"x": 1}).message == "1 unknown member in DeleteModel: 'x'"


def test_a_message_about_unknown_members_stays_short() -> None:
    """A hostile body cannot make the answer as large as itself."""
    error = refused("DeleteModel", {f"{n}{'x' * 50}": n for n in range(20_000)} | {"y" * 100_000: 1})
    assert len(error.message) < 2000
    assert error.message.endswith("; and 19991 more")
    error = refused("CreateModel", {"PrimaryContainer": {"Environment": {"k" * 100_000: 1}}})
    assert len(error.message) < 500


def test_null_members_are_absent_and_the_type_marker_is_ignored() -> None:
    """Reference 1.3: absent members are omitted; some SDKs send null. ``__type`` names a shape and carries nothing."""
    body = b'{"__type":"x#CreateModelInput","ModelName":null,"Containers":[null],"Tags":[{"Key":"a","Value":null}]}'
    assert parse.parse_json(operation("CreateModel"), body) == {"Containers": [None], "Tags": [{"Key": "a"}]}


@pytest.mark.parametrize(
    ("sent", "seconds"),
    [
        (1704067200.25, 1704067200.25),
        (1704067200, 1704067200.0),
        ("2024-01-01T00:00:00.25Z", 1704067200.25),
        ("2024-01-01T02:00:00+02:00", 1704067200.0),
        ("2024-01-01", 1704067200.0),
    ],
)
def test_timestamps_are_numbers_or_iso_text(sent: float | str, seconds: float) -> None:
    """JSON 1.1 sends epoch numbers; text is accepted because people write it by hand."""
    body = json.dumps({"CreationTimeAfter": sent}).encode()
    assert parse.parse_json(operation("ListModels"), body) == {"CreationTimeAfter": seconds}


@pytest.mark.parametrize("blob", ["a", "****", "YQ=", "\u00e4"])
def test_a_blob_that_is_not_base64_is_a_serialization_error(blob: str) -> None:
    """Blobs are strict base64."""
    encrypt = service.load("kms").operation("Encrypt")
    assert encrypt is not None
    with pytest.raises(ApiError, match="base64 at 'plaintext'"):
        parse.parse_json(encrypt, json.dumps({"Plaintext": blob}).encode())


KEYS = st.sampled_from(["ModelName", "PrimaryContainer", "Containers", "Environment", "Image", "Tags", "Key", "x"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, JSON, max_size=5))
def test_no_json_makes_the_parser_fail_otherwise(body: dict[str, Any]) -> None:
    """Whatever the JSON, the result is members or an `ApiError`, never another exception."""
    with contextlib.suppress(ApiError):
        assert isinstance(parse.parse_json(operation("CreateModel"), json.dumps(body).encode()), dict)
