"""One call: through one container (single, direct) or a chain of them (serial), and the answer back as it arrives.

The answer of a stage that is not the last becomes the request of the next, a large one while it comes; that of the
last is passed on piece by piece.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, cast

from polyport.gateway import faults
from polyport.gateway.calls import headers
from polyport.gateway.calls.course import Course
from polyport.gateway.calls.inflow import MOST_KEPT, MOST_PIECES, Inflow

if TYPE_CHECKING:
    from polyport.gateway.clients.request import Fields
    from polyport.gateway.containers.upstream import Upstream

#: Bytes of a container's error that are read: more than an error can show.
MAX_ERROR_BODY = 64 * 1024
#: Below this (bytes), joining head and body costs less than a second buffer.
JOIN_LIMIT = 64 * 1024
#: An answer goes on to the next stage before it is whole from so many bytes on.
RELAY_FROM = 64 * 1024


class Invocation(Course):
    """A call with all that goes through it."""

    __slots__ = ()

    def start(self) -> None:
        """Set out."""
        self._instance.outstanding += 1
        if self._instance.cells is None:
            self._cells()
        self._lane.add(self)
        request = self._request
        if not request.is_whole:
            self._inflow = Inflow(self._client, request.size - sum(map(len, request.body)))
        self._go()

    def take(self, piece: bytes) -> None:
        """The next piece of the client's body. If the container has answered without waiting for it, it is not sent."""
        if self._inflow is not None and self._inflow.source is None:
            self._renew()
            self._supply([piece])

    # What the upstream does

    def connected(self, upstream: Upstream) -> None:
        """Send the request of this stage."""
        if self._done:
            upstream.pool.put(upstream)
            return
        self._upstream = upstream
        upstream.begin(self)
        self._sent = monotonic()
        if self._gateway.stages is not None and self._inflow is None:
            self._limit_stage(self._gateway.stages)
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
        if self._inflow is not None:
            self._open_inflow(upstream, self._inflow)
        if self._paused:
            upstream.transport.pause_reading()

    def clogged(self) -> None:
        """The container takes no more: nor do we."""
        if self._inflow is not None:
            self._inflow.is_clogged = True
            self._inflow.pause()

    def cleared(self) -> None:
        """The container takes more."""
        if self._inflow is not None:
            self._inflow.is_clogged = False
            self._inflow.resume()

    def received(self, upstream: Upstream) -> None:
        """The last stage's success goes on to the client, an earlier one's to the next stage; errors are whole."""
        if self._inflow is not None and upstream is self._inflow.source:
            parts, upstream.parts = upstream.parts, []
            self._supply(parts)
            return
        if self._gateway.stages is not None:
            self._gateway.stages.discard(self)
        if self._position == self._last and 200 <= upstream.status < 300:
            if self.witness is not None:
                self.witness.answer(upstream)
            self._pass_on(upstream)
        else:
            self._collect(upstream)

    def broken(self, upstream: Upstream, reason: str) -> None:
        """The connection is gone. Whether the container has the request decides if it may be sent again."""
        if self._inflow is not None and upstream is self._inflow.source:
            self._end_for_giver(self._inflow, reason)
            return
        self._upstream = None
        if upstream.is_reused and not upstream.heard and self._is_repeatable:
            # It was closed while it was idle. A new connection tells for certain.
            self.cleared()
            self._stage.pool.open(self)
            return
        self._gateway.report(self._instance, self._stage.hostname, reason)
        if upstream.status and not 200 <= upstream.status < 300:
            error = faults.model_error(self._place(), upstream.status, b"", is_whole=False)
        else:
            error = faults.no_answer(self._place())
        self._end_badly(error, faults.STREAM_BROKEN)

    # The answer to the client

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
            self._finish(is_at_once=bool(head))

    def _finish(self, *, is_at_once: bool) -> None:
        """``is_at_once``: the answer went to the client in one piece."""
        self._count(self._first if is_at_once else monotonic())
        client = self._client
        self._leave()
        client.finish()

    def _head(self, upstream: Upstream, length: int | None) -> tuple[bytes, ...]:
        """Status line and headers of the answer. ``length`` (bytes), if the body is already known."""
        request, gateway = self._request, self._gateway
        if not request.is_whole:
            # What is still coming is thrown away.
            request.keep_alive = False
        # First, for they decide whether the connection can go on.
        lines = upstream.lines if length is not None and not self._said else b""
        lines = lines or self._last_lines(upstream, length)
        return (
            b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: ",
            request.id,
            b"\r\n",
            self._variant.header,
            gateway.clock.date,
            gateway.connection_line(request),
            self._timing_line(),
            lines,
        )

    def _last_lines(self, upstream: Upstream, length: int | None) -> bytes:
        fields = headers.from_container(upstream.headers)
        stated = fields.pop(headers.LENGTH, None)
        framing = self._framing(stated if length is None else b"%d" % length)
        type_lines = self._type_lines(fields.pop(headers.TYPE, None))
        if self._said:
            fields = {**self._said, **fields}
        said = headers.to_client(fields, self._instance.mark) if fields else b""
        return b"".join((type_lines, said, framing))

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

    # From stage to stage

    def _collect(self, upstream: Upstream) -> None:
        piece, upstream.parts = b"".join(upstream.parts), []
        self._collected.append(piece)
        self._collected_size += len(piece)
        size = self._collected_size
        if not 200 <= upstream.status < 300:
            if upstream.ended or size > MAX_ERROR_BODY:
                self._report_model_error(upstream, is_cut=not upstream.ended)
        elif size > self._gateway.options.max_body_bytes:
            self._refuse_size(size)
        elif upstream.ended:
            self._advance(upstream, size)
        elif size >= RELAY_FROM and self._inflow is None:
            self._relay(upstream)

    def _report_model_error(self, upstream: Upstream, *, is_cut: bool) -> None:
        body = b"".join(self._collected)
        error = faults.model_error(self._place(), upstream.status, body, is_whole=True, is_cut=is_cut)
        self._end_badly(error, faults.STREAM_BROKEN)

    def _relay(self, upstream: Upstream) -> None:
        """So much of an answer is there that the next stage can begin. Without a length it is taken whole: containers
        are never sent chunks."""
        stated = headers.from_container(upstream.headers).get(headers.LENGTH)
        if stated is not None:
            size, came = int(stated), self._collected_size
            if size > self._gateway.options.max_body_bytes:
                self._refuse_size(size)
            else:
                giver = self._instance, self._stage
                # The next stage may have to be had from another instance; this one is not drained before its answer is.
                self._instance.outstanding += 1
                rest = Inflow(self._client, size - came, upstream, giver, self._gateway.release)
                self._advance(upstream, size, rest)

    def _refuse_size(self, size: int) -> None:
        limit = self._gateway.options.max_body_bytes
        following = self._instance.containers[self._stages[self._position + 1]].label
        self._end_badly(faults.too_much_between(self._place(), following, size, limit), faults.STREAM_BROKEN)

    def _advance(self, upstream: Upstream, size: int, rest: Inflow | None = None) -> None:
        """The answer of this stage is the request of the next. ``rest``: what is still to come of it."""
        if self._inflow is not None:
            # It has answered without its whole request.
            upstream.spoil()
            self._inflow.end()
        self._inflow, self._is_repeatable = rest, True
        if upstream.lines:
            # It says no more than its type and length.
            self._content_type = upstream.content_type
        else:
            self._heed(headers.from_container(upstream.headers))
        self._body, self._size = cast("list[bytes | bytearray]", self._collected), size
        self._collected, self._collected_size = [], 0
        self._position += 1
        left = self._stage
        self._stage = self._instance.containers[self._stages[self._position]]
        self._upstream = None
        # An instance may be tried for this stage that refused an earlier one.
        self._tried = None
        self._took.append((left, monotonic() - self._sent))
        self._sent = 0.0
        if rest is None:
            upstream.release()
        self._go()

    def _heed(self, fields: Fields) -> None:
        """What a stage says goes on to the next and, but for its type, to the client."""
        self._content_type = fields.pop(headers.TYPE, headers.DEFAULT_TYPE)
        fields.pop(headers.LENGTH, None)
        self._said = {**self._said, **fields}
        # The client's attributes go along until a container sets its own.
        if headers.CUSTOM in self._said:
            attributes = {headers.CUSTOM: self._said[headers.CUSTOM]}
            self._extra = headers.to_container({**self._request.members, **attributes})

    def _open_inflow(self, upstream: Upstream, inflow: Inflow) -> None:
        """The part of the body that is there was sent."""
        self._is_repeatable = upstream.is_reused
        if not self._is_repeatable:
            self._body.clear()
        inflow.resume()

    def _supply(self, pieces: list[bytes]) -> None:
        """More of a body that goes on while it comes."""
        inflow, upstream = self._inflow, self._upstream
        assert inflow is not None, "it is not whole"
        inflow.owed -= sum(map(len, pieces))
        if upstream is None:
            self._body += pieces
            inflow.pause()
        else:
            if self._is_repeatable:
                self._body += pieces
                if self._size - inflow.owed > MOST_KEPT or len(self._body) > MOST_PIECES or upstream.heard:
                    self._is_repeatable = False
                    self._body.clear()
            upstream.transport.writelines(pieces)
        if not inflow.owed:
            self._inflow = None
            inflow.end()
            if self._gateway.stages is not None and upstream is not None and not upstream.heard:
                self._limit_stage(self._gateway.stages)

    def _end_for_giver(self, inflow: Inflow, reason: str) -> None:
        """The stage before broke off in its answer."""
        assert inflow.giver is not None, "it has a source"
        instance, container = inflow.giver
        self._gateway.report(instance, container.hostname, reason)
        self._end_badly(faults.no_answer(self._place(container)), faults.STREAM_BROKEN, container)
