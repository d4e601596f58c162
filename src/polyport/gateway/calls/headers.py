"""Which headers pass a gateway, both ways, and how the body of an answer is marked off.

All others stay behind, as SageMaker does it. Values come from parsers that refuse line ends and NUL, so no value can
add a header.
"""

from polyport.gateway.calls import sessions
from polyport.gateway.clients.request import Fields, Headers
from polyport.telemetry.traces import context

#: What a container is told when the client did not say what it sends: what HTTP makes of that.
DEFAULT_TYPE = b"application/octet-stream"
DEFAULT_ACCEPT = b"*/*"

TYPE = b"content-type"
LENGTH = b"content-length"
CUSTOM = b"x-amzn-sagemaker-custom-attributes"
SESSION = b"x-amzn-sagemaker-session-id"
CLOSED_SESSION = b"x-amzn-sagemaker-closed-session-id"

_TO_CONTAINER = {
    CUSTOM: b"\r\nX-Amzn-SageMaker-Custom-Attributes: ",
    b"x-amzn-sagemaker-inference-id": b"\r\nX-Amzn-SageMaker-Inference-Id: ",
    SESSION: b"\r\nX-Amzn-SageMaker-Session-Id: ",
    context.PARENT: b"\r\ntraceparent: ",
    context.STATE: b"\r\ntracestate: ",
}
_TO_CLIENT = (
    (CUSTOM, b"X-Amzn-SageMaker-Custom-Attributes: "),
    # The name changes: to the client, a session id is news only when the session is.
    (SESSION, b"X-Amzn-SageMaker-New-Session-Id: "),
    (CLOSED_SESSION, b"X-Amzn-SageMaker-Closed-Session-Id: "),
)
_FROM_CONTAINER = {
    spelling: name
    for name, usual in (
        (TYPE, b"Content-Type"),
        (LENGTH, b"Content-Length"),
        (CUSTOM, b"X-Amzn-SageMaker-Custom-Attributes"),
        (SESSION, b"X-Amzn-SageMaker-Session-Id"),
        (CLOSED_SESSION, b"X-Amzn-SageMaker-Closed-Session-Id"),
    )
    for spelling in (name, usual)
}
#: Headers of nearly every answer that mean nothing here.
_IGNORED = frozenset({b"date", b"Date", b"server", b"Server", b"connection", b"Connection"})


def to_container(members: Fields) -> bytes:
    """Lines (each begins with its line end) that pass on what the client said besides type and Accept."""
    lines = b""
    for name, value in members.items():
        opening = _TO_CONTAINER.get(name)
        if opening is not None:
            lines += opening + (value if name != SESSION else sessions.split(value)[0])
    return lines


def without_context(members: Fields) -> Fields:
    """What the client said, without the context of its trace."""
    if context.PARENT not in members and context.STATE not in members:
        return members
    return {name: value for name, value in members.items() if name not in (context.PARENT, context.STATE)}


def from_container(headers: Headers) -> Fields:
    """The headers of a container's answer that mean something, by lower-case name."""
    fields: Fields = {}
    for spelling, value in headers:
        name = _FROM_CONTAINER.get(spelling)
        if name is None and spelling not in _IGNORED:
            name = _FROM_CONTAINER.get(spelling.lower())
        if name is not None:
            fields[name] = value.rstrip()
    return fields


def to_client(fields: Fields, mark: bytes) -> bytes:
    """Lines (each ends with its line end) that pass on what containers said besides type and length. ``mark`` tells of
    which instance a session is."""
    lines = b""
    for name, opening in _TO_CLIENT:
        value = fields.get(name)
        if value is not None:
            lines += opening + (value if name is CUSTOM else sessions.marked(value, mark)) + b"\r\n"
    return lines


def last_lines(fields: Fields, length: int) -> bytes:
    """The last lines of the head of an answer that has a length (bytes), for the client; nothing if they depend on
    more than the answer."""
    if fields.keys() - {TYPE, LENGTH}:
        return b""
    kind = fields.get(TYPE)
    opening = b"" if kind is None else b"Content-Type: %b\r\n" % kind
    return b"%bContent-Length: %d\r\n\r\n" % (opening, length)


def chunked(parts: list[bytes], *, is_last: bool) -> list[bytes]:
    """Pieces of a body as chunks of the chunked transfer coding."""
    size = sum(map(len, parts))
    pieces = [b"%x\r\n" % size, *parts, b"\r\n"] if size else []
    if is_last:
        pieces.append(b"0\r\n\r\n")
    return pieces
