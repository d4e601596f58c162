"""botocore is the oracle: what it serializes we parse, what we render it parses, for every operation served."""

from typing import Any

import pytest
from botocore.parsers import create_parser
from botocore.serialize import create_serializer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aws.shapes import SERVED, held, operation, values
from polyport.aws import parse, render, service, validate

QUICK = settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
WITH_OUTPUT = [name for name in SERVED if operation(name).output_shape is not None]


@pytest.mark.parametrize("name", SERVED)
def test_what_botocore_serializes_is_parsed_back(name: str) -> None:
    """For generated arguments, botocore's request carries the protocol's headers, parses to equal members, is valid."""
    described = operation(name)
    serializer = create_serializer("json")

    @QUICK
    @given(values(described.input_shape))
    def check(arguments: dict[str, Any]) -> None:
        sent = serializer.serialize_to_request(arguments, described)
        assert sent["headers"]["X-Amz-Target"] == f"SageMaker.{name}"
        request = parse.parse_json(described, sent["body"])
        assert request == held(arguments)
        validate.validate(described, request)

    check()


@pytest.mark.parametrize("name", WITH_OUTPUT)
def test_what_is_rendered_botocore_parses_back(name: str) -> None:
    """For generated answers, botocore reads equal members and the request id from our response."""
    described = operation(name)
    parser = create_parser("json")

    @QUICK
    @given(values(described.output_shape))
    def check(answer: dict[str, Any]) -> None:
        response = render.render_json(described, held(answer), "id-1")
        headers = {name.decode().lower(): value.decode() for name, value in response.headers}
        parts = {"status_code": response.status, "headers": headers, "body": response.body}
        parsed = parser.parse(parts, described.output_shape)
        assert parsed.pop("ResponseMetadata")["RequestId"] == "id-1"
        assert held(parsed) == held(answer)
        assert headers["content-type"] == "application/x-amz-json-1.1"

    check()


@pytest.mark.parametrize("name", sorted(set(SERVED) - set(WITH_OUTPUT)))
def test_an_operation_without_output_answers_an_empty_body(name: str) -> None:
    """Reference 1.3: delete operations answer 200 with no body."""
    response = render.render_json(operation(name), None, "id-1")
    assert (response.status, response.body) == (200, b"")


def test_a_timestamp_may_be_a_datetime_and_goes_out_in_milliseconds() -> None:
    """AWS's timestamps are epoch seconds with three decimals."""
    described = operation("DescribeModel")
    body = render.render_json(described, {"ModelName": "m", "CreationTime": 1529870369.98649}, "i").body
    assert body == b'{"ModelName":"m","CreationTime":1529870369.986}'


def test_an_absent_member_is_left_out_and_an_unknown_one_is_a_mistake_of_ours() -> None:
    """``None`` is AWS's absent member; a member outside the output shape must never be sent."""
    described = operation("DescribeModel")
    assert render.render_json(described, {"ModelName": None}, "i").body == b"{}"
    with pytest.raises(ValueError, match="no member 'Nodel'"):
        render.render_json(described, {"Nodel": "m"}, "i")
    with pytest.raises(TypeError, match="ModelName is a string"):
        render.render_json(described, {"ModelName": 7}, "i")


@QUICK
@given(st.binary(max_size=40))
def test_blobs_and_binary_survive_the_way_back(blob: bytes) -> None:
    """Blobs are base64 in both directions (checked on an operation outside the served ones, which have no blob)."""
    described = service.load("kms").operation("Encrypt")
    assert described is not None
    arguments = {"KeyId": "k", "Plaintext": blob}
    sent = create_serializer("json").serialize_to_request(arguments, described)
    assert parse.parse_json(described, sent["body"]) == arguments
    body = render.render_json(described, {"CiphertextBlob": blob}, "i").body
    parts = {"status_code": 200, "headers": {}, "body": body}
    assert create_parser("json").parse(parts, described.output_shape)["CiphertextBlob"] == blob
