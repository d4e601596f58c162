"""`polyport doctor` as a user runs it."""

import fcntl
import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.seeing import LEVELS
from polyport.cli.doctor import clock, command, engines
from polyport.cli.doctor import home as homes
from polyport.cli.doctor.command import examine
from polyport.cli.doctor.findings import Finding, Machine
from polyport.engines.process.isolation import probe
from polyport.settings import Settings


@pytest.fixture
def polyport(tmp_path: Path):
    """Runs `polyport doctor` on a home of the test's own."""

    def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
        given = {f"POLYPORT_{name.upper()}": value for name, value in settings.items() if name != "PATH"}
        environ = {**os.environ, **given, "PATH": settings.get("PATH", os.environ["PATH"])}
        command = [sys.executable, "-m", "polyport", "doctor", "--home", str(tmp_path / "home"), *arguments]
        return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)

    return run


@pytest.fixture
def broken(tmp_path: Path) -> str:
    """A PATH on which bwrap is one that does not work."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bwrap").write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    (tmp_path / "bin" / "bwrap").chmod(0o755)
    return f"{tmp_path / 'bin'}:{os.environ['PATH']}"


def by_check(done: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {row["check"]: row for row in json.loads(done.stdout)}


def test_it_says_which_isolation_is_in_force(polyport) -> None:
    """The level that containers get, found out by trying; each row has a state, and exit status 0 when there is no
    trouble."""
    done = polyport("--json")
    assert done.returncode == 0, done.stderr
    rows = by_check(done)
    assert rows["isolation"]["found"].startswith(f"{LEVELS[0]}: ")
    assert {
        "isolation",
        "/opt/ml",
        "network isolation",
        "container users",
        "home",
        "container ports",
        "compiler",
    } <= set(rows)
    assert {row["state"] for row in rows.values()} <= {"ok", "warning"}
    assert all(row["advice"] for row in rows.values() if row["state"] == "warning")


def test_without_json_each_check_is_a_line(polyport) -> None:
    """State, check, what was found: for people and for `grep`."""
    lines = [line.split("\t") for line in polyport().stdout.splitlines()]
    assert ["ok", "compiler"] in [line[:2] for line in lines]


def test_a_bubblewrap_that_does_not_work_is_told_in_its_own_words(polyport, broken: str) -> None:
    """`auto` goes on with less; a demand for it is trouble, and makes the exit status 1."""
    done = polyport("--json", PATH=broken)
    row = by_check(done)["isolation"]
    assert (done.returncode, row["state"]) == (0, "warning")
    assert "No permissions to create new namespace" in row["found"]
    assert by_check(done)["network isolation"]["state"] == "warning"
    done = polyport("--json", PATH=broken, isolation="bubblewrap")
    row = by_check(done)["isolation"]
    assert (done.returncode, row["state"]) == (1, "trouble")
    assert "No permissions to create new namespace" in row["found"]


def test_a_home_that_others_may_look_into_is_told(polyport, tmp_path: Path) -> None:
    """With the command that closes it; key files too."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "keys.key").write_text("secret")
    (home / "keys.key").chmod(0o644)
    rows = by_check(polyport("--json"))
    assert (rows["home"]["state"], rows["home"]["advice"]) == ("warning", f"chmod 700 {home}")
    assert (rows["key file"]["state"], rows["key file"]["advice"]) == ("warning", f"chmod 600 {home / 'keys.key'}")
    home.chmod(0o700)
    (home / "keys.key").chmod(0o600)
    rows = by_check(polyport("--json"))
    assert rows["home"]["state"] == rows["key file"]["state"] == "ok"


@pytest.mark.parametrize(
    ("settings", "check"),
    [({"container_paths": "/nowhere/at/all"}, "container_paths"), ({"port_range": "20001-20002"}, "container ports")],
)
def test_settings_that_cannot_be_met_are_trouble(polyport, settings: dict[str, str], check: str) -> None:
    """What the settings name has to be there."""
    done = polyport("--json", **settings)
    assert (done.returncode, by_check(done)[check]["state"]) == (1, "trouble")


def test_a_missing_bubblewrap_is_told_how_to_install() -> None:
    """The names of the packages."""
    found = probe.Found("bwrap is not installed", "bwrap is not installed", "")
    rows = {finding.check: finding for finding in examine(Machine(Settings(), found))}
    assert "apt install bubblewrap" in rows["isolation"].advice
    assert "EnableNetworkIsolation" in rows["network isolation"].found


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """With a home of its own, on which nothing was tried."""
    return Machine(Settings(home=tmp_path), probe.Found())


def test_it_looks_at_all_that_polyport_depends_on(polyport) -> None:
    """Versions, the port, containers' ports, engines, the disk with its inodes, and the clock."""
    rows = by_check(polyport("--json"))
    wanted = {"versions", "database", "port", "engine", "process", "docker", "writable", "clock"}
    assert wanted <= set(rows)
    assert any(check.startswith("disk of ") for check in rows)
    assert f"Python {sys.version.split()[0]}" in rows["versions"]["found"]


