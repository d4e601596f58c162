"""Opening databases: new ones, old ones, newer ones, broken ones."""

import asyncio
import os
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.config import Config

from polyport import store
from polyport.errors import DiskFull, StoreError
from polyport.store import database, migrations, schema
from store.values import OWNER, make_model


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "polyport.db"


def open_and_close(file: Path) -> None:
    async def main():
        opened = store.Store(store.sqlite_url(file))
        try:
            await opened.open()
        finally:
            await opened.close()

    asyncio.run(main())


def test_rows_survive_closing_and_opening(file):
    """Rule: state is rows; a second start sees what the first wrote."""

    async def main():
        first = store.Store(store.sqlite_url(file))
        await first.open()
        await first.add_model(make_model())
        await first.close()
        second = store.Store(store.sqlite_url(file))
        await second.open()
        found = await second.get_model(OWNER, "Two-Models")
        await second.close()
        return found

    assert asyncio.run(main()) == make_model()


def test_the_migrations_make_the_tables_that_the_queries_use(file):
    """Rule: tables, columns, types, keys and indexes of `schema` are what the revisions arrive at."""
    open_and_close(file)
    expected = sa.create_engine("sqlite://")
    schema.metadata.create_all(expected)
    migrated = sa.create_engine(f"sqlite:///{file}")

    def describe(engine):
        inspector = sa.inspect(engine)
        return {
            table: (
                [(c["name"], str(c["type"]), c["nullable"], c["primary_key"]) for c in inspector.get_columns(table)],
                sorted(inspector.get_unique_constraints(table), key=str),
                inspector.get_indexes(table),
            )
            for table in sorted(inspector.get_table_names())
            if table != "alembic_version"
        }

    try:
        assert describe(migrated) == describe(expected)
        with migrated.connect() as connection:
            assert connection.execute(sa.text("SELECT version_num FROM alembic_version")).scalar() == schema.HEAD
    finally:
        migrated.dispose()
        expected.dispose()


def test_head_is_the_newest_revision():
    """Rule: the constant that saves loading Alembic at each start names the last revision of one straight line."""
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert migrations.known_revisions(config) >= {schema.HEAD}
    assert migrations.ScriptDirectory.from_config(config).get_heads() == [schema.HEAD]


def test_two_programs_may_open_a_new_database_at_once(file):
    """Rule: one of them creates the tables, the other waits and finds them."""

    async def main():
        stores = [store.Store(store.sqlite_url(file)) for _ in range(4)]
        await asyncio.gather(*(s.open() for s in stores))
        await stores[0].add_model(make_model())
        seen = [await s.get_model(OWNER, "Two-Models") for s in stores]
        for s in stores:
            await s.close()
        return seen

    assert asyncio.run(main()) == [make_model()] * 4


def test_a_newer_database_is_refused_and_left_alone(file):
    """Rule: an older program does not touch what it does not understand."""
    open_and_close(file)
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StoreError, match=r"newer Polyport \(revision 9999\)"):
        open_and_close(file)
    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("9999",)]


def test_a_file_that_is_no_database_is_refused_with_advice(file):
    """Rule: the file is not overwritten, and the text says what to do."""
    content = b"this is not a database, whatever its name says" * 40
    file.write_bytes(content)
    with pytest.raises(StoreError, match=r"polyport\.db is not a usable database .* move the file away"):
        open_and_close(file)
    assert file.read_bytes() == content


def test_a_damaged_database_is_refused_with_advice(file):
    """Rule: a page that was overwritten is noticed at the start, not in the middle of a call."""
    open_and_close(file)
    content = bytearray(file.read_bytes())
    content[4096:8192] = b"\xa5" * 4096
    file.write_bytes(content)
    with pytest.raises(StoreError, match="move the file away"):
        open_and_close(file)


