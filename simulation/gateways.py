"""Gateway workers: the real channel to control, and a table with calls that take their time."""

import asyncio
import random
from collections.abc import Callable

from msgspec.structs import replace

from polyport.control import routes
from polyport.domain.routes import FromWorker, Hello, RouteTable
from polyport.gateway.channel import Channel
from simulation.loop import Loop

#: Where control listens.
CHANNEL = "control"
#: Seconds that calls have to end once an instance has left the tables.
DRAIN = 20.0


class _Channel(Channel):
    """All workers of a world are in one process; each has a process id all the same."""

    pid = 0

    def _send(self, message: FromWorker) -> None:
        super()._send(replace(message, pid=self.pid) if isinstance(message, Hello) else message)


class Gateway:
    """One worker. ``on_table`` is called with each table that it is sent, before it is taken."""

    def __init__(self, loop: Loop, name: str, seed: int, on_table: Callable[["Gateway", RouteTable], None]) -> None:
        self.name = name
        self.table: RouteTable | None = None
        #: The instances that new calls may go to.
        self.live: frozenset[str] = frozenset()
        #: By instance that has left the table: when its last call ends, and when it left.
        self.calls: dict[str, tuple[float, float]] = {}
        #: Until then, messages take seconds.
        self.stalls_until = 0.0
        #: How often there was such a process, and since when there is this one.
        self.starts = 0
        self.started_at = 0.0
        #: Of its acknowledgements, the part that is sent twice.
        self.doubled = 0.0
        self._loop = loop
        self._chance = random.Random(f"{seed} gateway {name}")
        self._on_table = on_table
        self._task: asyncio.Task[None] | None = None
        loop.network.delays[name] = self._delay

    @property
    def is_alive(self) -> bool:
        """Whether there is such a process."""
        return self._task is not None

    @property
    def pid(self) -> int:
        """No other process has it."""
        return 1000 * (1 + int(self.name.rpartition("-")[2])) + self.starts

    def uses(self, instance: str) -> bool:
        """Whether calls go to the instance, or may."""
        _, left = self.calls.get(instance, (0.0, -DRAIN))
        # A call that takes too long is ended with the instance. Control counts from when it took the instance out of
        # the table, and a worker that hangs may learn of that later, but not much: it is ended then.
        return instance in self.live or self._loop.time() - left < DRAIN - 15

    def start(self) -> None:
        """As a new process, which has no table."""
        if self._task is None:
            path = f"{CHANNEL}/{self.name}"
            self._channel = _Channel(path, self.name, self._take, lambda: tuple(self.calls))
            self.starts += 1
            self.started_at = self._loop.time()
            self._channel.pid = self.pid
            self._task = self._loop.create_task(self._channel.run())

    def die(self) -> None:
        """With all of its calls."""
        if self._task is not None:
            self._task.cancel()
        if self.hangs_for > 0:
            # What it has not sent is lost.
            self._loop.network.kill(self.name)
            self.hang(0.0)
        self._task, self.table, self.live = None, None, frozenset()
        self.calls.clear()

    @property
    def hangs_for(self) -> float:
        """For how many seconds nothing that it sends goes out, and nothing that it is sent gets in."""
        return self._loop.network.frozen.get(self.name, 0.0) - self._loop.time()

    def hang(self, seconds: float) -> None:
        """From now on."""
        self._loop.network.frozen[self.name] = self._loop.time() + seconds

    def _delay(self) -> float:
        if self.hangs_for > 0:
            return self.hangs_for
        slow = 2.0 if self._loop.time() < self.stalls_until else 0.02
        return slow * self._chance.random() ** 2

    def _take(self, table: RouteTable) -> int:
        self._on_table(self, table)
        if self.table is not None and table.version < self.table.version:
            return self.table.version
        before = self.live
        self.table = table
        self.live = frozenset().union(*(routes.live_ids(entry) for entry in table.endpoints))
        for instance in sorted(before - self.live):
            if self._chance.random() < 0.4:
                length = 3 * self._chance.random() ** 2 + (60 if self._chance.random() < 0.05 else 0)
                ends = self._loop.time() + length
                self.calls[instance] = ends, self._loop.time()
                self._loop.call_at(ends, self._end_call, instance, ends)
        for instance in self.live:
            self.calls.pop(instance, None)
        if self._chance.random() < self.doubled:
            self._loop.call_later(self._chance.random() * 0.2, self._channel.acknowledge)
        return table.version

    def _end_call(self, instance: str, ends: float) -> None:
        # The instance may have come back meanwhile, and left again with a later call.
        if self.calls.get(instance, (0.0, 0.0))[0] == ends:
            del self.calls[instance]
            self._channel.acknowledge()
