"""The way to control: tables come down it, acknowledgements and reports go up.

Frames are 4 bytes of length (big-endian) and MessagePack. Control may be away for as long as it likes: the worker
serves by what it has, and calls again.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from contextlib import suppress

import msgspec

from polyport.domain.captures import Captures
from polyport.domain.counts import Counted, Counts
from polyport.domain.pulse import Pulse
from polyport.domain.routes import (
    Acknowledge,
    FromControl,
    FromWorker,
    Hello,
    Publish,
    Refused,
    RouteTable,
    Unreachable,
)

log = logging.getLogger(__name__)

PREFIX = 4
#: Bytes; a table of ten thousand endpoints takes a few million.
MAX_FRAME = 256 * 1024 * 1024
#: Bytes that control may be behind before it is told no more of what is not urgent.
MAX_UNREAD = 1024 * 1024
#: Seconds before calling again, by how often it failed in a row.
PAUSES = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

_decoder: msgspec.msgpack.Decoder[FromControl] = msgspec.msgpack.Decoder(FromControl)


class Channel:
    """Keeps the connection. ``take`` is called with each table; ``draining`` tells which instances still drain."""

    def __init__(
        self, path: str, worker: str, take: Callable[[RouteTable], int], draining: Callable[[], tuple[str, ...]]
    ) -> None:
        self._path = path
        self._worker = worker
        self._take = take
        self._draining = draining
        #: Control has the counts of that number; there is a new connection to control.
        self.on_counted: Callable[[int], None] = lambda _: None
        self.on_connected: Callable[[], None] = lambda: None
        self._writer: asyncio.StreamWriter | None = None
        self._version: int | None = None

    async def run(self) -> None:
        """Until cancelled."""
        failures = 0
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):
                reader, writer = await asyncio.open_unix_connection(self._path)
                failures = 0
                await self._talk(reader, writer)
            await asyncio.sleep(PAUSES[min(failures, len(PAUSES) - 1)])
            failures += 1

    def acknowledge(self) -> None:
        """Say by which table new calls go, and what still drains."""
        if self._version is not None:
            self._send(Acknowledge(self._version, self._draining()))

    def tell(self, refused: Refused) -> bool:
        """Invocations were refused. False: control is away, or does not read."""
        writer = self._writer
        if writer is None or writer.is_closing() or writer.transport.get_write_buffer_size() > MAX_UNREAD:
            return False
        self._send(refused)
        return True

    def count(self, counts: Counts) -> bool:
        """Calls were counted. False: control is away; it is asked again when it is back."""
        is_there = self._writer is not None and not self._writer.is_closing()
        self._send(counts)
        return is_there

    def capture(self, sums: Captures) -> None:
        """What became of captures."""
        self._send(sums)

    def beat(self, pulse: Pulse) -> None:
        """How the worker is. Nothing is lost when control is away."""
        writer = self._writer
        if writer is not None and writer.transport.get_write_buffer_size() <= MAX_UNREAD:
            self._send(pulse)

    def report(self, instance: str, hostname: str, reason: str) -> None:
        """A container does not answer."""
        self._send(Unreachable(instance, hostname, reason))

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        try:
            self._send(Hello(self._worker, os.getpid()))
            self.on_connected()
            while True:
                length = int.from_bytes(await reader.readexactly(PREFIX), "big")
                if length > MAX_FRAME:
                    log.error("control sent a frame of %d bytes; hanging up", length)
                    return
                self._receive(await reader.readexactly(length))
        finally:
            self._writer = None
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    def _receive(self, frame: bytes) -> None:
        try:
            message = _decoder.decode(frame)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # A newer control may say what this worker does not know. Texts that are none, and what is nested without
            # end, are not msgspec's own errors.
            log.warning("control sent what this worker does not understand: %s", error)
            return
        if isinstance(message, Counted):
            self.on_counted(message.number)
        else:
            self._publish(message)

    def _publish(self, message: Publish) -> None:
        try:
            self._version = self._take(message.table)
        except Exception:
            log.exception("table %d cannot be used; serving by the one before", message.table.version)
            return
        self.acknowledge()

    def _send(self, message: FromWorker) -> None:
        if self._writer is None or self._writer.is_closing():
            # Control asks for everything anew when it is back: Hello, and the table that is acknowledged then.
            return
        body = msgspec.msgpack.encode(message)
        self._writer.write(len(body).to_bytes(PREFIX, "big") + body)
