"""`polyport doctor` as a user runs it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from engines.seeing import LEVELS
from polyport.cli.doctor import Machine, examine
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
    """The level that containers get, found out by trying; each row has a state, and exit status 0 when nothing that the
    settings demand is missing."""
    done = polyport("--json")
    assert done.returncode == 0, done.stderr
    rows = by_check(done)
    assert rows["isolation"]["found"].startswith(f"{LEVELS[0]}: ")
    assert {"isolation", "/opt/ml", "network isolation", "container users", "home", "ports", "compiler"} <= set(rows)
    assert {row["state"] for row in rows.values()} <= {"ok", "weaker"}
    assert all(row["advice"] for row in rows.values() if row["state"] == "weaker")


def test_without_json_each_check_is_a_line(polyport) -> None:
    """State, check, what was found: for people and for `grep`."""
    lines = [line.split("\t") for line in polyport().stdout.splitlines()]
    assert ["ok", "compiler"] in [line[:2] for line in lines]


def test_a_bubblewrap_that_does_not_work_is_told_in_its_own_words(polyport, broken: str) -> None:
    """`auto` goes on with less; a demand for it is missing, and makes the exit status 1."""
    done = polyport("--json", PATH=broken)
    row = by_check(done)["isolation"]
    assert (done.returncode, row["state"]) == (0, "weaker")
    assert "No permissions to create new namespace" in row["found"]
    assert by_check(done)["network isolation"]["state"] == "weaker"
    done = polyport("--json", PATH=broken, isolation="bubblewrap")
    row = by_check(done)["isolation"]
    assert (done.returncode, row["state"]) == (1, "missing")
    assert "No permissions to create new namespace" in row["found"]


def test_a_home_that_others_may_look_into_is_told(polyport, tmp_path: Path) -> None:
    """With the command that closes it; key files too."""
    home = tmp_path / "home"
    home.mkdir(mode=0o755)
    (home / "keys.key").write_text("secret")
    (home / "keys.key").chmod(0o644)
    rows = by_check(polyport("--json"))
    assert (rows["home"]["state"], rows["home"]["advice"]) == ("weaker", f"chmod 700 {home}")
    assert (rows["key file"]["state"], rows["key file"]["advice"]) == ("weaker", f"chmod 600 {home / 'keys.key'}")
    home.chmod(0o700)
    (home / "keys.key").chmod(0o600)
    rows = by_check(polyport("--json"))
    assert rows["home"]["state"] == rows["key file"]["state"] == "ok"


@pytest.mark.parametrize(
    ("settings", "check"),
    [({"container_paths": "/nowhere/at/all"}, "container_paths"), ({"port_range": "20001-20002"}, "ports")],
)
def test_settings_that_cannot_be_met_are_missing(polyport, settings: dict[str, str], check: str) -> None:
    """What the settings name has to be there."""
    done = polyport("--json", **settings)
    assert (done.returncode, by_check(done)[check]["state"]) == (1, "missing")


def test_a_missing_bubblewrap_is_told_how_to_install() -> None:
    """The names of the packages."""
    found = probe.Found("bwrap is not installed", "bwrap is not installed", "")
    rows = {finding.check: finding for finding in examine(Machine(Settings(), found))}
    assert "apt install bubblewrap" in rows["isolation"].advice
    assert "EnableNetworkIsolation" in rows["network isolation"].found
