"""One client connection: takes requests off the wire, one after the other, and brings answers back in their order.

Requests that a client sends before the answer to the first wait in line.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from polyport.errors import ApiError
from polyport.gateway import faults
from polyport.gateway.clients import peers
from polyport.gateway.clients.reader import Reader
from polyport.gateway.clients.request import Request

if TYPE_CHECKING:
    from polyport.gateway.clients.exchange import Exchange
    from polyport.gateway.gateway import Gateway

log = logging.getLogger(__name__)

# Counted in sweeps, one a second, so that no request pays for a timer.
#: A connection without a request.
IDLE_SWEEPS = 120
#: From an answer that ends the connection to its end, so that a client that is still sending can read it.
LINGER_SWEEPS = 10

#: Requests in line, and bytes of their bodies, from which on a client is not read; before, its leaving is seen at once.
MAX_LINE = 64
MAX_LINE_SIZE = 64 * 1024

#: A body goes on to its container before it is whole when so much of it (bytes) came in its first second: a slow client
#: must not keep a container busy with waiting.
EARLY = 128 * 1024

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(Reader):
    """One client."""

    __slots__ = (
        "_current",
        "_exchange",
        "_is_full",
        "_is_serving",
        "_unsent",
        "transport",
    )

    def __init__(self, gateway: Gateway) -> None:
        super().__init__(gateway)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        self._exchange: Exchange | None = None
        self._current: Request | None = None
        #: The client does not take what it is sent.
        self._is_full = False
        self._is_serving = False
        #: Bytes of answers that wait for the client, at the last sweep.
        self._unsent = 0

    def __repr__(self) -> str:
        return f"<Connection {self._exchange!r}, {len(self._ready)} in line, closing={self._is_closing}>"

    # Protocol callbacks

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's are no subclass of asyncio.Transport
        self._gateway.connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio calls it so
        self._gateway.forget(self)
        self.eof_received()
        # The parser holds our bound methods: a cycle.
        self._parser = None  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        if self._is_closing:
            return
        self._quiet = 0
        self._read(data)
        if self._ready:
            self._serve()
        if not self._in_head:
            self._look_ahead()

    def eof_received(self) -> None:
        """The client has closed. It is not waited whether it still reads: a container must not work for nobody."""
        self._is_closing = True
        self._ready.clear()
        self._taker = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.abandon()

    def pause_writing(self) -> None:
        self._is_full = True
        if self._exchange is not None:
            self._exchange.pause()

    def resume_writing(self) -> None:
        self._is_full = False
        if self._exchange is not None:
            self._exchange.resume()
        elif self._ready and not self._is_serving:
            self._serve()

    # What an exchange asks for

    def write(self, data: bytes) -> None:
        """Send a piece of the answer."""
        self.transport.write(data)

    def finish(self) -> None:
        """The answer is complete."""
        keep_alive = self._current is not None and self._current.keep_alive
        self._exchange = self._current = None
        self._quiet = 0
        if self._taker is not None:
            # The answer came before the request was whole.
            self._linger()
        elif not keep_alive or self._gateway.is_draining:
            self._is_closing = True
            self._ready.clear()
            self.transport.close()
        elif not self._is_serving:
            if self._ready:
                self._serve()
            else:
                self._go_on()

    def fail(self, error: ApiError, lines: bytes = b"") -> int:
        """Answer with an error."""
        request = self._current
        assert request is not None, "there is an exchange"
        if not request.is_whole:
            request.keep_alive = False
        lines += self._gateway.connection_line(request)
        bodyless = request.method == b"HEAD"
        answer = faults.render(error, request.id, self._gateway.clock.date, lines, bodyless=bodyless)
        self.transport.write(answer)
        self.finish()
        return len(answer)

    def cut(self) -> None:
        """Break off: without its proper end the client sees that the answer is not whole."""
        self._is_closing = True
        self._exchange = self._current = self._taker = None
        self.transport.abort()

    def peer(self) -> str:
        """The client's address."""
        name = self.transport.get_extra_info("peername")
        if not isinstance(name, tuple):
            return ""
        return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"

    def pause_body(self) -> None:
        """Read no more for now."""
        if not self._is_paused and not self._is_closing:
            self._is_paused = True
            self.transport.pause_reading()

    def resume_body(self) -> None:
        """Read on, unless requests wait in line."""
        if self._is_paused and not self._ready and not self._is_closing:
            self._is_paused = False
            self.transport.resume_reading()

    # What the gateway asks for

    def drain(self) -> None:
        """Take no further request. One that has begun to come is still served."""
        if self._quiet < self._gateway.idle_sweeps:
            return
        if self._exchange is None and not self._ready and not self._is_closing and self._in_head and not self._fed:
            self._is_closing = True
            self.transport.close()

    def sweep(self) -> None:
        """Once a second: has the client had its time?"""
        if self._is_paused and peers.has_left(self.transport):
            self.transport.abort()
            return
        self._quiet += 1
        unsent = self.transport.get_write_buffer_size()
        if unsent != self._unsent:
            # A slow reader is not a silent one.
            self._unsent, self._quiet = unsent, 0
        if self._taker is not None and self._dawdles():
            self._taker.stalled()
        if self._exchange is not None:
            return
        if self._is_closing:
            if self._quiet > LINGER_SWEEPS:
                self.transport.abort()
        elif self._is_late():
            self._refuse(faults.too_slow())
            self._serve()
        elif self._quiet > IDLE_SWEEPS:
            self._is_closing = True
            self.transport.close()
        elif self._gateway.is_draining:
            # It came while the port was being closed.
            self.drain()

    # Steps

    def _client(self) -> Connection:
        return self

    def _look_ahead(self) -> None:
        """A body has begun. The client may wait for leave to go on with it, and a large one may go on at once."""
        request = self._reading
        if self._is_closing or self._exchange is not None or self._ready:
            # It must not overtake what came earlier.
            return
        if self._owes_continue:
            self._go_on()
        if self._left and request.size - self._left >= EARLY and self._age < 2 and not self._is_full:
            self._begin_early(request)

    def _begin_early(self, request: Request) -> None:
        try:
            taker = self._gateway.serve_early(self, request)
        except ApiError as error:
            self._refuse(error)
            self._serve()
            return
        except Exception:
            # It is told when the request is whole, if it comes again.
            log.exception("request %s is not served early", request.id.decode())
            return
        if taker is not None:
            request.is_whole = False
            self._current, self._exchange, self._taker = request, taker, taker
            self._set_out(taker, request)

    def _serve(self) -> None:
        """Begin with the next in line, until one is on its way. Refusals are answered at once, so this is a loop. None
        begins while the client does not take what it was sent: its answers would pile up."""
        self._is_serving = True
        while self._ready and self._exchange is None and not self._is_full:
            request = self._ready.popleft()
            if isinstance(request, ApiError):
                self._give_up(request)
            else:
                self._current = request
                self._begin(request)
        self._is_serving = False
        if self._ready:
            self._hold_back()
        elif self._exchange is None:
            self._go_on()

    def _hold_back(self) -> None:
        """Some wait in line: they must not become too many."""
        if self._is_paused or self._is_closing:
            return
        if len(self._ready) > MAX_LINE or sum(map(_size, self._ready)) > MAX_LINE_SIZE:
            self._is_paused = True
            self.transport.pause_reading()

    def _begin(self, request: Request) -> None:
        try:
            exchange = self._exchange = self._gateway.serve(self, request)
        except ApiError as error:
            self.fail(error)
        except Exception:
            log.exception("request %s failed", request.id.decode())
            self.fail(faults.internal())
        else:
            self._set_out(exchange, request)

    def _set_out(self, exchange: Exchange, request: Request) -> None:
        try:
            exchange.start()
        except Exception:
            log.exception("request %s failed", request.id.decode())
            exchange.crashed()

    def _give_up(self, error: ApiError) -> None:
        """Answer what could not be read, and read no further. Closing with unread data would reset the connection, and
        the client might never see the answer; so only our side is closed, and what comes is thrown away for a while."""
        clock = self._gateway.clock
        lines, bodyless = b"Connection: close\r\n", self._is_head()
        self.transport.write(faults.render(error, clock.request_id(), clock.date, lines, bodyless=bodyless))
        self._linger()

    def _linger(self) -> None:
        self._is_closing = True
        self._ready.clear()
        self._taker = None
        self._quiet = 0
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _go_on(self) -> None:
        """Nothing is in line: read on."""
        if self._is_paused:
            self._is_paused = False
            self.transport.resume_reading()
        if self._owes_continue and not self._is_closing:
            self._owes_continue = False
            self.transport.write(CONTINUE)


def _size(waiting: Request | ApiError) -> int:
    return waiting.size if isinstance(waiting, Request) else 0
