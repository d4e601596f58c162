"""Everything that is no invocation: passed to control over its Unix socket, and its answer back as it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyport.gateway import faults
from polyport.gateway.calls import headers

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.clients.exchange import Client
    from polyport.gateway.clients.request import Request
    from polyport.gateway.containers.upstream import Upstream
    from polyport.gateway.gateway import Gateway

#: Between one hop and the next only (RFC 9110, 7.6.1), or said anew by the gateway.
_HOP = frozenset(
    {
        b"connection",
        b"content-length",
        b"expect",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
#: What control is told of a request and its client; a client cannot say it.
OURS = b"x-polyport-"
REQUEST_ID = b"x-polyport-request-id"
CLIENT = b"x-polyport-client"
SECURE = b"x-polyport-secure"
HEALTH = b"/healthz"
#: Methods that only read.
SAFE = frozenset({b"GET", b"HEAD", b"OPTIONS"})


class Forward:
    """One request for control."""

    __slots__ = ("_begun", "_client", "_done", "_gateway", "_is_chunked", "_paused", "_request", "_upstream")

    def __init__(self, gateway: Gateway, client: Client, request: Request) -> None:
        self._gateway = gateway
        self._client = client
        self._request = request
        self._upstream: Upstream | None = None
        self._begun = False
        self._is_chunked = False
        self._paused = False
        self._done = False

    def __repr__(self) -> str:
        return f"<Forward {self._request!r}>"

    def start(self) -> None:
        """Set out."""
        self._gateway.forwards.add(self)
        upstream = self._gateway.control.take()
        if upstream is None:
            self._gateway.control.open(self)
        else:
            self.connected(upstream)

    def pause(self) -> None:
        """The client takes no more: nor do we."""
        self._paused = True
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume(self) -> None:
        """The client takes more."""
        self._paused = False
        if self._upstream is not None:
            self._upstream.transport.resume_reading()

    def abandon(self) -> None:
        """The client is gone."""
        self._leave()

    def expire(self) -> None:
        """Control took too long to begin an answer."""
        self._end_badly(faults.no_control_answer("it takes too long"))

    def drain(self) -> None:
        """The worker ends. An answer whose length nobody knows goes on for as long as its client likes."""
        self._end_badly(faults.no_control("it is ending"))

    def connected(self, upstream: Upstream) -> None:
        """Send the request."""
        if self._done:
            upstream.pool.put(upstream)
            return
        self._upstream = upstream
        upstream.begin(self)
        upstream.transport.writelines((self._request_head(), *self._request.body))
        if self._paused:
            upstream.transport.pause_reading()

    def refused(self, reason: str) -> None:
        """Control is away."""
        self._end_badly(faults.no_control(reason))

    def received(self, upstream: Upstream) -> None:
        """Pass it on."""
        parts, upstream.parts = upstream.parts, []
        # The answer to HEAD is a head alone; the parser cannot know and would wait for the body. One that comes
        # nevertheless is not passed on: a client would take it for its next answer.
        ended = upstream.ended
        if self._request.method == b"HEAD":
            ended, parts = True, []
        head = b"" if self._begun else self._head(upstream, sum(map(len, parts)) if upstream.ended else None)
        self._begun = True
        # From its first byte on, an answer may take its time: control also streams logs.
        self._gateway.forwards.discard(self)
        if self._is_chunked:
            self._gateway.tails.add(self)
            parts = headers.chunked(parts, is_last=ended)
        self._client.write(b"".join((head, *parts)))
        if ended:
            client = self._client
            self._leave()
            client.finish()

    def clogged(self) -> None:
        """The whole request is in memory anyway."""

    def cleared(self) -> None:
        """See `clogged`."""

    def broken(self, upstream: Upstream, reason: str) -> None:
        """The connection is gone. A kept one may have been closed while it was idle, or because control was killed in
        the middle of this request, which looks alike; so only what changes nothing is asked again."""
        self._upstream = None
        if upstream.is_reused and not upstream.heard and self._request.method in SAFE:
            self._gateway.control.open(self)
        else:
            self._end_badly(faults.no_control_answer(reason))

    def crashed(self) -> None:
        """A mistake of ours."""
        self._end_badly(faults.internal())

    def _request_head(self) -> bytes:
        return _head(self._request, self._client.peer(), is_secure=bool(self._gateway.options.tls_cert))

    def _head(self, upstream: Upstream, length: int | None) -> bytes:
        request = self._request
        passed = [(name, value) for name, value in upstream.headers if name.lower() not in _HOP]
        names = {name.lower() for name, _ in passed}
        lines = [faults.status_line(upstream.status), *(b"%b: %b\r\n" % pair for pair in passed)]
        if b"x-amzn-requestid" not in names:
            lines.append(b"x-amzn-RequestId: %b\r\n" % request.id)
        if b"date" not in names:
            lines.append(self._gateway.clock.date)
        framing = self._framing(upstream, length)
        lines += [self._gateway.connection_line(request), framing, b"\r\n"]
        return b"".join(lines)

    def _framing(self, upstream: Upstream, length: int | None) -> bytes:
        stated = headers.from_container(upstream.headers).get(headers.LENGTH)
        if upstream.status in (204, 304):
            return b""
        if length is not None and self._request.method != b"HEAD":
            return b"Content-Length: %d\r\n" % length
        if stated is not None:
            return b"Content-Length: %b\r\n" % stated
        if self._request.method == b"HEAD":
            return b""
        if self._request.is_legacy:
            self._request.keep_alive = False
            return b""
        self._is_chunked = True
        return b"Transfer-Encoding: chunked\r\n"

    def _end_badly(self, error: ApiError) -> None:
        if self._done:
            return
        self._leave()
        if self._begun:
            self._client.cut()
        else:
            self._client.fail(error)

    def _leave(self) -> None:
        if self._done:
            return
        self._done = True
        self._gateway.forwards.discard(self)
        self._gateway.tails.discard(self)
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            if self._paused:
                upstream.transport.resume_reading()
            upstream.release()


def _head(request: Request, client: str, *, is_secure: bool) -> bytes:
    """The request line and headers for control: all but what is between client and gateway. ``client``: its address."""
    named = {token.strip().lower() for token in request.fields.get(b"connection", b"").split(b",")}
    lines = [b"%b %b HTTP/1.1\r\n" % (request.method, request.target)]
    for name, value in request.headers:
        lower = name.lower()
        if lower not in _HOP and lower not in named and not lower.startswith(OURS):
            lines.append(b"%b: %b\r\n" % (name, value))
    if b"host" not in request.fields:
        lines.append(b"Host: control\r\n")
    if request.size or request.method in (b"POST", b"PUT", b"PATCH"):
        lines.append(b"Content-Length: %d\r\n" % request.size)
    lines.append(b"%b: %b\r\n%b: %b\r\n" % (REQUEST_ID, request.id, CLIENT, client.encode()))
    lines.append(b"%b: %d\r\n\r\n" % (SECURE, is_secure))
    return b"".join(lines)
