"""One request of a client, as it came in, and which of its headers mean something to a gateway."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from polyport.gateway import faults
from polyport.telemetry.traces import context

if TYPE_CHECKING:
    from hashlib import _Hash as Hash

    from polyport.aws.sigv4 import Mould

#: Bytes of a request line with its headers, and of an answer's head.
MAX_HEAD = 64 * 1024
MAX_HEADERS = 100
#: Bytes below which a piece of a body is small.
SMALL = 4096
#: Bytes still to come of a body from which on they are worth a way past the parser, which copies them.
BULK = 16 * 1024
METHODS = frozenset({b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"})

#: How the targets of invocations begin.
INVOCATIONS = b"/endpoints/"
API_PREFIX = b"x-amzn-sagemaker-"
_KNOWN = frozenset(
    {
        b"host",
        b"connection",
        b"content-length",
        b"transfer-encoding",
        b"expect",
        b"authorization",
        b"content-type",
        b"accept",
        b"origin",
    }
)
#: The context of a trace (W3C). Goes to containers, and calls nobody's request malformed.
_CONTEXT = (context.PARENT, context.STATE)
#: These may be repeated; the values are a list.
_LISTS = frozenset({b"connection", b"accept", b"transfer-encoding", *_CONTEXT})

#: Names as clients usually write them, to what they mean here (empty: nothing): saves lower-casing on the hot path.
_SPELLINGS = {spelling: name for name in (*_KNOWN, *_CONTEXT) for spelling in (name, name.title())}
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
Fields = dict[bytes, bytes]
#: Most requests have no members in headers. Nobody writes to it.
NO_FIELDS: Fields = {}


class Request:
    """One request, filled in as it comes. ``fields`` are its headers that mean something to HTTP or to any call,
    ``members`` those that are members of the runtime's operations alone, or the context of a trace; both by lower-case
    name."""

    __slots__ = (
        "body",
        "fields",
        "hasher",
        "headers",
        "id",
        "is_legacy",
        "is_whole",
        "keep_alive",
        "known",
        "members",
        "method",
        "seal",
        "size",
        "target",
        "wire",
    )

    def __init__(self) -> None:
        self.id = b""
        self.method = b""
        #: Path and query.
        self.target = b""
        self.headers: Headers = []
        self.fields: Fields = {}
        self.members: Fields = NO_FIELDS
        #: The pieces of the body, and how many bytes they are; once ``is_whole`` is false: will be.
        self.body: list[bytes | bytearray] = []
        self.size = 0
        #: Takes the body's pieces while they come, if that was begun with the first.
        self.hasher: Hash | None = None
        #: False while it is served and its body is still coming.
        self.is_whole = True
        self.keep_alive = True
        #: HTTP/1.0: knows no chunks, and keeps a connection only when told so.
        self.is_legacy = False
        #: Its head, if that is a known one.
        self.known: Known | None = None
        #: What it came as, if its head may become a known one once its signature is found right.
        self.wire = b""
        #: Of a signed one whose head is known but for its time and signature: how it was signed, and those two.
        self.seal: tuple[Mould, bytes, bytes] | None = None

    def __repr__(self) -> str:
        return f"<Request {self.id!r} {self.method!r} {self.target!r} {self.size} bytes>"

    def take_head(self, headers: Headers) -> None:
        """The headers are complete. Raises `ApiError` for one that must not be repeated."""
        self.headers = headers
        fields = self.fields
        for spelling, value in headers:
            name = _SPELLINGS.get(spelling)
            if name is None:
                name = meaning(spelling)
            if not name:
                continue
            if name in _KNOWN:
                # The parser leaves blanks at a value's end.
                fields[name] = value.rstrip() if name not in fields else _joined(name, fields[name], value.rstrip())
            else:
                self._take_member(name, value.rstrip())

    def body_hash(self) -> bytes:
        """SHA-256 of the whole body, in hexadecimal digits."""
        if self.hasher is not None:
            return self.hasher.hexdigest().encode()
        body = self.body
        return sha256(body[0] if len(body) == 1 else b"".join(body)).hexdigest().encode()

    def add(self, piece: bytes) -> None:
        """A piece of the body, that counts."""
        self.size += len(piece)
        self.keep(piece)

    def keep(self, piece: bytes) -> None:
        """A piece of the body. Small ones are put together: a list of them would take many times their size."""
        body = self.body
        if self.hasher is not None:
            self.hasher.update(piece)
        if len(piece) >= SMALL or not body:
            body.append(piece)
        elif isinstance(body[-1], bytearray):
            body[-1] += piece
        else:
            body.append(bytearray(piece))

    def _take_member(self, name: bytes, value: bytes) -> None:
        if self.members is NO_FIELDS:
            self.members = {name: value}
        elif name not in self.members:
            self.members[name] = value
        else:
            self.members[name] = _joined(name, self.members[name], value)


class Known:
    """A head that was read before, of a request of HTTP/1.1 that keeps its connection. Nobody writes to its parts."""

    __slots__ = ("fields", "headers", "keeps", "members", "method", "size", "target")

    def __init__(self, request: Request) -> None:
        self.method = request.method
        self.target = request.target
        self.headers = request.headers
        self.fields = request.fields
        self.members = request.members
        #: Of the body.
        self.size = request.size
        #: The operation whose constraints it was found to keep.
        self.keeps: object = None

    def request(self, identity: bytes, body: bytes) -> Request:
        """A request with this head."""
        made: Request = _new(Request)
        made.id = identity
        made.method = self.method
        made.target = self.target
        made.headers = self.headers
        made.fields = self.fields
        made.members = self.members
        made.body = [body]
        made.size = self.size
        made.is_whole = made.keep_alive = True
        made.is_legacy = False
        made.hasher = made.seal = None
        made.wire = b""
        made.known = self
        return made


#: Without `Request.__init__`, every value of which would be written over.
_new = object.__new__


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
