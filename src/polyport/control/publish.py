"""Pushes the route table to the gateway workers and keeps count of who serves by which version.

A version is acknowledged by a worker once new calls go by it. Only then may an endpoint be called InService; only when
no worker has a call left in an instance that left the table may that instance be stopped.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from polyport.control import routes
from polyport.domain.access import CLOSED, AccessTable
from polyport.domain.captures import Captures
from polyport.domain.counts import Counted, Counts
from polyport.domain.pulse import Pulse
from polyport.domain.routes import (
    Acknowledge,
    EndpointRoute,
    FromControl,
    FromWorker,
    Hello,
    Publish,
    Refused,
    RouteTable,
    Unreachable,
)

log = logging.getLogger(__name__)

#: Bytes that announce a frame's length on the channel to a worker.
PREFIX = 4
#: A worker's frames are small; whatever is larger is not from a worker.
MAX_FRAME = 16 * 1024 * 1024
#: Bytes of tables that may wait for a worker that does not read. Then it is cut off; it comes back for the newest.
MAX_BACKLOG = 64 * 1024 * 1024


class Worker:
    """One connected gateway worker."""

    def __init__(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        self.hello = hello
        self.writer = writer
        self.acknowledged = 0
        #: It owes an answer to a table, and for how many seconds it was seen to.
        self.owes = False
        self.owed_for = 0.0
        self.draining: frozenset[str] = frozenset()
        #: How it said last that it is; ``None``: it has not yet.
        self.pulse: Pulse | None = None

    def push(self, frame: bytes) -> None:
        """Send it a table."""
        self.writer.write(frame)
        self.owes = True

    def settle(self, number: int) -> None:
        """Its counts of that number are kept."""
        if not self.writer.is_closing():
            self.writer.write(_frame(Counted(number)))

    def take(self, message: Acknowledge, latest: int) -> None:
        """It serves by that table."""
        self.acknowledged = max(self.acknowledged, message.version)
        self.draining = frozenset(message.draining)
        # Who answers is alive; the latest table may be on its way yet.
        self.owes, self.owed_for = self.acknowledged < latest, 0.0

    def __repr__(self) -> str:
        return f"<Worker {self.hello.worker} pid {self.hello.pid} at version {self.acknowledged}>"


class Publisher:
    """The table, its version, and the workers' acknowledgements.

    ``workers`` is how many there should be: nothing counts as acknowledged while one of them is away, since it may
    still serve by an older table.
    """

    def __init__(
        self,
        workers: int,
        on_progress: Callable[[], None],
        on_unreachable: Callable[[Unreachable], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._expected = workers
        self._on_progress = on_progress
        self._on_unreachable = on_unreachable
        #: Told of the invocations that workers refused.
        self.on_refused: Callable[[Refused], None] = lambda _: None
        #: Told of what workers counted; calls the second argument once that is kept.
        self.on_counts: Callable[[Counts, Callable[[], None]], None] = lambda _, settle: settle()
        #: Told what became of captures in a worker.
        self.on_captures: Callable[[Captures], None] = lambda _: None
        # Versions must grow across restarts, also when the database was put back to an older state.
        self._first_version = self._version = int(clock() * 1000)
        self._access = CLOSED
        self._routes: dict[str, EndpointRoute] = {}
        self._unavailable: dict[str, tuple[str, str, str, str]] = {}
        self._entered: dict[str, int] = {}
        self._left: dict[str, int] = {}
        self._workers: set[Worker] = set()
        self._connections: dict[asyncio.StreamWriter, asyncio.Task[None] | None] = {}
        self._frame: bytes | None = None
        self._dirty = False
        self._away_for = 0.0
        self._server: asyncio.Server | None = None
        self._decoder: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)

    # --- what the table holds

    def put(self, key: str, route: EndpointRoute | None, unavailable: tuple[str, str, str, str] | None) -> None:
        """Set the entry of the endpoint with id ``key``; both ``None`` takes it out. Pushed by `flush`."""
        if self._routes.get(key) == route and self._unavailable.get(key) == unavailable:
            return
        before, after = routes.live_ids(self._routes.get(key)), routes.live_ids(route)
        self._touch()
        # Those that stay enter anew: routed means by the latest weights and addresses, too.
        self._entered.update(dict.fromkeys(after, self._version))
        for instance in before - after:
            self._entered.pop(instance, None)
            self._left[instance] = self._version
        _set(self._routes, key, route)
        _set(self._unavailable, key, unavailable)

    def put_access(self, access: AccessTable) -> None:
        """Set who may call. Pushed by `flush`; until it is set, nobody may."""
        if self._access != access:
            self._access = access
            self._touch()

    def _touch(self) -> None:
        if not self._dirty:
            self._dirty, self._version = True, self._version + 1

    def flush(self) -> None:
        """Push the table to every worker, if it changed or was never pushed."""
        if not self._dirty and self._frame is not None:
            return
        self._dirty = False
        table = RouteTable(
            version=self._version,
            access=self._access,
            endpoints=tuple(self._routes.values()),
            unavailable=tuple(self._unavailable.values()),
        )
        self._frame = _frame(Publish(table))
        for worker in self._workers:
            if worker.writer.transport.get_write_buffer_size() > MAX_BACKLOG:
                log.warning("%r does not read and is cut off", worker)
                worker.writer.transport.abort()
            else:
                worker.push(self._frame)

    # --- who serves by it

    def is_routed(self, instance: str) -> bool:
        """Whether every worker serves by a table that holds the instance as it is now."""
        entered = self._entered.get(instance)
        return entered is not None and self._oldest() >= entered

    def is_drained(self, instance: str) -> bool:
        """Whether no worker's table holds the instance any more, and none has a call in it."""
        if instance in self._entered or self._oldest() < self._left.get(instance, self._first_version):
            return False
        return not any(instance in worker.draining for worker in self._workers)

    def forget(self, instance: str) -> None:
        """The instance is gone for good."""
        self._left.pop(instance, None)

    @property
    def is_ready(self) -> bool:
        """Whether every worker has acknowledged the latest table."""
        return self._frame is not None and self._oldest() >= self._version

    def expect(self, workers: int) -> None:
        """Change how many workers there should be."""
        if self._expected != workers:
            self._expected = workers
            self._on_progress()

    def connected(self) -> set[str]:
        """The names of the workers that are connected."""
        return {worker.hello.worker for worker in self._workers}

    @property
    def version(self) -> int:
        """Of the latest table."""
        return self._version

    @property
    def expected(self) -> int:
        """How many workers there should be."""
        return self._expected

    @property
    def workers(self) -> tuple[Worker, ...]:
        """The workers that are connected."""
        return tuple(self._workers)

    def cut_off_mute(self, patience: float, elapsed: float) -> list[Worker]:
        """Hang up on workers that have owed an answer to a table for so many seconds: nothing is acknowledged or
        drained while they hang. Returns them; each is to be ended, since it may still serve by what it had.

        ``elapsed``: seconds since the last look. Looks are counted, and no clock is read: control may have stood still,
        and then the answers are there and were not read yet.
        """
        for worker in self._workers:
            worker.owed_for += elapsed if worker.owes else 0.0
        mute = [worker for worker in self._workers if worker.owes and worker.owed_for > patience]
        for worker in mute:
            self._workers.discard(worker)
            worker.writer.transport.abort()
        return mute

    def is_one_away(self, patience: float, elapsed: float) -> bool:
        """Whether a worker has been away for so many seconds; then it begins to count anew. ``elapsed`` as above."""
        self._away_for = self._away_for + elapsed if len(self._workers) < self._expected else 0.0
        if self._away_for <= patience:
            return False
        self._away_for = 0.0
        return True

    def _oldest(self) -> int:
        if len(self._workers) < self._expected:
            return 0
        return min(worker.acknowledged for worker in self._workers)

    # --- the channel

    async def open(self, path: Path) -> None:
        """Listen for workers on a Unix socket."""
        path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, path)
        path.chmod(0o600)

    async def close(self) -> None:
        """Hang up. Workers go on serving by what they have."""
        if self._server is None:
            return
        self._server.close()
        for writer in self._connections:
            writer.transport.abort()
        await asyncio.gather(*filter(None, self._connections.values()), return_exceptions=True)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections[writer] = asyncio.current_task()
        worker: Worker | None = None
        try:
            worker = self._welcome(await self._receive(reader), writer)
            while True:
                self._take(worker, await self._receive(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        except (ValueError, RecursionError, msgspec.DecodeError) as error:
            log.warning("a gateway worker sent nonsense and is cut off: %s", error)
        finally:
            del self._connections[writer]
            if worker in self._workers:
                self._workers.discard(worker)
                self._on_progress()
            # Not close(): that would wait for a peer that may not read.
            writer.transport.abort()

    async def _receive(self, reader: asyncio.StreamReader) -> FromWorker:
        length = int.from_bytes(await reader.readexactly(PREFIX), "big")
        if length > MAX_FRAME:
            raise ValueError(f"a frame of {length} bytes")
        return self._decoder.decode(await reader.readexactly(length))

    def _welcome(self, hello: FromWorker, writer: asyncio.StreamWriter) -> Worker:
        if not isinstance(hello, Hello):
            raise ValueError("a worker says hello first")
        worker = Worker(hello, writer)
        # The same worker may come back before its old connection is seen to be dead.
        self._workers = {other for other in self._workers if other.hello.worker != hello.worker} | {worker}
        if self._frame is not None:
            worker.push(self._frame)
        return worker

    def _take(self, worker: Worker, message: FromWorker) -> None:
        if worker not in self._workers:
            return  # what an old connection still held
        if isinstance(message, Acknowledge):
            if message.version > self._version:
                self._outgrow(message.version)
                return
            worker.take(message, self._version)
            self._on_progress()
        elif isinstance(message, Unreachable):
            self._on_unreachable(message)
        elif isinstance(message, Refused):
            self.on_refused(message)
        elif isinstance(message, Pulse):
            worker.pulse = message
        elif isinstance(message, Counts):
            self.on_counts(message, partial(worker.settle, message.number))
        elif isinstance(message, Captures):
            self.on_captures(message)
        else:
            raise ValueError("a worker says hello once")

    def _outgrow(self, version: int) -> None:
        """A worker has a newer table, of a control that ran before the clock was put back: begin again above it."""
        self._first_version = self._version = version + 1
        self._entered = dict.fromkeys(self._entered, self._version)
        self._left = dict.fromkeys(self._left, self._version)
        self._dirty = True
        if self._frame is not None:
            self.flush()


def _frame(message: FromControl) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(PREFIX, "big") + body


def _set(entries: dict[str, Any], key: str, value: Any | None) -> None:
    if value is None:
        entries.pop(key, None)
    else:
        entries[key] = value
