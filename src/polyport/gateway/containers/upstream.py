"""Connections to containers and to control: kept alive, used by one exchange at a time, never reused in doubt."""

import asyncio
import errno
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from httptools import HttpParserError, HttpResponseParser

from polyport.gateway.calls import headers
from polyport.gateway.clients import heads, request

log = logging.getLogger(__name__)

#: Seconds to wait for a connection; kernels accept for a busy container, so only a full backlog takes longer.
CONNECT_TIMEOUT = 2.0
MAX_IDLE = 128
#: Sweeps (one a second) after which an idle connection is closed.
IDLE_SWEEPS = 60
#: Why there is no connection when that is no fault of whom it was for.
STARVED = "this worker has too many open files"
_CODING = b"transfer-encoding"
_CODING_LENGTH = len(_CODING)
_STARVING = (errno.EMFILE, errno.ENFILE)


class User(Protocol):
    """An exchange as its upstream sees it."""

    def connected(self, upstream: "Upstream") -> None:
        """This connection is yours: send your request."""

    def refused(self, reason: str) -> None:
        """There is no connection to be had; nothing was sent."""

    def received(self, upstream: "Upstream") -> None:
        """There is news in ``status``, ``headers``, ``parts`` or ``ended``; ``status`` is known."""

    def clogged(self) -> None:
        """The request is not taken as fast as it comes."""

    def cleared(self) -> None:
        """It is taken again."""

    def broken(self, upstream: "Upstream", reason: str) -> None:
        """The answer will not come, or not to its end. The connection is gone."""

    def crashed(self) -> None:
        """A mistake of ours was logged. End the exchange, whatever its state."""


Connect = Callable[[Callable[[], "Upstream"]], Awaitable[tuple[Any, "Upstream"]]]
"""Opens a transport for a protocol, as ``loop.create_connection`` does. Raises `OSError`."""


