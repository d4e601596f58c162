"""`Metrics`: the file of series for those who must not block, and what was counted since the server began."""

import asyncio
import functools
import logging
import sqlite3
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar

from polyport.domain.counts import Counts, Tally
from polyport.domain.distributions import Distribution
from polyport.domain.names import Owner
from polyport.telemetry.metrics import counted
from polyport.telemetry.metrics.series import Found, SeriesFile, Value

log = logging.getLogger(__name__)

FILE_NAME = "metrics.db"
P = ParamSpec("P")
T = TypeVar("T")

Totals = dict[tuple[str, ...], Tally]
"""By account, region, endpoint, variant and container (empty: the whole pipeline)."""


Busy = dict[tuple[str, str, str, str], int]
"""Calls in flight by account, region, endpoint and variant."""

#: Seconds after which what a worker said of calls in flight is worth nothing: while there are any, it repeats it.
BUSY_FOR = 5.0


class Metrics:
    """All that was measured. Methods may raise `sqlite3.Error`."""

    def __init__(self, path: Path | str) -> None:
        self._file = SeriesFile(path)
        #: One thread: the file is for one at a time.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        #: Of all calls that were told since this process began, for Prometheus.
        self.totals: Totals = {}
        self._busy: dict[str, tuple[float, Busy]] = {}
        #: Messages of counts that could not be kept.
        self.dropped = 0

    async def open(self) -> None:
        """Find the file, or make it."""
        await self._do(self._file.open)

    async def close(self) -> None:
        """Let go of the file."""
        await self._do(self._file.close)
        self._thread.shutdown(wait=False)

    async def take(self, counts: Counts, config_of: Callable[[str], str], now: float) -> None:
        """Keep what a worker counted; what was kept before is passed over. ``config_of``: the endpoint configuration
        of an instance, empty when nothing is known of it."""
        self._busy[counts.run] = now, {(b.account, b.region, b.endpoint, b.variant): b.calls for b in counts.busy}
        values = counted.values(counts, config_of)
        if await self._do(self._file.add, values, counts.run, counts.number, now):
            counted.add_up(self.totals, counts)

    def busy_at(self, now: float) -> list[Busy]:
        """Calls in flight in each worker. Those that say nothing any more are gone."""
        self._busy = {run: told for run, told in self._busy.items() if now - told[0] < BUSY_FOR}
        return [busy for _, busy in self._busy.values()]

    def in_flight(self, now: float) -> Busy:
        """Of all workers together."""
        together: Busy = {}
        for calls in self.busy_at(now):
            for key, count in calls.items():
                together[key] = together.get(key, 0) + count
        return together

    async def add(self, values: Iterable[Value]) -> None:
        """Keep values."""
        await self._do(self._file.add, tuple(values))

    async def find(self, owner: Owner, namespace: str = "", name: str = "") -> tuple[Found, ...]:
        """See `SeriesFile.find`."""
        return await self._do(self._file.find, owner, namespace, name)

    async def read(self, series: int, period: int, start: float, end: float) -> tuple[tuple[int, Distribution], ...]:
        """See `SeriesFile.read`."""
        return await self._do(self._file.read, series, period, start, end)

    async def prune(self, now: float) -> None:
        """Drop what is older than it is kept."""
        await self._do(self._file.prune, now)

    def take_soon(self, counts: Counts, config_of: Callable[[str], str], now: float, done: Callable[[], None]) -> None:
        """`take`, without waiting for it; ``done`` is called when it is kept. What cannot be kept comes again."""
        task = asyncio.ensure_future(self.take(counts, config_of, now))
        task.add_done_callback(functools.partial(self._finish, done))

    def _finish(self, done: Callable[[], None], task: asyncio.Task[None]) -> None:
        if task.cancelled():
            return
        error = task.exception()
        if isinstance(error, sqlite3.Error):
            log.warning("metrics cannot be kept: %s", error)
        elif error is not None:
            log.error("counts could not be taken", exc_info=error)
        self.dropped += error is not None
        # What cannot be kept here cannot be kept for ever where it is, either.
        done()

    async def _do(self, function: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        work = functools.partial(function, *arguments, **named)
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)