def test_a_port_that_is_taken_is_told_with_the_process_that_has_it(polyport) -> None:
    """And what to do; exit status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = polyport("--json", port=str(port))
        row = by_check(done)["port"]
        assert (done.returncode, row["state"]) == (1, "trouble")
        assert row["found"].startswith(f"127.0.0.1:{port} is taken by process {os.getpid()} (")
        assert "--port" in row["advice"]


def test_a_server_that_holds_the_home_and_does_not_answer_is_trouble(polyport, tmp_path: Path) -> None:
    """Its port is its own then, and not looked at."""
    (tmp_path / "home/run").mkdir(parents=True, mode=0o700)
    with (tmp_path / "home/run/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("the server with process id 1 at http://127.0.0.1:7070\n")
        lock.flush()
        rows = by_check(polyport("--json"))
    assert rows["server"]["state"] == "trouble"
    assert rows["server"]["found"].startswith("the server with process id 1 at http://127.0.0.1:7070 holds this home")
    assert "port" not in rows


@pytest.fixture
def deaf(tmp_path: Path) -> Iterator[Path]:
    """A socket on which everything is accepted and nothing answered."""
    path = tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        yield path


def test_a_daemon_that_hangs_holds_nothing_up(deaf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told as one that is there and gives no answer; trouble only for a server whose engine it is."""
    monkeypatch.setattr(engines, "PATIENCE", 0.3)
    for engine, state in (("docker", "trouble"), ("process", "ok")):
        loaded = Settings(home=tmp_path, engine=engine, docker_host=f"unix://{deaf}")
        rows = [row for row in engines.check_engines(Machine(loaded, probe.Found())) if row.check == "docker"]
        assert [row.state for row in rows] == [state, "warning"]
        assert "gives no answer: nothing within 0.3 s" in rows[1].found
        assert rows[1].advice


def test_a_check_that_hangs_is_a_finding_and_the_others_are_told(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Checks run side by side, and all of them together take no longer than they may."""
    release = threading.Event()

    def check_network_disk(_: Machine) -> Iterator[Finding]:
        release.wait(60)
        yield Finding("never", "ok", "told")

    def check_other(_: Machine) -> Iterator[Finding]:
        yield Finding("other", "ok", "well")

    monkeypatch.setattr(probe, "find", probe.Found)
    monkeypatch.setattr(command, "CHECKS", (check_network_disk, check_other))
    rows = list(command.look_over(machine.settings, patience=0.3))
    release.set()
    assert [(row.check, row.state) for row in rows] == [("network_disk", "trouble"), ("other", "ok")]
    assert rows[0].found == "nothing was found out within 0.3 s"


@pytest.mark.parametrize(
    ("free", "inodes", "states"),
    [(50 << 30, 90, ["ok", "ok"]), (1 << 30, 4, ["warning", "warning"]), (1 << 20, 0, ["trouble", "trouble"])],
)
def test_little_room_is_a_warning_and_none_is_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, inodes: int, states: list[str]
) -> None:
    """Of bytes and of inodes, each with what to do."""
    real = os.statvfs(tmp_path)
    fields = [4096, 4096, 1 << 40, free // 4096, free // 4096, 100, inodes, inodes, *tuple(real)[8:]]
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(fields))
    rows = list(homes.describe_disk("", tmp_path))
    assert [row.state for row in rows] == states
    assert all(bool(row.advice) == (row.state != "ok") for row in rows)


def test_a_home_that_cannot_be_written_is_trouble(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the words of the system."""

    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(homes.tempfile, "TemporaryFile", refuse)
    row = next(row for row in homes.check_disk(machine) if row.check == "writable")
    assert (row.state, row.found) == ("trouble", f"{machine.settings.home} cannot be written: Read-only file system")


def test_a_home_of_a_newer_version_is_trouble(machine: Machine) -> None:
    """Before anybody starts a server on it."""
    with sqlite3.connect(machine.settings.home / "polyport.db") as rows:
        rows.execute("create table alembic_version (version_num text)")
        rows.execute("insert into alembic_version values ('9999')")
    rows.close()
    row = next(row for row in homes.check_versions(machine) if row.check == "database")
    assert (row.state, "was written by a newer Polyport (revision 9999)" in row.found) == ("trouble", True)


def test_a_clock_that_is_behind_what_was_written_is_trouble(machine: Machine) -> None:
    """The database and the metrics are written all the time: their files are never of the future."""
    (machine.settings.home / "polyport.db").touch()
    assert next(clock.check_clock(machine)).state in {"ok", "warning"}
    os.utime(machine.settings.home / "polyport.db", (time.time() + 7200,) * 2)
    row = next(clock.check_clock(machine))
    assert row.state == "trouble"
    assert "but the home was written at" in row.found


def test_clients_whose_clock_is_wrong_are_told(machine: Machine) -> None:
    """By the calls that were refused for it, in the audit log: by how much, and to which side."""
    refused = "Signature not yet current: 20260101T001200Z is still later than 20260101T000500Z (x + 5 min.)"
    lines = [{"eventTime": "2026-01-01T00:00:00Z", "errorMessage": text} for text in ("Rate exceeded", refused)]
    path = machine.settings.home / machine.settings.audit_log
    path.parent.mkdir()
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    row = next(row for row in clock.check_clock(machine) if row.check == "clients' clocks")
    assert (row.state, row.found) == (
        "warning",
        "a call was refused lately for it; the latest client was 12 minutes ahead",
    )
