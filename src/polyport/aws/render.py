"""A dict of members to response bytes, by the shapes of the service model."""

import base64
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any

import msgspec
from botocore.model import OperationModel, Shape

from polyport.aws import frames, moments
from polyport.aws.wire import Response

REQUEST_ID = b"x-amzn-RequestId"
_JSON = "application/json"


def render_json(
    operation: OperationModel, answer: Mapping[str, Any] | None, request_id: str, json_version: str = "1.1"
) -> Response:
    """The 200 of a JSON 1.0 or 1.1 operation; an operation without output gets an empty body.

    Members that are ``None`` are left out. `ValueError` or `TypeError` when ``answer`` is not of the output shape.
    """
    shape = operation.output_shape
    if operation.has_event_stream_output:
        return _render_stream(operation, answer or {}, request_id)
    body = b"" if shape is None else msgspec.json.encode(_render(shape, answer or {}))
    headers = (
        (b"Content-Type", f"application/x-amz-json-{json_version}".encode()),
        (REQUEST_ID, request_id.encode()),
    )
    return Response(200, headers, body)


def _render_stream(operation: OperationModel, answer: Mapping[str, Any], request_id: str) -> Response:
    """A stream of events, each of which is a member of the stream's shape: name and members."""
    shape = operation.get_event_stream_output()
    [(_, updates)] = answer.items()
    first = frames.frame(frames.head(event_type="initial-response", content_type=_JSON, message_type="event"), b"{}")
    headers = ((b"Content-Type", b"application/vnd.amazon.eventstream"), (REQUEST_ID, request_id.encode()))
    return Response(200, headers, first, _framed(shape, updates))


async def _framed(
    shape: Shape, updates: AsyncGenerator[tuple[str, dict[str, Any]], None]
) -> AsyncGenerator[bytes, None]:
    async with contextlib.aclosing(updates) as open_updates:
        async for name, members in open_updates:
            member = shape.members[name]
            is_error = member.metadata.get("exception", False)
            kind = {"exception_type": name} if is_error else {"event_type": name}
            header = frames.head(**kind, content_type=_JSON, message_type="exception" if is_error else "event")
            yield frames.frame(header, msgspec.json.encode(_render(member, members)))


def _render(shape: Shape, value: Any) -> Any:
    return _RENDERERS[shape.type_name](shape, value)


def _structure(shape: Shape, value: Any) -> Any:
    if shape.is_document_type:
        return value
    members = {}
    for name, inner in value.items():
        if name not in shape.members:
            raise ValueError(f"{shape.name} has no member {name!r}")
        if inner is not None:
            member = shape.members[name]
            members[member.serialization.get("name", name)] = _render(member, inner)
    return members


def _list(shape: Shape, value: Any) -> list[Any]:
    return [_render(shape.member, inner) for inner in value]


def _map(shape: Shape, value: Any) -> dict[str, Any]:
    return {str(key): _render(shape.value, inner) for key, inner in value.items()}


def _string(shape: Shape, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shape.name} is a string, not {value!r}")
    return str(value)


def _timestamp(_: Shape, value: Any) -> float:
    """Epoch seconds with AWS's precision, a millisecond."""
    return moments.milliseconds(value) / 1000


def _blob(_: Shape, value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")


_RENDERERS: dict[str, Callable[[Shape, Any], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "character": _string,
    "boolean": lambda _, value: bool(value),
    "integer": lambda _, value: int(value),
    "long": lambda _, value: int(value),
    "float": lambda _, value: float(value),
    "double": lambda _, value: float(value),
    "timestamp": _timestamp,
    "blob": _blob,
}
