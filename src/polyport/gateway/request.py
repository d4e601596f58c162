"""One request of a client, as it came in, and which of its headers mean something to a gateway."""

from polyport.gateway import faults

#: Bytes of a request line with its headers, and of an answer's head.
MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})

API_PREFIX = b"x-amzn-sagemaker-"
_KNOWN = (
    b"host",
    b"connection",
    b"content-length",
    b"transfer-encoding",
    b"expect",
    b"authorization",
    b"content-type",
    b"accept",
)
#: These may be repeated; the values are a list.
_LISTS = frozenset({b"connection", b"accept", b"transfer-encoding"})

#: Names as clients usually write them, to what they mean here (empty: nothing): saves lower-casing on the hot path.
_SPELLINGS = {spelling: name for name in _KNOWN for spelling in (name, name.title())}
_SPELLINGS |= {
    spelling: API_PREFIX + name.lower()
    for name in (b"Target-Container-Hostname", b"Target-Variant", b"Custom-Attributes", b"Inference-Id", b"Session-Id")
    for spelling in (b"X-Amzn-SageMaker-" + name, API_PREFIX + name.lower())
}
_SPELLINGS |= {
    spelling: b""
    for name in (
        b"User-Agent",
        b"Accept-Encoding",
        b"X-Amz-Date",
        b"X-Amz-Content-SHA256",
        b"X-Amz-Security-Token",
        b"X-Amz-User-Agent",
        b"amz-sdk-invocation-id",
        b"amz-sdk-request",
    )
    for spelling in (name, name.lower())
}

Headers = list[tuple[bytes, bytes]]


class Request:
    """A whole request. ``fields`` are its meaningful headers by lower-case name; ``body`` are its pieces."""

    __slots__ = ("body", "fields", "headers", "id", "is_legacy", "keep_alive", "method", "size", "target")

    def __init__(
        self,
        request_id: bytes,
        method: bytes,
        target: bytes,
        headers: Headers,
        fields: dict[bytes, bytes],
        body: list[bytes],
        size: int,
        *,
        keep_alive: bool,
        is_legacy: bool,
    ) -> None:
        self.id = request_id
        self.method = method
        self.target = target
        self.headers = headers
        self.fields = fields
        self.body = body
        self.size = size
        self.keep_alive = keep_alive
        #: HTTP/1.0: knows no chunks, and keeps a connection only when told so.
        self.is_legacy = is_legacy

    def __repr__(self) -> str:
        return f"<Request {self.id!r} {self.method!r} {self.target!r} {self.size} bytes>"


def read_fields(headers: Headers) -> dict[bytes, bytes]:
    """The headers that mean something here, by lower-case name. Raises `ApiError` for one that must not be repeated."""
    fields: dict[bytes, bytes] = {}
    for spelling, value in headers:
        name = _SPELLINGS.get(spelling)
        if name is None:
            name = meaning(spelling)
        if name:
            # The parser leaves blanks at a value's end.
            fields[name] = value.rstrip() if name not in fields else _joined(name, fields[name], value.rstrip())
    return fields


def meaning(spelling: bytes) -> bytes:
    """The lower-case name of a header that means something here, else nothing."""
    name = spelling.lower()
    return name if name.startswith(API_PREFIX) else _SPELLINGS.get(name, b"")


def path_of(target: bytes) -> bytes:
    """The path and query of a request target in absolute form (``http://host/path?query``)."""
    for scheme in (b"http://", b"https://"):
        if target[: len(scheme)].lower() == scheme:
            rest = target[len(scheme) :]
            cut = min((at for at in (rest.find(b"/"), rest.find(b"?")) if at >= 0), default=len(rest))
            path = rest[cut:]
            return path if path.startswith(b"/") else b"/" + path
    if target == b"*":
        return target
    raise faults.malformed("its target is not a path")


def _joined(name: bytes, first: bytes, second: bytes) -> bytes:
    if name not in _LISTS:
        raise faults.malformed(f"the header {name.decode()} is repeated")
    return first + b", " + second


def size_of_head(target: bytes, headers: Headers) -> int:
    """Bytes on the wire, as good as: the line ends and blanks are taken as written in the usual way."""
    return len(target) + 16 + sum(len(name) + len(value) + 4 for name, value in headers)
