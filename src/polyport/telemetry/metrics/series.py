"""What was measured, on disk: a file of SQLite of its own beside the database, so that neither waits for the other.

Every series has a row for each period in which it had values: of ten seconds, kept for three hours, and of a minute,
kept for fifteen days. It is not part of a backup; a home without it begins with none.
"""

import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from polyport.domain.distributions import Distribution
from polyport.domain.names import Owner

#: Seconds of a period, and for how many seconds such periods are kept.
KEPT = {10: 3 * 3600, 60: 15 * 24 * 3600}
FINE, COARSE = KEPT
#: Periods that are held in memory between two writes to them.
_MOST_HELD = 50_000
_SCHEMA = """
create table if not exists series (
    id integer primary key, account text not null, region text not null, namespace text not null, name text not null,
    dimensions text not null, unit text not null, last integer not null,
    unique (account, region, namespace, name, dimensions, unit)
);
create table if not exists points (
    series integer not null, period integer not null, start integer not null,
    count real not null, total real not null, low real not null, high real not null, buckets blob not null,
    primary key (series, period, start)
) without rowid;
create table if not exists heard (run text primary key, number integer not null, at integer not null);
"""

Dimensions = tuple[tuple[str, str], ...]
"""Names and values, sorted by name."""


class Key(msgspec.Struct, frozen=True):
    """Which series. ``unit`` as CloudWatch spells it."""

    owner: Owner
    namespace: str
    name: str
    dimensions: Dimensions
    unit: str


class Value(msgspec.Struct, frozen=True):
    """Values of a series at one moment (epoch seconds)."""

    key: Key
    at: float
    values: Distribution


class Found(msgspec.Struct, frozen=True):
    """A series that there is. ``last``: the start of its latest minute, in epoch seconds."""

    id: int
    key: Key
    last: int


