"""Backups of a home: made while others write, checked before they are trusted, put back whole or not at all."""

import asyncio
import gzip
import os
import re
import sqlite3
import stat
import tarfile
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from polyport import settings, store
from polyport.access.vault import open_vault
from polyport.cli import app
from polyport.errors import PolyportError, UsageError
from polyport.server import backups
from polyport.server import home as homes
from polyport.settings import Settings
from store.values import OWNER, make_model


def made(home: Path, *models: str) -> Settings:
    """A home with rows, a key and settings."""
    loaded = Settings(home=home)
    homes.prepare(loaded)
    open_vault(home)
    (home / "polyport.toml").write_text("workers = 1\n")
    (home / "alarm-actions.toml").write_text('[on-call]\nurl = "https://hooks.example.com/"\n')
    add(home, *models)
    return loaded


def add(home: Path, *models: str) -> None:
    async def main() -> None:
        async with opened(home) as rows:
            for name in models:
                await rows.add_model(make_model(name))

    asyncio.run(main())


def models(home: Path) -> list[str]:
    async def main() -> list[str]:
        async with opened(home) as rows:
            query = store.ListQuery(limit=100)
            return sorted(one.name for one in (await rows.list_models(OWNER, query)).items)

    return asyncio.run(main())


class opened:  # noqa: N801  reads as a function
    def __init__(self, home: Path) -> None:
        self.rows = store.Store(store.sqlite_url(home / "polyport.db"))

    async def __aenter__(self) -> store.Store:
        await self.rows.open()
        return self.rows

    async def __aexit__(self, *_: object) -> None:
        await self.rows.close()


@pytest.fixture
def home(tmp_path: Path) -> Settings:
    return made(tmp_path / "home", "one", "two")


def state_of(home: Path) -> dict[str, bytes]:
    """Every file of the home but the lock."""
    files = [path for path in sorted(home.rglob("*")) if path.is_file() and path.name != "lock"]
    return {str(path.relative_to(home)): path.read_bytes() for path in files}


