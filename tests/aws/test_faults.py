"""Errors: botocore must find code, message and request id in every protocol."""

from typing import Any

import pytest
from botocore.parsers import create_parser
from hypothesis import given, settings
from hypothesis import strategies as st

from polyport.aws import faults, service
from polyport.aws.dispatch import Call
from polyport.errors import ApiError

PROTOCOLS = ["json", "rest-json", "query", "ec2", "rest-xml", "smithy-rpc-v2-cbor"]
HOSTILE = 'He said "<no> & never",\r\n\u00e4\u6f22\U0001f600 ]]>'


def call(protocol: str, name: str = "other") -> Call:
    return Call(name, protocol, "DoIt", "DoIt")


def parsed(error: ApiError, of: Call, shape: Any = None) -> dict[str, Any]:
    response = faults.render_fault(error, of, "id-1")
    headers = {name.decode().lower(): value.decode() for name, value in response.headers}
    parts = {"status_code": response.status, "headers": headers, "body": response.body}
    found: dict[str, Any] = create_parser(of.protocol).parse(parts, None)
    if shape is not None:  # as botocore's client does: the modelled members come from a second look
        found |= create_parser(of.protocol).parse(parts, shape)
    assert found["ResponseMetadata"]["HTTPStatusCode"] == error.status
    return found


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ["other", "s3", "sagemaker"])
def test_botocore_finds_code_message_and_request_id(protocol: str, name: str) -> None:
    """Whatever the text holds, nothing of it can be taken for markup."""
    found = parsed(ApiError("UnknownOperationException", HOSTILE, 400), call(protocol, name))
    assert found["Error"]["Code"] == "UnknownOperationException"
    # XML readers turn a carriage return into a line feed.
    assert found["Error"]["Message"].replace("\r\n", "\n") == HOSTILE.replace("\r\n", "\n")
    assert found["ResponseMetadata"]["RequestId"] == "id-1"


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=300), st.sampled_from(PROTOCOLS))
def test_any_text_can_be_told_in_any_protocol(text: str, protocol: str) -> None:
    """Control characters that XML cannot hold are replaced; JSON and CBOR bring every text across."""
    found = parsed(ApiError("X", "-" + text, 400), call(protocol))
    if protocol in ("json", "rest-json", "smithy-rpc-v2-cbor"):
        assert found["Error"]["Message"] == "-" + text
    assert found["Error"]["Code"] == "X"


@pytest.mark.parametrize("size", [10, 100, 300, 70_000])
def test_cbor_texts_of_every_size_are_framed_right(size: int) -> None:
    """Sizes take one to five bytes."""
    found = parsed(ApiError("X", "m" * size, 400), call("smithy-rpc-v2-cbor"))
    assert found["Error"]["Message"] == "m" * size


def test_a_validation_exception_of_sagemaker_reads_as_aws_writes_it() -> None:
    """Reference 1.3: ``__type`` and ``message``, the code in a header too, and the content type of JSON 1.1."""
    response = faults.render_fault(ApiError("ValidationException", "no"), call("json", "sagemaker"), "id-1")
    assert response.body == b'{"__type":"ValidationException","message":"no"}'
    assert dict(response.headers) == {
        b"Content-Type": b"application/x-amz-json-1.1",
        b"x-amzn-RequestId": b"id-1",
        b"x-amzn-ErrorType": b"ValidationException",
    }


def test_a_modelled_error_of_sagemaker_fills_its_member() -> None:
    """SageMaker's exceptions declare ``Message``: boto3's typed exception must carry it."""
    shape = service.load("sagemaker").model.shape_for("ResourceLimitExceeded")
    found = parsed(ApiError("ResourceLimitExceeded", "too many"), call("json", "sagemaker"), shape)
    assert found["Message"] == found["Error"]["Message"] == "too many"


def test_a_model_error_of_the_runtime_has_all_its_members() -> None:
    """Reference 1.4: the code is in the header, the body has its own members."""
    shape = service.load("sagemaker-runtime").model.shape_for("ModelError")
    error = ApiError(
        "ModelError",
        "Received client error (404)",
        424,
        ErrorCode="CLIENT_ERROR_FROM_MODEL",
        OriginalStatusCode=404,
        OriginalMessage="nope",
        LogStreamArn="arn",
    )
    found = parsed(error, call("rest-json", "sagemaker"), shape)
    assert found["Error"]["Code"] == "ModelError"
    assert (found["OriginalStatusCode"], found["OriginalMessage"], found["LogStreamArn"]) == (404, "nope", "arn")


def test_json_keeps_the_version_that_the_caller_speaks() -> None:
    """A JSON 1.0 client gets a JSON 1.0 error."""
    asked = Call("dynamodb", "json", "ListTables", "ListTables", json_version="1.0")
    response = faults.render_fault(ApiError("X", "no"), asked, "i")
    assert (b"Content-Type", b"application/x-amz-json-1.0") in response.headers


def test_a_failure_of_ours_tells_nothing_but_the_request_id() -> None:
    """No stack trace and no text of an exception leaves the house."""
    found = parsed(faults.internal_failure("id-1"), call("json", "sagemaker"))
    assert found["Error"]["Code"] == "InternalFailure"
    assert "id-1" in found["Error"]["Message"]


def test_a_modelled_error_has_the_query_protocols_code_in_that_protocol() -> None:
    """The model may give an error another code there; botocore makes the typed exception of it."""
    found = parsed(ApiError("MalformedPolicyDocumentException", "no"), call("query", "sts"))
    assert found["Error"] == {"Type": "Sender", "Code": "MalformedPolicyDocument", "Message": "no"}
    found = parsed(ApiError("MalformedPolicyDocumentException", "no"), call("json", "sts"))
    assert found["Error"]["Code"] == "MalformedPolicyDocumentException"


def test_further_members_of_a_modelled_error_are_told_in_xml() -> None:
    """Those that the model has; nothing that it has not can break an error's answer."""
    shape = service.load("cloudwatch").model.shape_for("DashboardInvalidInputError")
    told = [{"DataPath": "/widgets", "Message": "<no>"}]
    error = ApiError("DashboardInvalidInputError", "bad", 400, dashboardValidationMessages=told, Colour="red")
    found = parsed(error, call("query", "monitoring"), shape)
    assert found["Error"]["Code"] == "InvalidParameterInput"
    assert found["dashboardValidationMessages"] == told


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("ValidationException", "ValidationError"),
        ("IncompleteSignatureException", "IncompleteSignature"),
        ("ThrottlingException", "Throttling"),
        ("InternalFailure", "InternalFailure"),
        ("MalformedQueryString", "MalformedQueryString"),
    ],
)
def test_the_query_protocol_has_its_own_names_for_common_errors(code: str, name: str) -> None:
    """Whoever raises them need not know in which protocol a call came."""
    assert parsed(ApiError(code, "no"), call("query", "sts"))["Error"]["Code"] == name
    body = faults.render_fault(ApiError(code, "no"), call("query", "sts"), "i").body
    assert b'<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">' in body


def test_a_failure_of_ours_is_the_receivers_in_xml() -> None:
    """Type says whose fault it is."""
    assert parsed(faults.internal_failure("id-1"), call("query", "sts"))["Error"]["Type"] == "Receiver"