def test_an_emptied_database_with_rows_in_its_log_is_refused(file):
    """Rule: SQLite takes an empty file for a new database and throws the log away; nothing is recreated silently."""
    open_and_close(file)
    log = file.with_name("polyport.db-wal")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE t (a)")
        kept = log.read_bytes()
    assert kept
    file.write_bytes(b"")
    log.write_bytes(kept)
    for _ in range(2):
        with pytest.raises(StoreError, match=r"missing or empty.*polyport restore"):
            open_and_close(file)
        assert log.read_bytes() == kept
        file.unlink(missing_ok=True)


def test_a_torn_database_is_refused_with_the_way_back(file):
    """Rule: a file that was cut short is noticed at the start; the text names it and `polyport restore`."""
    open_and_close(file)
    content = file.read_bytes()
    for size in (100, 4096, len(content) // 2, len(content) - 512):
        file.write_bytes(content[:size])
        with pytest.raises(StoreError, match=r"polyport\.db .*polyport restore BACKUP --force"):
            open_and_close(file)
        assert file.stat().st_size == size


def test_a_write_that_finds_no_room_changes_nothing(file):
    """Rule: a full disk fails the write as a whole, and only it; with room again, all goes on."""

    async def main():
        opened = store.Store(store.sqlite_url(file))
        await opened.open()
        await opened.add_model(make_model("before"))
        async with opened._database.writing() as connection:
            pages = (await connection.execute(sa.text("PRAGMA page_count"))).scalar()
            await connection.execute(sa.text(f"PRAGMA max_page_count={pages}"))
        failed = None
        for number in range(100):
            try:
                await opened.add_model(make_model(f"m{number}"), {"key": "x" * 200})
            except DiskFull as error:
                failed = error
                break
        assert "nothing was changed" in str(failed)
        held = [f"m{n}" for n in range(number) if await opened.get_model(OWNER, f"m{n}")]
        assert held == [f"m{n}" for n in range(number)]
        assert await opened.get_model(OWNER, f"m{number}") is None
        async with opened._database.writing() as connection:
            await connection.execute(sa.text("PRAGMA max_page_count=1000000"))
        await opened.add_model(make_model("after"))
        await opened.close()

    asyncio.run(main())


def test_a_folder_that_does_not_exist_is_refused_with_advice(tmp_path):
    """Rule: no driver error reaches the user."""
    with pytest.raises(StoreError, match="cannot be opened for writing"):
        open_and_close(tmp_path / "nowhere" / "polyport.db")


def test_a_read_only_database_is_refused_with_advice(file):
    """Rule: as above."""
    open_and_close(file)
    file.chmod(0o400)
    with nobody_special(file.parent), pytest.raises(StoreError, match="permissions"):
        open_and_close(file)


@contextmanager
def nobody_special(folder):
    """Root may write anywhere; for the while, this process is a user to whom permissions apply."""
    if os.geteuid() != 0:
        yield
        return
    reachable = [(path, path.stat().st_mode) for path in (folder, *folder.parents) if str(path).startswith("/tmp/")]
    for path, mode in reachable:
        path.chmod(mode | 0o055)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
        for path, mode in reachable:
            path.chmod(mode)


def test_a_database_that_another_program_locks_is_refused_in_time(file, monkeypatch):
    """Rule: a write waits for the other's, but not for ever."""
    open_and_close(file)
    monkeypatch.setattr(database, "BUSY_TIMEOUT", 0.05)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StoreError, match="locked by another program"):
            open_and_close(file)


def test_a_cancelled_write_leaves_the_store_usable(file):
    """Rule: a client that goes away in the middle of a call takes no connection and no lock with it."""

    async def main():
        opened = store.Store(store.sqlite_url(file))
        await opened.open()
        for n in range(20):
            call = asyncio.create_task(opened.add_model(make_model(f"m{n}")))
            for _ in range(n):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await opened.add_model(make_model("last"))
        found = await opened.get_model(OWNER, "last")
        await opened.close()
        return found

    assert asyncio.run(main()) == make_model("last")


def test_closing_twice_is_fine(file):
    """Rule: clean-up code may run whatever has happened before."""

    async def main():
        opened = store.Store(store.sqlite_url(file))
        await opened.close()
        await opened.open()
        await opened.close()
        await opened.close()

    asyncio.run(main())
