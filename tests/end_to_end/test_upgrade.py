"""A newer server takes over from an older one: real processes, under load, with a real migration between them."""

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

import polyport
from support.calls import SteadyCaller
from support.server import READY, Server, call, create_config, create_endpoint, wait_for, wait_for_status

MIGRATION = '''"""One more table."""

import sqlalchemy as sa
from alembic import op

revision = "9001"
down_revision = "{head}"


def upgrade() -> None:
    op.create_table("novelty", sa.Column("a", sa.Integer, primary_key=True))
'''


def newer(folder: Path) -> Path:
    """A copy of the program, of a later version and with one migration more."""
    package = folder / "polyport"
    shutil.copytree(Path(polyport.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    edit(package / "__init__.py", r'__version__ = ".*"', '__version__ = "9.0.0"')
    schema = package / "store" / "schema.py"
    head = re.search(r'^HEAD = "(.*)"$', schema.read_text(), re.MULTILINE)[1]  # type: ignore[index]
    edit(schema, r'^HEAD = ".*"$', 'HEAD = "9001"')
    (package / "store" / "migrations" / "versions" / "r9001_novelty.py").write_text(MIGRATION.format(head=head))
    return folder


def edit(path: Path, before: str, after: str) -> None:
    text, count = re.subn(before, after, path.read_text(), flags=re.MULTILINE)
    assert count == 1, path
    path.write_text(text)


class Successor(Server):
    """`polyport serve --replace`, perhaps of another version, on another server's home."""

    def __init__(self, before: Server, program: Path | None = None, *arguments: str, **settings: str) -> None:
        super().__init__(before.home, **{**before.settings, **settings})
        self.url = before.url
        self.before = before
        self._program = program
        self._arguments = arguments

    def begin(self) -> subprocess.Popen[bytes]:
        """Start it; does not wait."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("POLYPORT_", "AWS_"))}
        environ |= {f"POLYPORT_{name.upper()}": str(value) for name, value in self.settings.items()}
        if self._program:
            environ["PYTHONPATH"] = str(self._program)
        command = [sys.executable, "-m", "polyport", "serve", "--home", str(self.home), "--replace", "--workers", "2"]
        port = self.url.rpartition(":")[2]
        with (self.home / "stderr.log").open("a") as log, (self.home / "stdout.log").open("w") as out:
            self.process = subprocess.Popen(
                [*command, "--port", port, *self._arguments], env=environ, stdout=out, stderr=log
            )
        return self.process

    def take_over(self) -> "Successor":
        """Start it, and wait until it serves and the other has ended."""
        process, older = self.begin(), self.before.process
        assert older
        wait_for(lambda: READY.search(self.output()) or process.poll() is not None, "the newer server", 60)
        assert process.poll() is None, self.log()
        assert older.wait(60) == 0
        self.before.process = None
        return self


@pytest.fixture
def succeed(server: Server) -> Iterator[Callable[..., Successor]]:
    """Makes servers that take over from one another, the first from ``server``; all end with the test."""
    made: list[Server] = [server]

    def make(*arguments: object, **settings: str) -> Successor:
        made.append(Successor(made[-1], *arguments, **settings))  # type: ignore[arg-type]
        return made[-1]  # type: ignore[return-value]

    yield make
    alive = [one.process for one in made if one.process is not None and one.process.poll() is None]
    # Whoever serves now is the one that `server` ends.
    server.process = alive[-1] if alive else None


def pids_of_instances(home: Path) -> set[int]:
    """The supervisors of the home."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if b"process.supervisor" in line and str(home / "run").encode() in line:
                found.add(int(entry.name))
    return found


@pytest.mark.slow
def test_a_newer_version_takes_over_without_a_failed_call(
    server: Server, succeed: Callable[..., Successor], tmp_path: Path
) -> None:
    """Under load, with a migration between the versions: no call fails, the instances are the same, the database is of
    the newer revision, and a copy of the older one is kept."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "live", {"Image": "first:1"}, {"Image": "second:1"}, InitialInstanceCount=2)
    create_config(server, "next", {"Image": "second:1"}, {"Image": "first:1"})
    wait_for_status(sagemaker, "live", "InService")
    instances = pids_of_instances(server.home)
    assert len(instances) == 2
    program = newer(tmp_path / "newer")
    with (
        SteadyCaller(lambda: call(runtime, "live"), threads=3) as steady,
        # Each call by a new connection: those wait in the sockets' queues.
        SteadyCaller(lambda: call(server.client("sagemaker-runtime"), "live"), threads=1) as fresh,
    ):
        wait_for(lambda: len(steady.answers) > 20 and fresh.answers, "load")
        successor = succeed(program).take_over()
        answered = len(steady.answers)
        wait_for(lambda: len(steady.answers) > answered + 20, "more calls")
        assert pids_of_instances(server.home) == instances
        with closing(sqlite3.connect(server.home / "polyport.db")) as rows:
            assert rows.execute("SELECT version_num FROM alembic_version").fetchall() == [("9001",)]
        assert (server.home / "polyport.db.before-9001").exists()
        # Control works, too; and the next takes over from the one that took over.
        sagemaker.update_endpoint(EndpointName="live", EndpointConfigName="next")
        succeed(program, workers="2").take_over()
        wait_for_status(sagemaker, "live", "InService", deadline=60)
        wait_for(lambda: call(runtime, "live").startswith(b"x|second"), "the update")
    assert steady.failures == []
    assert fresh.failures == []
    assert successor.process is None


@pytest.mark.slow
def test_when_the_newer_version_does_not_come_up_the_older_goes_on(
    server: Server, succeed: Callable[..., Successor], tmp_path: Path
) -> None:
    """Its control fails after the migration: the database is put back, the older one goes on, no call fails."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "live", {"Image": "first:1"}, mode="Single")
    wait_for_status(sagemaker, "live", "InService")
    program = newer(tmp_path / "newer")
    edit(
        program / "polyport" / "server" / "control.py",
        r"^        unsubscribe = self\.store\.subscribe",
        '        raise UsageError("this version is broken")\n        unsubscribe = self.store.subscribe',
    )
    with SteadyCaller(lambda: call(runtime, "live"), threads=2) as caller:
        process = succeed(program).begin()
        assert process.wait(60) == 2
        wait_for(lambda: answers(sagemaker), "the older control to be back", 30)
        assert server.process is not None
        assert server.process.poll() is None
    assert caller.failures == []
    assert "this version is broken" in server.log()
    with closing(sqlite3.connect(server.home / "polyport.db")) as rows:
        assert rows.execute("SELECT version_num FROM alembic_version").fetchall() != [("9001",)]
    create_config(server, "more", {"Image": "second:1"}, mode="Single")
    sagemaker.update_endpoint(EndpointName="live", EndpointConfigName="more")
    wait_for_status(sagemaker, "live", "InService")


def answers(sagemaker: object) -> bool:
    try:
        sagemaker.list_endpoints()  # type: ignore[attr-defined]
    except Exception:  # noqa: BLE001  whatever it is, not yet
        return False
    return True


@pytest.mark.slow
def test_a_newer_server_that_is_killed_while_it_takes_over_changes_nothing(
    server: Server, succeed: Callable[..., Successor]
) -> None:
    """SIGKILL at several moments: the older server goes on, and the next one can take over all the same."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "live", {"Image": "first:1"}, mode="Single")
    wait_for_status(sagemaker, "live", "InService")
    with SteadyCaller(lambda: call(runtime, "live"), threads=2) as caller:
        for pause in (0.3, 0.9, 1.5):
            successor = Successor(server)
            process = successor.begin()
            # The moment is what the test is about; any is right.
            time.sleep(pause)
            assert not READY.search(successor.output()), "too late for what the test is about"
            process.kill()
            process.wait()
            wait_for(lambda: answers(sagemaker), "the older control", 30)
            assert server.process
            assert server.process.poll() is None
            wait_for(lambda pid=process.pid: not orphans_of(server, pid), "what it had started to end", 30)
        succeed().take_over()
    assert caller.failures == []


def orphans_of(server: Server, launcher: int) -> list[int]:
    """Controls of this home that neither server has any more."""
    kept = {server.process.pid, launcher} if server.process else {launcher}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (folder / "cmdline").read_bytes().split(b"\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            is_ours = any(f'"{server.home}"'.encode() in word for word in words)
            if b"polyport.server.control" in words and is_ours and parent not in kept:
                found.append(int(folder.name))
    return found


def test_there_is_somebody_to_replace_or_not(server: Server, tmp_path: Path) -> None:
    """Another engine is refused, and the running server does not notice; without a server it is an ordinary start."""
    before = server.process
    process = Successor(server, None, "--engine", "fake").begin()
    assert process.wait(30) == 2
    assert "its engine is process, not fake" in server.log()
    assert server.process is before
    assert answers(server.client("sagemaker"))
    alone = tmp_path / "alone"
    alone.mkdir()
    first = Server(alone)
    first.url = "http://127.0.0.1:0"
    only = Successor(first, None, "--engine", "fake")
    only.begin()
    wait_for(lambda: READY.search(only.output()), "the server")
    assert only.stop() == 0