class SeriesFile:
    """One file. Blocking, and for one thread at a time."""

    def __init__(self, path: Path | str) -> None:
        self._path = path
        self._ids: dict[Key, int] = {}
        self._held: dict[tuple[int, int, int], Distribution] = {}
        self._connection: sqlite3.Connection | None = None

    def open(self) -> None:
        """Make it if it is not there. Raises `sqlite3.Error`."""
        connection = sqlite3.connect(self._path, check_same_thread=False, isolation_level=None)
        connection.execute("pragma journal_mode = wal")
        # After a power cut the last seconds may be missing; nothing else is lost.
        connection.execute("pragma synchronous = normal")
        connection.executescript(_SCHEMA)
        self._connection = connection

    def open_to_read(self) -> None:
        """As it is, while another process writes it. Raises `sqlite3.Error`, also when there is none."""
        uri = f"{Path(self._path).absolute().as_uri()}?mode=ro"
        self._connection = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=1.0)

    def close(self) -> None:
        """Let go of it."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def add(self, values: Iterable[Value], run: str = "", number: int = 0, now: float = 0.0) -> bool:
        """Add to what there is, all or nothing. ``run`` and ``number`` name a message that may come twice: False, and
        nothing is added, when it was added before. Raises `sqlite3.Error`."""
        connection = self._opened()
        connection.execute("begin immediate")
        try:
            if run and self._has_heard(connection, run, number, now):
                connection.execute("rollback")
                return False
            self._add(connection, values)
            connection.execute("commit")
        except BaseException:
            connection.execute("rollback")
            # What is held may have what is not in the file.
            self._held.clear()
            self._ids.clear()
            raise
        if len(self._held) > _MOST_HELD:
            self._held.clear()
        return True

    def _has_heard(self, connection: sqlite3.Connection, run: str, number: int, now: float) -> bool:
        row = connection.execute("select number from heard where run = ?", (run,)).fetchone()
        if row is not None and row[0] >= number:
            return True
        connection.execute("insert or replace into heard values (?, ?, ?)", (run, number, int(now)))
        return False

    def _add(self, connection: sqlite3.Connection, values: Iterable[Value]) -> None:
        touched: set[tuple[int, int, int]] = set()
        lasts: dict[int, int] = {}
        for value in values:
            series = self._id(connection, value.key)
            for period in KEPT:
                place = (series, period, int(value.at) // period * period)
                self._hold(connection, place).merge(value.values)
                touched.add(place)
            minute = int(value.at) // COARSE * COARSE
            lasts[series] = max(lasts.get(series, 0), minute)
        rows = [(*place, *_row(self._held[place])) for place in touched]
        connection.executemany("insert or replace into points values (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        connection.executemany("update series set last = max(last, ?) where id = ?", [(t, s) for s, t in lasts.items()])

    def _id(self, connection: sqlite3.Connection, key: Key) -> int:
        found = self._ids.get(key)
        if found is None:
            columns = (*_columns(key.owner), key.namespace, key.name, _text(key.dimensions), key.unit)
            connection.execute("insert or ignore into series values (null, ?, ?, ?, ?, ?, ?, 0)", columns)
            found = self._ids[key] = connection.execute(
                "select id from series where account = ? and region = ? and namespace = ? and name = ? "
                "and dimensions = ? and unit = ?",
                columns,
            ).fetchone()[0]
        return found

    def _hold(self, connection: sqlite3.Connection, place: tuple[int, int, int]) -> Distribution:
        held = self._held.get(place)
        if held is None:
            row = connection.execute(
                "select count, total, low, high, buckets from points where series = ? and period = ? and start = ?",
                place,
            ).fetchone()
            held = self._held[place] = _distribution(row) if row else Distribution()
        return held

    def find(self, owner: Owner, namespace: str = "", name: str = "") -> tuple[Found, ...]:
        """The series of an owner, in the order of namespace, name and dimensions."""
        where, columns = "account = ? and region = ?", [*_columns(owner)]
        for column, wanted in (("namespace", namespace), ("name", name)):
            if wanted:
                where += f" and {column} = ?"
                columns.append(wanted)
        rows = self._opened().execute(
            "select id, namespace, name, dimensions, unit, last from series "  # noqa: S608  columns are ours
            f"where {where} order by namespace, name, dimensions, unit",
            columns,
        )
        return tuple(
            Found(id_, Key(owner, space, metric, _dimensions(text), unit), last)
            for id_, space, metric, text, unit, last in rows
        )

    def read(self, series: int, period: int, start: float, end: float) -> tuple[tuple[int, Distribution], ...]:
        """The periods (`FINE` or `COARSE` seconds) of a series that begin from ``start`` on and before ``end``."""
        rows = self._opened().execute(
            "select start, count, total, low, high, buckets from points "
            "where series = ? and period = ? and start >= ? and start < ? order by start",
            (series, period, start, end),
        )
        return tuple((row[0], _distribution(row[1:])) for row in rows)

    def read_latest(self, names: Sequence[str], start: float) -> tuple[tuple[Key, int, Distribution], ...]:
        """Of all owners' series of these names, the fine periods that begin from ``start`` on: one look for all."""
        rows = self._opened().execute(
            "select account, region, namespace, name, dimensions, unit, start, count, total, low, high, buckets "  # noqa: S608
            "from series join points on series = id "
            f"where name in ({', '.join('?' * len(names))}) and last >= ? and period = ? and start >= ?",
            (*names, start - COARSE, FINE, start),
        )
        return tuple(
            (Key(Owner(account, region), space, name, _dimensions(text), unit), at, _distribution(row))
            for account, region, space, name, text, unit, at, *row in rows
        )

    def prune(self, now: float) -> None:
        """Drop what is older than it is kept."""
        connection = self._opened()
        for period, seconds in KEPT.items():
            connection.execute("delete from points where period = ? and start < ?", (period, now - seconds))
        connection.execute("delete from series where last < ?", (now - KEPT[COARSE],))
        connection.execute("delete from heard where at < ?", (now - KEPT[FINE],))
        self._held.clear()
        self._ids.clear()

    def _opened(self) -> sqlite3.Connection:
        if self._connection is None:
            raise sqlite3.ProgrammingError("the file of metrics is not open")
        return self._connection


def _columns(owner: Owner) -> tuple[str, str]:
    return owner.account, owner.region


def _text(dimensions: Dimensions) -> str:
    return msgspec.json.encode(dimensions).decode()


def _dimensions(text: str) -> Dimensions:
    return msgspec.json.decode(text, type=Dimensions)


def _row(values: Distribution) -> tuple[float, float, float, float, bytes]:
    return values.count, values.total, values.low, values.high, msgspec.msgpack.encode(_whole(values.buckets))


def _whole(buckets: dict[int, float]) -> dict[int, float]:
    """Whole numbers take a byte, others nine."""
    return {bucket: int(count) if count == int(count) else count for bucket, count in buckets.items()}


def _distribution(row: Sequence[Any]) -> Distribution:
    count, total, low, high, buckets = row
    return Distribution(
        float(count), float(total), float(low), float(high), msgspec.msgpack.decode(buckets, type=dict[int, float])
    )
