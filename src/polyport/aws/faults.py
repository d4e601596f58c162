"""Errors in the shape that each AWS protocol gives them, so that every SDK finds code, message and request id."""

from collections.abc import Callable

import msgspec
from botocore.model import StructureShape

from polyport.aws import cbor, dispatch, xml
from polyport.aws.denials import Denial
from polyport.aws.dispatch import Call
from polyport.aws.render import REQUEST_ID
from polyport.aws.wire import Response
from polyport.errors import ApiError

#: How the query protocol names the errors that the other protocols' services share.
_QUERY_NAMES = {
    "ValidationException": "ValidationError",
    "IncompleteSignatureException": "IncompleteSignature",
    "ThrottlingException": "Throttling",
}

Parts = tuple[str, dict[str, str], bytes]
"""Content type, further headers, body."""


def render_fault(error: ApiError, call: Call, request_id: str) -> Response:
    """The answer that tells a caller of ``error``, in the protocol that the call was made in."""
    if isinstance(error, Denial):
        error = error.told(call.protocol)
    content_type, further, body = _RENDERERS[call.protocol](error, call, request_id)
    headers = [(b"Content-Type", content_type.encode()), (REQUEST_ID, request_id.encode())]
    headers += [(name.encode(), value.encode()) for name, value in further.items()]
    return Response(error.status, tuple(headers), body)


def internal_failure(request_id: str) -> ApiError:
    """What a caller hears of a mistake of ours: nothing but where to look for it."""
    return ApiError("InternalFailure", f"Polyport failed; its log tells more of request {request_id}.", 500)


def _json(error: ApiError, call: Call, _: str) -> Parts:
    body = {"__type": error.code, _message_member(error, call): error.message, **error.members}
    content_type = f"application/x-amz-json-{call.json_version}"
    further = {"x-amzn-ErrorType": error.code, **_query_error(error, call)}
    return content_type, further, msgspec.json.encode(body)


def _query_error(error: ApiError, call: Call) -> dict[str, str]:
    """Services that spoke the query protocol once tell the codes that they had in it: SDKs raise errors by them."""
    known = dispatch.known_service(call.service)
    if known is None or "awsQueryCompatible" not in known.model.metadata:
        return {}
    shape = known.error_shape(error.code)
    code = shape.error_code if shape is not None else _QUERY_NAMES.get(error.code, error.code)
    return {"x-amzn-query-error": f"{code};{'Sender' if error.status < 500 else 'Receiver'}"}


def _message_member(error: ApiError, call: Call) -> str:
    """``Message`` where the model declares the error with that member (SageMaker's all do), else ``message``."""
    shape = _declared(error, call)
    return "Message" if shape is not None and "Message" in shape.members else "message"


def _declared(error: ApiError, call: Call) -> StructureShape | None:
    """The error in the model of the call's service; ``None`` when that has none of the name, or is none of ours."""
    known = dispatch.known_service(call.service)
    return known.error_shape(error.code) if known is not None else None


def _rest_json(error: ApiError, _: Call, __: str) -> Parts:
    # SageMaker's runtime writes ``Message`` and its own ``ErrorCode``; SDKs take the code from the header alone.
    body = {**error.members, "Message": error.message}
    return "application/json", {"x-amzn-ErrorType": error.code}, msgspec.json.encode(body)


def _query(error: ApiError, call: Call, request_id: str) -> Parts:
    shape, code, members = _declared(error, call), _QUERY_NAMES.get(error.code, error.code), ""
    if shape is not None:
        # The protocol has codes of its own for some of the model's errors: MalformedPolicyDocument.
        code = shape.error_code
        members = xml.members(shape, {name: error.members[name] for name in error.members if name in shape.members})
    kind = xml.element("Type", "Sender" if error.status < 500 else "Receiver")
    inner = xml.element("Error", kind + _code_and_message(code, error.message) + members)
    known = dispatch.known_service(call.service)
    namespace = known.xml_namespace if known is not None else ""
    return _xml(xml.element("ErrorResponse", inner + _request_id("RequestId", request_id), namespace))


def _ec2(error: ApiError, _: Call, request_id: str) -> Parts:
    errors = xml.element("Errors", xml.element("Error", _code_and_message(error.code, error.message)))
    return _xml(xml.element("Response", errors + _request_id("RequestID", request_id)))


def _rest_xml(error: ApiError, call: Call, request_id: str) -> Parts:
    if call.service not in dispatch.S3:
        return _query(error, call, request_id)
    told = _code_and_message(error.code, error.message) + _request_id("RequestId", request_id)
    content_type, _, body = _xml(xml.element("Error", told))
    return content_type, {"x-amz-request-id": request_id}, body


def _cbor(error: ApiError, call: Call, _: str) -> Parts:
    fields = {"__type": error.code, "message": error.message}
    body = cbor.encode(fields)
    further = {"smithy-protocol": "rpc-v2-cbor", "x-amzn-ErrorType": error.code, **_query_error(error, call)}
    return "application/cbor", further, body


def _xml(root: str) -> Parts:
    return "text/xml", {}, xml.document(root)


def _code_and_message(code: str, message: str) -> str:
    return xml.element("Code", xml.text(code)) + xml.element("Message", xml.text(message))


def _request_id(name: str, request_id: str) -> str:
    return xml.element(name, xml.text(request_id))


_RENDERERS: dict[str, Callable[[ApiError, Call, str], Parts]] = {
    "json": _json,
    "rest-json": _rest_json,
    "query": _query,
    "ec2": _ec2,
    "rest-xml": _rest_xml,
    "smithy-rpc-v2-cbor": _cbor,
}
