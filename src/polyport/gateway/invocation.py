"""One call: through one container (single, direct) or a chain of them (serial), and the answer back as it arrives.

The answer of a stage that is not the last is taken whole and becomes the next one's request; the answer of the last is
passed on piece by piece. A request goes to a second connection only when it cannot have reached a container by the
first: refused, or kept alive from before and closed without a byte of an answer.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from polyport.gateway import faults, headers, routes, timing
from polyport.gateway.request import NO_FIELDS, Fields

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.calls import Call
    from polyport.gateway.deadlines import Lane
    from polyport.gateway.exchange import Client
    from polyport.gateway.gateway import Gateway
    from polyport.gateway.request import Request
    from polyport.gateway.upstream import Upstream

#: Bytes of a container's error that are read: more than an error can show.
MAX_ERROR_BODY = 64 * 1024
#: Below this (bytes), joining head and body costs less than a second buffer.
JOIN_LIMIT = 64 * 1024


class Invocation:
    """One call. It knows its way from the start; what changes is at which stage, and which instance, it is."""

    __slots__ = (
        "_accept",
        "_began",
        "_begun",
        "_body",
        "_client",
        "_collected",
        "_collected_size",
        "_content_type",
        "_done",
        "_endpoint",
        "_extra",
        "_gateway",
        "_instance",
        "_is_chunked",
        "_lane",
        "_last",
        "_paused",
        "_position",
        "_request",
        "_said",
        "_sent",
        "_size",
        "_stage",
        "_stages",
        "_took",
        "_tried",
        "_upstream",
        "_variant",
        "failure",
    )

    def __init__(self, gateway: Gateway, client: Client, request: Request, call: Call, lane: Lane[Invocation]) -> None:
        self._gateway = gateway
        self._client = client
        self._request = request
        self._lane = lane
        # The way
        self._endpoint, self._variant, self._instance, self._stages, self._accept, _ = call
        self._last = len(self._stages) - 1
        self._position = 0
        #: The container whose turn it is.
        self._stage = self._instance.containers[self._stages[0]]
        self._tried: list[routes.Instance] | None = None
        self._upstream: Upstream | None = None
        # Where the time goes (seconds, monotonic): since the call began, and since the stage's request was sent
        self._began = monotonic()
        self._sent = 0.0
        #: The stages that are over, and how long each took.
        self._took: list[tuple[routes.Container, float]] = []
        # What the container whose turn it is gets
        self._content_type = request.fields.get(headers.TYPE) or headers.DEFAULT_TYPE
        self._extra = headers.to_container(request.members)
        self._body = request.body
        self._size = request.size
        # What has come back: of a stage whose answer is not passed on, and of headers for the client
        self._collected: list[bytes] = []
        self._collected_size = 0
        self._said: Fields = NO_FIELDS
        # The answer to the client
        self._begun = False
        self._is_chunked = False
        self._paused = False
        self._done = False
        #: The code of the error that ended it.
        self.failure = ""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._request.id!r} at stage {self._position} in {self._instance!r}>"

    def start(self) -> None:
        """Set out."""
        self._instance.outstanding += 1
        self._lane.add(self)
        self._go()

    # What the client and the clock do

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
        """The client is gone: closing the connection tells the container."""
        self._leave()

    def expire(self) -> None:
        """The call's time is over."""
        self._end_badly(faults.timed_out(self._place()), faults.TIME_EXCEEDED)

    # What the upstream does

    def connected(self, upstream: Upstream) -> None:
        """Send the request of this stage."""
        if self._done:
            upstream.pool.put(upstream)
            return
        self._upstream = upstream
        upstream.begin(self)
        self._sent = monotonic()
        if self._gateway.stages is not None:
            # Anew, if it is another stage, or another connection.
            self._gateway.stages.discard(self)
            self._gateway.stages.add(self)
        head = (
            self._stage.head,
            b"Content-Type: ",
            self._content_type,
            b"\r\nAccept: ",
            self._accept if self._position == self._last else headers.DEFAULT_ACCEPT,
            self._extra,
            b"\r\nContent-Length: %d\r\n\r\n" % self._size,
        )
        if self._size < JOIN_LIMIT:
            upstream.transport.write(b"".join((*head, *self._body)))
        else:
            upstream.transport.writelines((b"".join(head), *self._body))
        if self._paused:
            upstream.transport.pause_reading()

    def refused(self, reason: str) -> None:
        """Nothing was sent, so another instance may be tried."""
        if self._done:
            return
        gateway, instance = self._gateway, self._instance
        gateway.report(instance, self._stage.hostname, reason)
        instance.avoid_until = gateway.loop.time() + routes.AVOIDED_FOR
        if not self._turn():
            self._end_badly(faults.no_answer(self._place()), faults.STREAM_BROKEN)

    def crowded(self, *, has_waited: bool) -> None:
        """The container has enough to do. Whoever has waited in its line need not wait in another."""
        if not self._done and (has_waited or not self._turn()):
            self._end_badly(faults.throttled(self._place()), faults.STREAM_BROKEN)

    def received(self, upstream: Upstream) -> None:
        """The last stage's success goes on to the client; all else is taken whole."""
        if self._gateway.stages is not None:
            self._gateway.stages.discard(self)
        if self._position == self._last and 200 <= upstream.status < 300:
            self._pass_on(upstream)
        else:
            self._collect(upstream)

    def broken(self, upstream: Upstream, reason: str) -> None:
        """The connection is gone. Whether the container has the request decides if it may be sent again."""
        self._upstream = None
        if upstream.is_reused and not upstream.heard:
            # It was closed while it was idle. A new connection tells for certain.
            self._stage.pool.open(self)
            return
        self._gateway.report(self._instance, self._stage.hostname, reason)
        if upstream.status and not 200 <= upstream.status < 300:
            error = faults.model_error(self._place(), upstream.status, b"", is_whole=False)
        else:
            error = faults.no_answer(self._place())
        self._end_badly(error, faults.STREAM_BROKEN)

    def crashed(self) -> None:
        """A mistake of ours."""
        self._end_badly(faults.internal(), faults.STREAM_BROKEN)

    # Steps

    def _turn(self) -> bool:
        """Go on in another instance, at the same stage, if there is one that was not tried."""
        gateway, instance = self._gateway, self._instance
        self._tried = [*(self._tried or ()), instance]
        other = routes.choose_instance(self._variant, gateway.draw, gateway.loop.time, self._tried)
        if other is None:
            return False
        self._instance = other
        self._stage = other.containers[self._stages[self._position]]
        other.outstanding += 1
        gateway.release(instance)
        self._go()
        return True

    def _go(self) -> None:
        upstream = self._stage.pool.take()
        if upstream is None:
            self._stage.pool.open(self)
        else:
            self.connected(upstream)

    def _pass_on(self, upstream: Upstream) -> None:
        parts, upstream.parts = upstream.parts, []
        ended = upstream.ended
        head: tuple[bytes, ...] = ()
        if not self._begun:
            head = self._head(upstream, sum(map(len, parts)) if ended else None)
            self._begun = True
        if self._is_chunked:
            parts = headers.chunked(parts, is_last=ended)
        self._client.write(b"".join((*head, *parts)))
        if ended:
            self._finish()

    def _head(self, upstream: Upstream, length: int | None) -> tuple[bytes, ...]:
        """Status line and headers of the answer. ``length`` (bytes), if the body is already known."""
        request, gateway = self._request, self._gateway
        fields = headers.from_container(upstream.headers)
        # First, for it decides whether the connection can go on.
        stated = fields.pop(headers.LENGTH, None)
        framing = self._framing(stated if length is None else b"%d" % length)
        content_type = fields.pop(headers.TYPE, None)
        if self._said:
            fields = {**self._said, **fields}
        return (
            b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: ",
            request.id,
            b"\r\n",
            self._variant.header,
            gateway.clock.date,
            gateway.connection_line(request),
            self._timing_line(),
            self._type_lines(content_type),
            headers.to_client(fields) if fields else b"",
            framing,
        )

    def _framing(self, length: bytes | None) -> bytes:
        """How the end of the body will be known: the last header and the empty line."""
        if length is not None:
            return b"Content-Length: %b\r\n\r\n" % length
        if self._request.is_legacy:
            # HTTP/1.0 knows no chunks: the body ends with the connection.
            self._request.keep_alive = False
            return b"\r\n"
        self._is_chunked = True
        return b"Transfer-Encoding: chunked\r\n\r\n"

    def _type_lines(self, content_type: bytes | None) -> bytes:
        return b"" if content_type is None else b"Content-Type: %b\r\n" % content_type

    def _collect(self, upstream: Upstream) -> None:
        piece, upstream.parts = b"".join(upstream.parts), []
        self._collected.append(piece)
        self._collected_size += len(piece)
        size = self._collected_size
        if not 200 <= upstream.status < 300:
            if upstream.ended or size > MAX_ERROR_BODY:
                self._report_model_error(upstream, is_cut=not upstream.ended)
        elif size > self._gateway.options.max_body_bytes:
            following = self._instance.containers[self._stages[self._position + 1]].label
            limit = self._gateway.options.max_body_bytes
            self._end_badly(faults.too_much_between(self._place(), following, size, limit), faults.STREAM_BROKEN)
        elif upstream.ended:
            self._advance(upstream, size)

    def _report_model_error(self, upstream: Upstream, *, is_cut: bool) -> None:
        body = b"".join(self._collected)
        error = faults.model_error(self._place(), upstream.status, body, is_whole=True, is_cut=is_cut)
        self._end_badly(error, faults.STREAM_BROKEN)

    def _advance(self, upstream: Upstream, size: int) -> None:
        """The answer of this stage is the request of the next."""
        fields = headers.from_container(upstream.headers)
        self._content_type = fields.pop(headers.TYPE, headers.DEFAULT_TYPE)
        fields.pop(headers.LENGTH, None)
        self._said = {**self._said, **fields}
        # The client's attributes go along until a container sets its own.
        if headers.CUSTOM in self._said:
            attributes = {headers.CUSTOM: self._said[headers.CUSTOM]}
            self._extra = headers.to_container({**self._request.members, **attributes})
        self._body, self._size = [*self._collected], size
        self._collected, self._collected_size = [], 0
        self._position += 1
        left = self._stage
        self._stage = self._instance.containers[self._stages[self._position]]
        self._upstream = None
        # An instance may be tried for this stage that refused an earlier one.
        self._tried = None
        self._took.append((left, monotonic() - self._sent))
        self._sent = 0.0
        upstream.release()
        self._go()

    def _timing_line(self) -> bytes:
        """Where the time went. Ends the time of the stage whose turn it is."""
        now = monotonic()
        if self._sent:
            self._took.append((self._stage, now - self._sent))
            self._sent = 0.0
        return timing.line(now - self._began, self._took) if self._gateway.options.server_timing else b""

    def _finish(self) -> None:
        client = self._client
        self._leave()
        client.finish()

    def _end_badly(self, error: ApiError, reason: faults.Interruption) -> None:
        """Tell the client: by an error if nothing was answered yet, else as the answer's form permits."""
        if self._done:
            return
        label = self._stage.label
        client = self._client
        self.failure = error.code
        lines = b"" if self._begun else self._timing_line()
        self._leave()
        if self._begun:
            self._interrupt(reason, label)
        else:
            client.fail(error, lines)

    def _interrupt(self, reason: faults.Interruption, label: str) -> None:  # noqa: ARG002  streams tell
        """The answer cannot be ended; a client must not take the part for the whole."""
        self._client.cut()

    def _leave(self) -> None:
        """Let go of everything. The upstream keeps its connection only if the exchange on it is complete."""
        if self._done:
            return
        self._done = True
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            self._stage.pool.leave(self)
        else:
            if self._paused:
                upstream.transport.resume_reading()
            upstream.release()
        self._lane.discard(self)
        if self._gateway.stages is not None:
            self._gateway.stages.discard(self)
        self._gateway.release(self._instance)

    def _place(self) -> faults.Place:
        endpoint = self._endpoint
        return faults.Place(endpoint.account, endpoint.region, endpoint.name, self._stage.label)
