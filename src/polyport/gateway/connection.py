"""One client connection: takes requests off the wire, one after the other, and brings answers back in their order.

The parser (llhttp) refuses bare line feeds, folded headers, control characters, repeated or conflicting lengths; what
it leaves to its user is checked here. Requests that a client sends before the answer to the first wait in line.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from polyport.errors import ApiError
from polyport.gateway import faults, heads, peers
from polyport.gateway.request import (
    BULK,
    MAX_HEAD,
    MAX_HEADERS,
    METHODS,
    Headers,
    Request,
    path_of,
    size_of_head,
)

if TYPE_CHECKING:
    from polyport.gateway.exchange import Exchange, Taker
    from polyport.gateway.gateway import Gateway

log = logging.getLogger(__name__)

# Counted in sweeps, one a second, so that no request pays for a timer.
#: A connection without a request.
IDLE_SWEEPS = 120
#: From the first byte of a head to its end.
HEAD_SWEEPS = 30
#: Without a byte of a body that is not whole.
BODY_SWEEPS = 60
#: From an answer that ends the connection to its end, so that a client that is still sending can read it.
LINGER_SWEEPS = 10

#: Requests in line, and bytes of their bodies, from which on a client is not read; before, its leaving is seen at once.
MAX_LINE = 64
MAX_LINE_SIZE = 64 * 1024

#: A body goes on to its container before it is whole when so much of it (bytes) came in its first second, and as long
#: as it keeps this pace (bytes a second, after a start): a slow client must not keep a container busy with waiting.
EARLY = 128 * 1024
PACE = 32 * 1024
PACE_SWEEPS = 5

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client."""

    __slots__ = (
        "_age",
        "_current",
        "_exchange",
        "_fed",
        "_gateway",
        "_headers",
        "_in_head",
        "_is_closing",
        "_is_full",
        "_is_paused",
        "_is_serving",
        "_left",
        "_limit",
        "_owes_continue",
        "_parser",
        "_quiet",
        "_reading",
        "_ready",
        "_taker",
        "_unsent",
        "transport",
    )

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._limit = gateway.options.max_body_bytes
        self._parser: HttpRequestParser = HttpRequestParser(self)
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens
        # The connection
        self._exchange: Exchange | None = None
        self._current: Request | None = None
        #: Whole requests in line; an error stands for the one that could not be read, and is the last.
        self._ready: deque[Request | ApiError] = deque()
        self._is_paused = False
        #: The client does not take what it is sent.
        self._is_full = False
        self._is_serving = False
        #: No request is taken any more: the last answer was given, or is an error.
        self._is_closing = False
        #: Sweeps since something happened.
        self._quiet = 0
        #: Bytes of answers that wait for the client, at the last sweep.
        self._unsent = 0
        # The request that is being read
        self._in_head = True
        #: Bytes since the last that were of use: a head, or a piece of a body.
        self._fed = 0
        #: Sweeps since its head began, then since its body did.
        self._age = 0
        #: Bytes to come of a body that needs no parser, because its length is known.
        self._left = 0
        #: Who takes this body while it comes.
        self._taker: Taker | None = None
        self._reading = Request()
        self._headers: Headers = []
        self._owes_continue = False

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
        if self._left:
            data = self._take_body(data)
        is_first = self._in_head and not self._fed
        if is_first:
            found = heads.find_request(data)
            if found is not None:
                self._ready.append(found[0].request(self._gateway.clock.request_id(), found[1]))
                self._serve()
                return
        self._fed += len(data)
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._refuse(faults.malformed("Polyport speaks HTTP/1.1 and switches to no other protocol"))
        except HttpParserCallbackError as error:
            # Must come first: it is a subclass of the next.
            self._refuse(_cause(error))
        except HttpParserError as error:
            self._refuse(faults.malformed(str(error)))
        else:
            if is_first and self._ready and self._in_head and not self._fed:
                heads.keep_request(data, self._ready[-1])  # type: ignore[arg-type]  # nothing was refused
            if self._fed > MAX_HEAD:
                self._refuse(faults.malformed(f"its head, or what follows its body, is longer than {MAX_HEAD} bytes"))
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

    # Parser callbacks. What they raise reaches `data_received` as the context of a HttpParserCallbackError.

    def on_url(self, url: bytes) -> None:
        self._reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        request, headers = self._reading, self._headers
        if len(headers) > MAX_HEADERS:
            raise faults.malformed(f"it has more than {MAX_HEADERS} headers")
        if self._fed > MAX_HEAD and size_of_head(request.target, headers) > MAX_HEAD:
            raise faults.malformed(f"its head is longer than {MAX_HEAD} bytes")
        self._in_head = False
        # What comes after a body in chunks goes into a list that nobody reads.
        self._headers = []
        request.take_head(headers)
        request.keep_alive = self._parser.should_keep_alive()
        fields = request.fields
        if not request.keep_alive or b"connection" in fields:
            self._check_version(request)
        if b"host" not in fields and not request.is_legacy:
            raise faults.malformed("it has no Host header")
        if b"transfer-encoding" in fields:
            _check_coding(request)
        elif b"content-length" in fields and int(fields[b"content-length"]) > self._limit:
            raise faults.too_large(self._limit)
        request.method = self._parser.get_method()
        if request.method != b"POST" and request.method not in METHODS:
            raise faults.malformed(f"the method {request.method.decode('ascii', 'replace')} is not served")
        if not request.target.startswith(b"/"):
            request.target = path_of(request.target)
        request.id = self._gateway.clock.request_id()
        if b"expect" in fields:
            self._expect(request)

    def on_body(self, body: bytes) -> None:
        self._fed = 0
        request = self._reading
        request.add(body)
        if request.size > self._limit:
            raise faults.too_large(self._limit)

    def on_message_complete(self) -> None:
        if self._taker is None:
            self._ready.append(self._reading)
        self._taker = None
        self._reading = Request()
        self._in_head = True
        self._fed = self._age = 0
        if self._headers:
            self._headers = []
        self._owes_continue = False

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

    def _is_late(self) -> bool:
        """Whether a request was begun and does not get on."""
        if not self._in_head:
            self._age += 1
            return self._quiet > BODY_SWEEPS
        # A head may come byte by byte, so silence is no measure.
        self._age += 1 if self._fed else 0
        return self._age > HEAD_SWEEPS

    def _dawdles(self) -> bool:
        """Whether a client is too slow to be waited for by a container. Time in which it was held does not count."""
        if self._is_paused:
            self._quiet = 0
            return False
        self._age += 1
        came = self._reading.size - self._left
        return self._quiet > BODY_SWEEPS or came < PACE * (self._age - PACE_SWEEPS)

    def _take_body(self, data: bytes) -> bytes:
        """Take from the data what belongs to the body; returns the rest."""
        request, left, rest = self._reading, self._left, b""
        if len(data) > left:
            data, rest = data[:left], data[left:]
        self._left = left - len(data)
        taker = self._taker
        if not self._left:
            request.is_whole = True
            self.on_message_complete()
        if taker is None:
            request.keep(data)
        else:
            taker.take(data)
        # Its answer may have been the last.
        return b"" if self._is_closing else rest

    def _look_ahead(self) -> None:
        """A body has begun. What is still to come of a large one needs no parser, and may go on at once."""
        request = self._reading
        if not self._left and not self._is_closing:
            left = int(request.fields.get(b"content-length", b"0")) - request.size
            if left < BULK:
                return
            self._left, self._fed = left, 0
            request.size += left
            # The old one is in the middle of a message for ever.
            self._parser = HttpRequestParser(self)
        is_next = self._exchange is None and not self._ready and not self._is_closing
        if is_next and request.size - self._left >= EARLY and self._age < 2:
            self._begin_early(request)

    def _begin_early(self, request: Request) -> None:
        taker = self._gateway.serve_early(self, request)
        if taker is not None:
            request.is_whole = False
            self._current, self._exchange, self._taker = request, taker, taker
            self._set_out(taker, request)

    def _check_version(self, request: Request) -> None:
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise faults.malformed(f"HTTP/{version} is not served")
        request.is_legacy = version == "1.0"
        if self._parser.should_upgrade():
            raise faults.malformed("Polyport speaks HTTP/1.1 and switches to no other protocol")

    def _expect(self, request: Request) -> None:
        if request.fields[b"expect"].lower() != b"100-continue":
            raise ApiError("ValidationError", "The only expectation that Polyport meets is 100-continue.", 417)
        if request.is_legacy:
            return
        if self._exchange is None and not self._ready:
            self.transport.write(CONTINUE)
        else:
            # It must not overtake an earlier answer.
            self._owes_continue = True

    def _refuse(self, error: ApiError) -> None:
        """What came cannot be read, so nothing after it can. The answer comes in its turn, and ends the connection."""
        self._ready.append(error)
        self._is_closing = True

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
        self.transport.write(faults.render(error, clock.request_id(), clock.date, b"Connection: close\r\n"))
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


def _check_coding(request: Request) -> None:
    if request.fields[b"transfer-encoding"].lower() != b"chunked" or request.is_legacy:
        raise faults.malformed("its Transfer-Encoding is not chunked")


def _cause(error: HttpParserCallbackError) -> ApiError:
    """What a parser callback raised; anything but an `ApiError` is a mistake of ours."""
    cause = error.__context__
    if isinstance(cause, ApiError):
        return cause
    log.error("reading a request failed", exc_info=cause)
    return faults.internal()
