"""Errors in the shape that each AWS protocol gives them, so that every SDK finds code, message and request id."""

import re
from collections.abc import Callable
from xml.sax.saxutils import escape

import msgspec

from polyport.aws import dispatch, service
from polyport.aws.denials import Denial
from polyport.aws.dispatch import Call
from polyport.aws.render import REQUEST_ID
from polyport.aws.wire import Response
from polyport.errors import ApiError

#: What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

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
    return content_type, {"x-amzn-ErrorType": error.code}, msgspec.json.encode(body)


def _message_member(error: ApiError, call: Call) -> str:
    """``Message`` where the model declares the error with that member (SageMaker's all do), else ``message``."""
    if call.service != dispatch.CONTROL_PLANE:
        return "message"
    shape = service.load(call.service).error_shape(error.code)
    return "Message" if shape is not None and "Message" in shape.members else "message"


def _rest_json(error: ApiError, _: Call, __: str) -> Parts:
    # SageMaker's runtime writes ``Message`` and its own ``ErrorCode``; SDKs take the code from the header alone.
    body = {**error.members, "Message": error.message}
    return "application/json", {"x-amzn-ErrorType": error.code}, msgspec.json.encode(body)


def _query(error: ApiError, _: Call, request_id: str) -> Parts:
    kind = "Sender" if error.status < 500 else "Receiver"
    inner = f"<Type>{kind}</Type>{_code_and_message(error)}"
    return _xml(f"<ErrorResponse><Error>{inner}</Error><RequestId>{_text(request_id)}</RequestId></ErrorResponse>")


def _ec2(error: ApiError, _: Call, request_id: str) -> Parts:
    errors = f"<Errors><Error>{_code_and_message(error)}</Error></Errors>"
    return _xml(f"<Response>{errors}<RequestID>{_text(request_id)}</RequestID></Response>")


def _rest_xml(error: ApiError, call: Call, request_id: str) -> Parts:
    if call.service not in dispatch.S3:
        return _query(error, call, request_id)
    content_type, _, body = _xml(f"<Error>{_code_and_message(error)}<RequestId>{_text(request_id)}</RequestId></Error>")
    return content_type, {"x-amz-request-id": request_id}, body


def _cbor(error: ApiError, _: Call, __: str) -> Parts:
    fields = {"__type": error.code, "message": error.message}
    body = _cbor_head(0xA0, len(fields)) + b"".join(
        _cbor_text(name) + _cbor_text(value) for name, value in fields.items()
    )
    return "application/cbor", {"smithy-protocol": "rpc-v2-cbor", "x-amzn-ErrorType": error.code}, body


def _cbor_text(text: str) -> bytes:
    raw = text.encode()
    return _cbor_head(0x60, len(raw)) + raw


def _cbor_head(major: int, size: int) -> bytes:
    """The first bytes of a CBOR item: its major type, and its size in as few bytes as it takes."""
    if size < 24:
        return bytes([major | size])
    for code, length in ((24, 1), (25, 2), (26, 4)):
        if size < 1 << (8 * length):
            return bytes([major | code]) + size.to_bytes(length, "big")
    return bytes([major | 27]) + size.to_bytes(8, "big")


def _xml(document: str) -> Parts:
    return "text/xml", {}, f'<?xml version="1.0" encoding="UTF-8"?>\n{document}'.encode()


def _code_and_message(error: ApiError) -> str:
    return f"<Code>{_text(error.code)}</Code><Message>{_text(error.message)}</Message>"


def _text(text: str) -> str:
    return escape(_NOT_XML.sub("\ufffd", text))


_RENDERERS: dict[str, Callable[[ApiError, Call, str], Parts]] = {
    "json": _json,
    "rest-json": _rest_json,
    "query": _query,
    "ec2": _ec2,
    "rest-xml": _rest_xml,
    "smithy-rpc-v2-cbor": _cbor,
}