class Pool:
    """The connections to one address. The last one used is the first to be used again, so the others can age."""

    __slots__ = ("_connect", "_idle_sweeps", "_opening", "idle", "is_closed")

    def __init__(self, connect: Connect, idle_sweeps: int = IDLE_SWEEPS) -> None:
        self._connect = connect
        self._idle_sweeps = idle_sweeps
        self._opening: set[asyncio.Task[None]] = set()
        self.idle: list[Upstream] = []
        self.is_closed = False

    def take(self) -> "Upstream | None":
        """An idle connection, if there is one; the caller owns it then."""
        idle = self.idle
        while idle:
            upstream = idle.pop()
            if not upstream.transport.is_closing():
                return upstream
        return None

    def open(self, user: User) -> None:
        """Make a new connection, and tell the user ``connected`` or ``refused``, later."""
        task = asyncio.get_running_loop().create_task(self._open(user))
        self._opening.add(task)
        task.add_done_callback(self._opening.discard)

    def leave(self, user: User) -> None:
        """The user waits no more. One whose connection is being made gets it nevertheless, and gives it back."""

    def put(self, upstream: "Upstream") -> None:
        """Keep a connection that nobody uses and on which nothing is outstanding."""
        if self.is_closed or len(self.idle) >= MAX_IDLE:
            upstream.transport.close()
        else:
            upstream.sweeps = 0
            self.idle.append(upstream)

    def forget(self, upstream: "Upstream") -> None:
        """A connection ended."""
        if upstream in self.idle:
            self.idle.remove(upstream)

    def sweep(self) -> None:
        """Once a second: close what was idle for long."""
        for upstream in self.idle:
            upstream.sweeps += 1
        while self.idle and self.idle[0].sweeps > self._idle_sweeps:
            self.idle.pop(0).transport.close()

    def close(self) -> None:
        """Close what is idle, and what is put back later."""
        self.is_closed = True
        while self.idle:
            self.idle.pop().transport.close()

    async def _open(self, user: User) -> None:
        upstream, reason = await self._try()
        try:
            if upstream is None:
                user.refused(reason)
            else:
                user.connected(upstream)
        except Exception:
            log.exception("an exchange failed")
            user.crashed()

    async def _try(self) -> "tuple[Upstream | None, str]":
        """A connection, or why there is none."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, upstream = await self._connect(lambda: Upstream(self))
        except TimeoutError:
            return None, "connecting timed out"
        except OSError as error:
            return None, STARVED if error.errno in _STARVING else error.strerror or str(error)
        name = upstream.transport.get_extra_info("sockname")
        # Linux can connect a socket to itself when the port is one of those it gives to clients and nobody listens.
        if name and name == upstream.transport.get_extra_info("peername"):
            upstream.transport.abort()
            return None, "nobody listens"
        return (None, "closed at once") if upstream.transport.is_closing() else (upstream, "")


class Upstream(asyncio.Protocol):
    """One connection. While a user has it, its fields hold what has arrived of the answer and was not yet taken."""

    __slots__ = (
        "_fed",
        "_has_looked",
        "_is_last",
        "_left",
        "_parser",
        "_user",
        "content_type",
        "ended",
        "headers",
        "heard",
        "is_reused",
        "lines",
        "parts",
        "pool",
        "status",
        "sweeps",
        "transport",
    )

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        self._parser: HttpResponseParser = HttpResponseParser(self)
        self.is_reused = False
        self.sweeps = 0
        # Per exchange
        self._user: User | None = None
        #: 0 until the head of the final answer is there.
        self.status = 0
        self.headers: request.Headers = []
        #: What a client is told of them when nothing else is to be told; empty: not prepared. And the type, if it is.
        self.lines = b""
        self.content_type = b""
        #: Pieces of the body; whoever reads them leaves an empty list.
        self.parts: list[bytes] = []
        self.ended = False
        #: Any byte of the answer came.
        self.heard = False
        #: Bytes since the last that were of use.
        self._fed = 0
        #: Bytes to come of a body that needs no parser, because its length is known.
        self._left = 0
        self._has_looked = False
        self._is_last = False

    def __repr__(self) -> str:
        return f"<Upstream status={self.status} ended={self.ended} reused={self.is_reused} user={self._user!r}>"

    def begin(self, user: User) -> None:
        """From now on what arrives is the answer to this user, who writes the request to ``transport``."""
        self._user = user
        self.status = 0
        self.headers = []
        self.lines = b""
        self.parts = []
        self.ended = False
        self.heard = False
        self._fed = 0
        self._left = 0
        self._has_looked = False

    def spoil(self) -> None:
        """The request was not sent to its end, so nothing else can follow it."""
        self._is_last = True

    def release(self) -> None:
        """The user has all it wants. Only a connection on which nothing can still come is kept."""
        self._user = None
        if self.ended and not self._is_last and self.transport.get_write_buffer_size() == 0:
            self.is_reused = True
            self.pool.put(self)
        else:
            self.transport.abort()

    # Protocol callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's are no subclass of asyncio.Transport

    def data_received(self, data: bytes) -> None:
        user = self._user
        if user is None:
            # Nobody asked: an answer now would be taken for that of the next request.
            self._drop()
            return
        found = None if self.heard else heads.find_answer(data)
        is_known = found is not None
        if found is not None:
            self.heard = self.ended = True
            (self.status, self.headers, _, self.lines, self.content_type), body = found
            self.parts = [body]
        elif not self._parse(data):
            return
        # As in `_tell`; here it is on the hot path.
        try:
            if not (is_known or self._has_looked):
                self._look_ahead(data)
            user.received(self)
        except Exception:
            log.exception("an exchange failed")
            user.crashed()

    def eof_received(self) -> None:
        self._ended_by_peer(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended_by_peer(exc)
        # The parser holds our bound methods: a cycle.
        self._parser = None  # type: ignore[assignment]

    def pause_writing(self) -> None:
        if self._user is not None:
            self._user.clogged()

    def resume_writing(self) -> None:
        if self._user is not None:
            self._user.cleared()

    # Parser callbacks

    def on_message_begin(self) -> None:
        if self.ended:
            raise ValueError("more than was asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        # What comes after a body in chunks is not passed on.
        if not self.status:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        parser, headers = self._parser, self.headers
        if len(headers) > request.MAX_HEADERS:
            raise ValueError("too many headers")
        if self._fed > request.MAX_HEAD and request.size_of_head(b"", headers) > request.MAX_HEAD:
            raise ValueError("its head is too long")
        status = parser.get_status_code()
        if status < 200:
            if status == 101:
                raise ValueError("it switches protocols")
            self.headers = []
            return
        if parser.get_http_version() not in ("1.1", "1.0"):
            raise ValueError("it is neither HTTP/1.1 nor HTTP/1.0")
        codings = [value for name, value in headers if len(name) == _CODING_LENGTH and name.lower() == _CODING]
        # The parser takes any other for chunks alone, and what is in them would be passed on as if it were plain.
        if codings and (len(codings) > 1 or codings[0].strip().lower() != b"chunked"):
            raise ValueError("its Transfer-Encoding is not chunked, once")
        self.status = status
        self._is_last = not parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self._fed = 0
        self.parts.append(body)

    def on_message_complete(self) -> None:
        # An interim answer (100, 103) is none.
        if self.status:
            self.ended = True

    # What may have to be done

    def _take_body(self, data: bytes) -> bytes:
        """Take from the data what belongs to the body; returns the rest."""
        left, rest = self._left, b""
        if len(data) > left:
            data, rest = data[:left], data[left:]
        self.parts.append(data)
        self._left = left - len(data)
        self.ended = not self._left
        return rest

    def _parse(self, data: bytes) -> bool:
        """Returns whether there is something to tell."""
        is_first, self.heard = not self.heard, True
        if self._left:
            data = self._take_body(data)
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserError as error:
            self._is_last = True
            if not self.ended:
                self._fail(f"malformed answer: {error.__context__ or error}")
                return False
        if self._fed > request.MAX_HEAD and not self.ended:
            self._fail("malformed answer: its head, or what follows its body, is too long")
            return False
        # A head that came in pieces is not looked for next time.
        self._has_looked = self._has_looked or (self.ended and not is_first)
        return bool(self.status)

    def _look_ahead(self, data: bytes) -> None:
        """The head is there. All that came of the body is in ``parts`` the first time, so it is the only time. If the
        body is not whole, what is still to come of a large one needs no parser, which would copy it."""
        self._has_looked = True
        came = sum(map(len, self.parts))
        if self.ended:
            if not self._is_last:
                heads.keep_answer(data, self.status, self.headers, came)
            return
        fields = headers.from_container(self.headers)
        left = int(fields.get(headers.LENGTH, b"0")) - came
        if left >= request.BULK:
            self._left, self._fed = left, 0
            # The old one is in the middle of a message for ever.
            self._parser = HttpResponseParser(self)

    def _tell(self, user: User) -> None:
        try:
            user.received(self)
        except Exception:
            log.exception("an exchange failed")
            user.crashed()

    def _ended_by_peer(self, exc: Exception | None) -> None:
        self.pool.forget(self)
        user = self._user
        if user is None:
            return
        if exc is None and self.status and not self.ended and self._ends_with_connection():
            self.ended, self._is_last = True, True
            self._tell(user)
        else:
            self._fail(f"connection broken: {exc}" if exc else "connection closed")

    def _ends_with_connection(self) -> bool:
        """Whether the answer says neither its length nor that it comes in chunks."""
        names = {name.lower() for name, _ in self.headers}
        return not names & {b"content-length", b"transfer-encoding"}

    def _fail(self, reason: str) -> None:
        user, self._user = self._user, None
        self._drop()
        if user is not None:
            try:
                user.broken(self, reason)
            except Exception:
                log.exception("an exchange failed")
                user.crashed()

    def _drop(self) -> None:
        self.pool.forget(self)
        self.transport.abort()
