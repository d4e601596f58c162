"""Looks at a home on which a server runs: its rows, what it has counted and measured, and what happened."""

import sqlite3
from pathlib import Path

import msgspec

from polyport.cli.cases import Case
from polyport.cli.top import picture
from polyport.cli.top.loads import MINUTE, NAMES, Counted
from polyport.cli.top.picture import Picture, Sources
from polyport.control import chronicle
from polyport.domain.distributions import Distribution
from polyport.domain.endpoints import Endpoint, InstanceRow
from polyport.domain.events import Event
from polyport.errors import UsageError
from polyport.server import home as homes
from polyport.server import used
from polyport.settings import Settings
from polyport.store import Store, sqlite_url
from polyport.telemetry.metrics.keeping import FILE_NAME
from polyport.telemetry.metrics.series import Key, SeriesFile

#: Seconds after which what a container used is no longer shown.
STALE = 30.0


class Narrow(msgspec.Struct, frozen=True):
    """Which endpoints are looked at; what is ``None`` narrows nothing."""

    name: str | None = None
    account: str | None = None
    region: str | None = None

    def takes(self, endpoint: Endpoint) -> bool:
        """Whether this is one of them."""
        owner = endpoint.owner
        pairs = ((self.name, endpoint.name), (self.account, owner.account), (self.region, owner.region))
        return all(wanted in (None, found) for wanted, found in pairs)


class Home:
    """Open from `open` to `close`."""

    def __init__(self, settings: Settings, narrow: Narrow, order: str = "load") -> None:
        self._folder = settings.home
        self._narrow = narrow
        self._order = order
        self._store = Store(sqlite_url(settings.home / "polyport.db"))
        self._series: SeriesFile | None = None
        #: Files of events by path: their size and time when they were read, and what was in them.
        self._read: dict[Path, tuple[tuple[int, int], tuple[Event, ...]]] = {}

    async def open(self) -> None:
        """Raises `UsageError` when no server runs on the home."""
        if not homes.is_locked(self._folder):
            raise UsageError(
                f"No server runs on the home {self._folder}: start one with polyport serve, or name its home with "
                "--home. What happened to an endpoint is told without a server too: polyport doctor ENDPOINT."
            )
        await self._store.open(upgrade=False)

    async def close(self) -> None:
        """Let go of it."""
        await self._store.close()
        if self._series is not None:
            self._series.close()

    async def look(self, now: float) -> Picture:
        """As it is at this moment. Raises `UsageError` when what it is narrowed to is not there."""
        rows = [row for row in await self._store.all_endpoints() if self._narrow.takes(row)]
        if not rows and self._narrow.name:
            raise UsageError(f"There is no endpoint {self._narrow.name}. See polyport endpoints list.")
        sources = Sources(Counted(self._counts(now), now), used.read(self._folder, now - STALE), self._case)
        endpoints = picture.arrange((picture.describe(row, sources) for row in rows), self._order)
        return Picture(now, self._server(), endpoints)

    def _server(self) -> str:
        return homes.read_holder(self._folder) if homes.is_locked(self._folder) else ""

    def _counts(self, now: float) -> tuple[tuple[Key, int, Distribution], ...]:
        """Nothing while there is no file yet, or while it is not to be had."""
        try:
            if self._series is None:
                series = SeriesFile(self._folder / FILE_NAME)
                series.open_to_read()
                self._series = series
            return self._series.read_latest(NAMES, now - MINUTE)
        except sqlite3.Error:
            if self._series is not None:
                self._series.close()
                self._series = None
            return ()

    def _case(self, endpoint: Endpoint, row: InstanceRow) -> Case:
        path = chronicle.path_of(self._folder, endpoint, row.variant, row.id)
        return Case(row.id, row.variant, True, self._events(path), {})

    def _events(self, path: Path) -> tuple[Event, ...]:
        try:
            found = path.stat()
        except OSError:
            return ()
        state = found.st_size, found.st_mtime_ns
        known = self._read.get(path)
        if known is None or known[0] != state:
            known = self._read[path] = state, tuple(chronicle.read(path))
        return known[1]
