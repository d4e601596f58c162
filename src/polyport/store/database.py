"""The connection to the database, and the revision it has. Everything that is SQLite's own is in this file."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry

from polyport.errors import DiskFull, StoreError
from polyport.store import schema

#: Seconds that a write waits for another process's write.
BUSY_TIMEOUT = 10.0
READERS = 4


def sqlite_url(path: Path) -> str:
    """The URL of a database in a file."""
    return sa.URL.create("sqlite+aiosqlite", database=str(path)).render_as_string(hide_password=False)


class Database:
    """Transactions for reading and for writing, on a database that `open` has brought to the newest revision.

    Raises `StoreError`, with what to do, whenever the database cannot be used.
    """

    def __init__(self, url: str) -> None:
        self._url = sa.make_url(url)
        self._readers = _engine(self._url, READERS, begin="BEGIN", query_only=True)
        # One writer: writes of this process queue here, first come first served, and not in SQLite's busy handler,
        # which polls. BEGIN IMMEDIATE takes the write lock before anything is read: what a write has read stays true.
        self._writer = _engine(self._url, 1, begin="BEGIN IMMEDIATE", query_only=False)

    async def open(self, *, upgrade: bool = True) -> None:
        """Check the file, create or migrate the tables; without ``upgrade`` they must be as they should."""
        # First by the plain driver: a connection of the asynchronous one that fails to open leaves a thread behind.
        await asyncio.to_thread(_inspect, str(self._url.database))
        try:
            async with self.writing() as connection:
                await connection.run_sync(self._upgrade if upgrade else self._expect_head)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        await self._readers.dispose()
        await self._writer.dispose()

    @asynccontextmanager
    async def reading(self) -> AsyncIterator[AsyncConnection]:
        """One consistent view of all tables."""
        async with self._translating(), self._readers.begin() as connection:
            yield connection

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[AsyncConnection]:
        """One transaction, committed at the end unless something was raised. No other write happens in between."""
        async with self._translating(), self._writer.begin() as connection:
            yield connection

    def _upgrade(self, connection: sa.Connection) -> None:
        if _revision(connection) == schema.HEAD:
            return
        # Imported when needed: a database that is up to date, the usual case, does not wait for it.
        from polyport.store import migrations  # noqa: PLC0415

        migrations.upgrade(connection, str(self._url.database))

    def _expect_head(self, connection: sa.Connection) -> None:
        revision = _revision(connection)
        if revision != schema.HEAD:
            raise StoreError(
                f"The database {self._url.database} has revision {revision}, this program works with {schema.HEAD}: "
                "a server of another version of Polyport is running on it. Use that version, or stop the server."
            )

    @asynccontextmanager
    async def _translating(self) -> AsyncIterator[None]:
        try:
            yield
        except exc.IntegrityError:
            raise  # the caller knows what it means
        except exc.DBAPIError as error:
            raise explained(str(self._url.database), error.orig) from error
        except exc.TimeoutError as error:
            raise StoreError(f"The database {self._url.database} is overloaded: {error}") from error


REPAIR = (
    "Put a backup in its place: polyport restore BACKUP --force. Or, to start with an empty database, move the file "
    "away, and the -wal and -shm files beside it too."
)


def explain(database: str, error: BaseException | None) -> str:
    """What a user can do about an error of the database driver."""
    reason = str(error)
    if "not a database" in reason or "malformed" in reason:
        return f"{database} is not a usable database ({reason}). {REPAIR}"
    if "unable to open" in reason or "readonly" in reason:
        return f"The database {database} cannot be opened for writing ({reason}). Check its folder's permissions."
    if "locked" in reason:
        return f"The database {database} is locked by another program. Stop it, and try again."
    if _is_full(reason):
        return f"The disk with the database {database} is full, or fails ({reason}): nothing was changed. Make room."
    return f"The database {database} cannot be used: {reason}"


def explained(database: str, error: BaseException | None) -> StoreError:
    """The error as the store raises it."""
    kind = DiskFull if _is_full(str(error)) else StoreError
    return kind(explain(database, error))


def one_line(damage: str) -> str:
    """What SQLite's checks found, for a message."""
    return " ".join(damage.removeprefix("*** in database main ***").split())


def _is_full(reason: str) -> bool:
    # The log's index, which is memory-mapped, has no error of its own for a full disk.
    return "disk is full" in reason or "disk I/O error" in reason


def _inspect(database: str) -> None:
    """Raises `StoreError` unless the file can be opened, or made, and is a sound database."""
    _expect_not_torn(Path(database))
    try:
        with closing(sqlite3.connect(database, timeout=BUSY_TIMEOUT)) as connection:
            damage = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if damage == "ok":
                _use_write_ahead_log(connection)
    except sqlite3.Error as error:
        raise explained(database, error) from error
    if damage != "ok":
        raise StoreError(f"The database {database} is damaged ({one_line(damage)}). {REPAIR}")


def _expect_not_torn(path: Path) -> None:
    """An empty file is a new database to SQLite, which throws away the log beside it: all rows would be gone silently.
    And it reads what is missing of a last page as zeros. Raises `StoreError`."""
    log = path.with_name(path.name + "-wal")
    size, logged = (each.stat().st_size if each.exists() else 0 for each in (path, log))
    if logged and not size:
        raise StoreError(f"The database {path} is missing or empty, but its log {log.name} is not. {REPAIR}")
    # What the log has is not in the file yet.
    if size and not logged and size < (due := _stated_size(path)):
        raise StoreError(f"The database {path} has {size} bytes of {due}: it was cut short. {REPAIR}")


def _stated_size(path: Path) -> int:
    """Bytes that a database's own head says it has; 0 for what has none, or cannot be read. By SQLite's description of
    its file format: the size of a page at 16, where 1 means 65536, and how many there are at 28, big-endian."""
    try:
        with path.open("rb") as file:
            head = file.read(32)
    except OSError:
        return 0
    if len(head) < 32 or not head.startswith(b"SQLite format 3\0"):
        return 0
    page = int.from_bytes(head[16:18], "big")
    return (65536 if page == 1 else page) * int.from_bytes(head[28:32], "big")


def _use_write_ahead_log(connection: sqlite3.Connection) -> None:
    """The mode stays with the file. SQLite does not wait for others when it changes it, so the waiting is done here."""
    until = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)
        else:
            return


def _engine(url: sa.URL, connections: int, *, begin: str, query_only: bool) -> AsyncEngine:
    # isolation_level=None: the driver begins no transactions by itself, the listener below does.
    engine = create_async_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args={"isolation_level": None, "timeout": BUSY_TIMEOUT},
    )

    @event.listens_for(engine.sync_engine, "connect")
    def prepare(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        cursor = connection.cursor()
        # FULL: a call that was answered survives a power cut.
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.execute("PRAGMA foreign_keys=ON")
        cursor.execute(f"PRAGMA query_only={'ON' if query_only else 'OFF'}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def start(connection: sa.Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _revision(connection: sa.Connection) -> str | None:
    if not sa.inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
