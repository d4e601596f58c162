"""What the tests of commands share."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import pytest

from cli.running import Done, Run
from polyport import cli, store


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making the tables is dear: done once, copied for each test."""
    path = tmp_path_factory.mktemp("empty") / "polyport.db"

    async def make() -> None:
        rows = store.Store(store.sqlite_url(path))
        await rows.open()
        await rows.close()

    asyncio.run(make())
    return path


@pytest.fixture
def home(tmp_path: Path, empty_database: Path) -> Path:
    (tmp_path / "home").mkdir()
    shutil.copy(empty_database, tmp_path / "home")
    return tmp_path / "home"


@pytest.fixture
def polyport(home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs `polyport ...` in this process, by the function that the command is."""
    for name in [name for name in os.environ if name.startswith("POLYPORT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("POLYPORT_HOME", str(home))
    monkeypatch.setenv("COLUMNS", "80")

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["polyport", *map(str, arguments)])
        capsys.readouterr()
        try:
            cli.main()
            status = 0
        except SystemExit as error:
            status = int(error.code or 0)
        return Done(status, *capsys.readouterr())

    return run
