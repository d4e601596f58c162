"""Copies of a database file: made while others write to it, and looked at before they are trusted.

Plain SQLite, without `Store`: a copy may be of an older revision than this program's, and is never migrated here.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec

from polyport.errors import DiskFull, StoreError
from polyport.store import database, schema


class Copy(msgspec.Struct, frozen=True):
    """What was found in a sound database file."""

    #: Of its tables; ``None``: it has none yet.
    revision: str | None
    endpoints: int


def copy(source: Path, target: Path) -> Copy:
    """Write the rows of ``source``, as they are at one moment, into the new file ``target``; a server may be running.

    The copy is one file, without a log beside it. Raises `StoreError`.
    """
    if not source.is_file():
        raise StoreError(f"There is no database {source}.")
    try:
        with (
            closing(sqlite3.connect(source, timeout=database.BUSY_TIMEOUT)) as rows,
            closing(sqlite3.connect(target)) as made,
        ):
            # In one step: readers of a write-ahead log hold nobody up, and a copy by parts begins anew at each write.
            rows.backup(made)
            made.execute("PRAGMA journal_mode=DELETE")
    except sqlite3.Error as error:
        problem = database.explained(str(source), error)
        if isinstance(problem, DiskFull):
            problem = DiskFull(f"There is no room for a copy of the database in {target.parent}.")
        raise problem from error
    return check(target)


def check(path: Path) -> Copy:
    """Look at every page and index of a file that nobody else uses. Raises `StoreError` when it is damaged, or not a
    database of ours."""
    try:
        with closing(sqlite3.connect(path)) as rows:
            damage = rows.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if damage != "ok":
                raise StoreError(f"The database {path} is damaged ({database.one_line(damage)}).")
            tables = {name for (name,) in rows.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if "alembic_version" not in tables:
                return Copy(None, 0)
            revision = rows.execute("SELECT version_num FROM alembic_version").fetchone()
            count = rows.execute("SELECT count(*) FROM endpoints").fetchone()[0] if "endpoints" in tables else 0
            return Copy(revision[0] if revision else None, count)
    except sqlite3.Error as error:
        raise StoreError(f"The database {path} cannot be read: {error}") from error


def revision(path: Path) -> str | None:
    """Of the tables in a file that a server may be using; ``None``: there are none, or no file. Raises `StoreError`."""
    if not path.is_file() or not path.stat().st_size:
        return None
    try:
        with closing(sqlite3.connect(path, timeout=database.BUSY_TIMEOUT)) as rows:
            found = rows.execute("SELECT version_num FROM alembic_version").fetchone()
            return found[0] if found else None
    except sqlite3.Error as error:
        if "no such table" in str(error):
            return None
        raise StoreError(database.explain(str(path), error)) from error


def is_newer(found: str) -> bool:
    """Whether a revision is none that this program can start from: a newer Polyport wrote it."""
    if found == schema.HEAD:
        return False
    from polyport.store import migrations  # noqa: PLC0415  a moment of imports that is seldom needed

    return found not in migrations.known_revisions()