def test_a_backup_restores_rows_key_and_settings_in_an_empty_home(home: Settings, tmp_path: Path) -> None:
    """What cannot be made again comes back; the file is its owner's alone, and nothing else is left beside it."""
    file = tmp_path / "backups" / "b.polyport"
    file.parent.mkdir()
    manifest = backups.backup(home, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert list(file.parent.iterdir()) == [file]
    assert set(manifest.files) == {"polyport.db", "secret.key", "polyport.toml", "alarm-actions.toml"}
    other = Settings(home=tmp_path / "other")
    done = backups.restore(other, file)
    assert (done.manifest, done.replaced) == (manifest, None)
    assert models(other.home) == ["one", "two"]
    for name in ("secret.key", "polyport.toml", "alarm-actions.toml"):
        assert (other.home / name).read_bytes() == (home.home / name).read_bytes()
    assert stat.S_IMODE((other.home / "secret.key").stat().st_mode) == 0o600


def test_a_backup_is_of_one_moment_while_others_write(home: Settings, tmp_path: Path) -> None:
    """Two rows that are always written in one transaction are both in it or neither."""
    database = home.home / "polyport.db"
    with closing(sqlite3.connect(database)) as rows, rows:
        rows.execute("CREATE TABLE pairs (a INTEGER, b INTEGER)")
        rows.execute("INSERT INTO pairs VALUES (0, 0)")
    stop = threading.Event()

    def write() -> None:
        with closing(sqlite3.connect(database, timeout=10)) as rows:
            while not stop.is_set():
                with rows:
                    rows.execute("UPDATE pairs SET a = a + 1")
                    rows.execute("UPDATE pairs SET b = b + 1")

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        for number in range(5):
            file = tmp_path / f"{number}.polyport"
            backups.backup(home, file)
            other = Settings(home=tmp_path / f"other{number}")
            backups.restore(other, file)
            with closing(sqlite3.connect(other.home / "polyport.db")) as rows:
                [(a, b)] = rows.execute("SELECT a, b FROM pairs")
            assert a == b
            seen.add(a)
    finally:
        stop.set()
        writer.join()
    assert len(seen) > 1, "somebody did write meanwhile"


def test_a_restore_over_a_home_that_holds_something_must_be_forced_and_keeps_what_was_there(
    home: Settings, tmp_path: Path
) -> None:
    """Refused without --force and nothing is touched; with it, the replaced files are in a folder beside."""
    file = tmp_path / "b.polyport"
    backups.backup(home, file)
    add(home.home, "three")
    before = state_of(home.home)
    with pytest.raises(UsageError, match=r"not empty: it has polyport\.db, secret\.key"):
        backups.restore(home, file)
    assert state_of(home.home) == before
    done = backups.restore(home, file, force=True)
    assert models(home.home) == ["one", "two"]
    assert done.replaced is not None
    assert (done.replaced / "secret.key").read_bytes() == before["secret.key"]
    assert models(done.replaced) == ["one", "three", "two"]


def test_a_restore_over_a_running_server_is_refused(home: Settings, tmp_path: Path) -> None:
    """The lock says that one runs; --force does not help."""
    file = tmp_path / "b.polyport"
    backups.backup(home, file)
    with homes.lock(home):
        before = state_of(home.home)
        with pytest.raises(UsageError, match="in use by"):
            backups.restore(home, file, force=True)
        assert state_of(home.home) == before


def broken_archives(file: Path) -> Iterator[tuple[str, bytes]]:
    whole = file.read_bytes()
    yield "empty", b""
    yield "some text", b"no backup at all"
    yield "cut short", whole[: len(whole) // 2]
    yield "one byte of the last kilobyte", whole[:-600] + bytes([whole[-600] ^ 1]) + whole[-599:]
    plain = gzip.decompress(whole)
    at = plain.index(b"SQLite format 3") + 5000
    yield (
        "one byte of the database, checksum of the compression right",
        gzip.compress(plain[:at] + bytes([plain[at] ^ 1]) + plain[at + 1 :]),
    )
    newer = re.sub(rb'"revision": "0', b'"revision": "9', plain, count=1)
    yield "a newer revision", gzip.compress(newer)
    yield "an unknown format", gzip.compress(plain.replace(b'"format": 1', b'"format": 7'))
    yield "a file that would leave the home", gzip.compress(plain.replace(b"secret.key", b"../secrets"))


def test_an_archive_that_is_not_sound_changes_nothing(home: Settings, tmp_path: Path) -> None:
    """Rule: verified before anything is touched, whatever is wrong with it."""
    file = tmp_path / "b.polyport"
    backups.backup(home, file)
    before = state_of(home.home)
    for what, content in broken_archives(file):
        broken = tmp_path / "broken.polyport"
        broken.write_bytes(content)
        with pytest.raises(UsageError, match=r"broken\.polyport"):
            backups.restore(home, broken, force=True)
        assert state_of(home.home) == before, what


def test_a_damaged_database_with_the_right_checksum_is_refused(home: Settings, tmp_path: Path) -> None:
    """Someone backed up by hand what was damaged already: the database is looked at too."""
    file, broken = tmp_path / "b.polyport", tmp_path / "broken.polyport"
    manifest = backups.backup(home, file)
    with tarfile.open(file) as archive:
        archive.extractall(tmp_path / "x", filter="data")
    content = bytearray((tmp_path / "x" / "polyport.db").read_bytes())
    content[4096:8192] = b"\xa5" * 4096
    (tmp_path / "x" / "polyport.db").write_bytes(content)
    sources = {name: tmp_path / "x" / name for name in manifest.files}
    files = {name: backups._entry(path) for name, path in sources.items()}
    backups._write(broken, backups.msgspec.structs.replace(manifest, files=files), sources)
    before = state_of(home.home)
    with pytest.raises(UsageError, match="cannot be used"):
        backups.restore(home, broken, force=True)
    assert state_of(home.home) == before


def test_a_restore_that_was_broken_off_keeps_the_server_from_starting(
    home: Settings, tmp_path: Path, monkeypatch
) -> None:
    """Half of a backup is no state; the message says what to do, and doing it helps."""
    file = tmp_path / "b.polyport"
    backups.backup(home, file)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(backups, "_put", die)
        with pytest.raises(KeyboardInterrupt):
            backups.restore(home, file, force=True)
    with pytest.raises(UsageError, match="broken off"):
        homes.prepare(home)
    backups.restore(home, file, force=True)
    homes.prepare(home)
    assert models(home.home) == ["one", "two"]


def test_a_backup_never_replaces_what_is_none(home: Settings, tmp_path: Path) -> None:
    """A mistyped name costs no file; an older backup is replaced."""
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    with pytest.raises(UsageError, match="no backup"):
        backups.backup(home, precious)
    assert precious.read_text() == "mine"
    file = tmp_path / "b.polyport"
    backups.backup(home, file)
    add(home.home, "three")
    backups.backup(home, file)
    backups.restore(Settings(home=tmp_path / "other"), file)
    assert models(tmp_path / "other") == ["one", "three", "two"]


def test_a_full_disk_leaves_the_older_backup(home: Settings, tmp_path: Path) -> None:
    """Written under another name first: what cannot be finished replaces nothing."""
    file = tmp_path / "b.polyport"
    backups.backup(home, file)
    before = file.read_bytes()
    with limited_files(1000), pytest.raises(PolyportError, match=r"cannot be written|no room"):
        backups.backup(home, file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name != "home"] == ["b.polyport"]


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    """No file of this process may grow beyond that: as on a full disk, writes fail."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_the_commands_say_what_they_did(home: Settings, tmp_path: Path, monkeypatch) -> None:
    """One line each, with what is not in a backup."""
    for name in [name for name in os.environ if name.startswith("POLYPORT_")]:
        monkeypatch.delenv(name)
    runner, file = CliRunner(), str(tmp_path / "b.polyport")
    done = runner.invoke(app, ["backup", file, "--home", str(home.home)])
    assert done.exit_code == 0, done.output
    assert "0 endpoints" in done.output
    assert "Not in it: images" in done.output
    done = runner.invoke(app, ["restore", file, "--home", str(home.home), "--force"])
    assert done.exit_code == 0, done.output
    assert "replaced-" in done.output
    assert settings.load({"home": home.home}, {}).workers == 1


def test_a_database_that_is_gone_is_not_made_anew_beside_instances(tmp_path: Path) -> None:
    """An empty database would mean that nobody wants the instances: all would be ended."""
    loaded = made(tmp_path / "home", "one")
    (loaded.home / "run" / "instances" / "i-0123456789abcdef0").mkdir(parents=True)
    homes.prepare(loaded)
    for path in loaded.home.glob("polyport.db*"):
        path.unlink()
    for _ in range(2):
        with pytest.raises(UsageError, match=r"missing or empty, but 1 instances .* polyport restore"):
            homes.prepare(loaded)
        (loaded.home / "polyport.db").touch()
