"""Takes requests off the wire, one after the other.

The parser (llhttp) refuses bare line feeds, folded headers, control characters, repeated or conflicting lengths; what
it leaves to its user is checked here.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser

from polyport.aws.wire import MAX_BODY
from polyport.errors import ApiError
from polyport.gateway import faults
from polyport.gateway.clients import heads
from polyport.gateway.clients.request import (
    BULK,
    INVOCATIONS,
    MAX_HEAD,
    MAX_HEADERS,
    METHODS,
    Headers,
    Request,
    path_of,
    size_of_head,
)

if TYPE_CHECKING:
    from polyport.gateway.clients.exchange import Client, Taker
    from polyport.gateway.gateway import Gateway

log = logging.getLogger(__name__)

# Counted in sweeps, one a second, so that no request pays for a timer.
#: From the first byte of a head to its end.
HEAD_SWEEPS = 30
#: Without a byte of a body that is not whole.
BODY_SWEEPS = 60
#: Bytes a second, after a start, that a client must send of a body that a container waits for.
PACE = 32 * 1024
PACE_SWEEPS = 5


class Reader(asyncio.Protocol):
    """The reading half of a client's connection; what it has read is in ``_ready``."""

    __slots__ = (
        "_age",
        "_fed",
        "_gateway",
        "_headers",
        "_in_head",
        "_is_closing",
        "_is_paused",
        "_left",
        "_limit",
        "_most",
        "_owes_continue",
        "_parser",
        "_quiet",
        "_reading",
        "_ready",
        "_taker",
    )

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._most = self._limit = gateway.options.max_body_bytes
        self._parser: HttpRequestParser = HttpRequestParser(self)
        #: Whole requests in line; an error stands for the one that could not be read, and is the last.
        self._ready: deque[Request | ApiError] = deque()
        #: No request is taken any more: the last answer was given, or is an error.
        self._is_closing = False
        #: The client is not read for now.
        self._is_paused = False
        #: Sweeps since something happened.
        self._quiet = 0
        # The request that is being read; ``_limit``: bytes that its body may have
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
        #: The client waits for leave to send the body.
        self._owes_continue = False

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
        if not request.target.startswith(b"/"):
            request.target = path_of(request.target)
        size = self._check_size(request)
        request.method = self._parser.get_method()
        if request.method != b"POST" and request.method not in METHODS:
            raise faults.malformed(f"the method {request.method.decode('ascii', 'replace')} is not served")
        request.id = self._gateway.clock.request_id()
        if self._gateway.guard is not None and (size > BULK or b"transfer-encoding" in fields):
            self._gateway.expect(self._client(), request)
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

    # Steps

    def _client(self) -> Client:
        """The whole connection that this is half of."""
        raise NotImplementedError

    def _check_size(self, request: Request) -> int:
        """Bytes of the body, as far as the head tells."""
        self._limit = self._most if request.target.startswith(INVOCATIONS) else min(self._most, MAX_BODY)
        size = int(request.fields.get(b"content-length", b"0"))
        if size > self._limit:
            raise faults.too_large(self._limit)
        return size

    def _read(self, data: bytes) -> None:
        if self._left:
            data = self._take_body(data)
        if not self._in_head or self._fed:
            self._parse(data)
            return
        if self._gateway.guard is not None:
            self._read_signed(data)
            return
        found = heads.find_request(data)
        if found is not None:
            self._ready.append(found[0].request(self._gateway.clock.request_id(), found[1]))
            return
        self._parse(data)
        if self._ready and not self._is_closing and self._is_between():
            heads.keep_request(data, self._ready[-1])  # type: ignore[arg-type]  # nothing was refused

    def _read_signed(self, data: bytes) -> None:
        """Where there are keys."""
        request = heads.find_signed(data)
        if request is not None:
            request.id = self._gateway.clock.request_id()
            self._ready.append(request)
            return
        self._parse(data)
        if len(data) <= heads.LONGEST_WIRE and self._ready and not self._is_closing and self._is_between():
            self._ready[-1].wire = data  # type: ignore[union-attr]  # nothing was refused

    def _is_between(self) -> bool:
        """Whether nothing of a next request has come."""
        return self._in_head and not self._fed

    def _parse(self, data: bytes) -> None:
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
            if self._fed > MAX_HEAD:
                self._refuse(faults.malformed(f"its head, or what follows its body, is longer than {MAX_HEAD} bytes"))
            elif not self._in_head:
                self._pass_by()

    def _is_head(self) -> bool:
        """Whether what is being read is a HEAD request: its answer has no body, not even an error's."""
        # Before its target, the parser's method is that of the request before.
        return bool(self._reading.target) and self._parser.get_method() == b"HEAD"

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

    def _pass_by(self) -> None:
        """A body has begun. What is still to come of a large one needs no parser, which would copy it."""
        request = self._reading
        left = int(request.fields.get(b"content-length", b"0")) - request.size
        if left >= BULK and not self._left:
            self._left, self._fed = left, 0
            request.size += left
            # The old one is in the middle of a message for ever.
            self._parser = HttpRequestParser(self)

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
        self._owes_continue = not request.is_legacy

    def _refuse(self, error: ApiError) -> None:
        """What came cannot be read, so nothing after it can. The answer comes in its turn, and ends the connection."""
        self._ready.append(error)
        self._is_closing = True


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
