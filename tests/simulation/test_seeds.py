"""Histories that have found something, as small as they could be made, and that all of it replays exactly."""

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from simulation.history import History

from simulation import __main__ as command
from simulation import history, play, shrink

ROOT = Path(__file__).resolve().parents[2]
HISTORIES = Path(__file__).parent / "histories"


@pytest.mark.parametrize("path", sorted(HISTORIES.glob("*.json")), ids=lambda path: path.stem)
def test_what_was_found_once_stays_found(path: Path) -> None:
    """Each file is a history in which a rule was broken; its name says what went wrong."""
    outcome = play.run(msgspec.json.decode(path.read_bytes(), type=History))
    assert not outcome.rule, outcome


def test_a_few_hundred_histories_hold() -> None:
    """What CI does with many more."""
    found = [play.run(history.make(seed)) for seed in range(200)]
    assert [outcome for outcome in found if outcome.rule] == []
    assert sum(outcome.writes for outcome in found) > 1000, "something happens in them"


@pytest.mark.parametrize("seed", [3, 17])
def test_a_seed_replays_exactly(seed: int) -> None:
    """To the last line of the trace, in another process, where sets have another order."""

    def replay(order: str) -> str:
        command = [sys.executable, "-m", "simulation", "--seed", str(seed), "--trace"]
        environment = {**os.environ, "PYTHONHASHSEED": order}
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=True).stdout

    first = replay("1")
    assert len(first.splitlines()) > 20
    assert first == replay("2")


def test_what_is_found_is_made_smaller_and_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the rule, the trace, the command that shows it again, and exit status 1; and what is printed replays."""
    monkeypatch.setattr("polyport.control.plan._may_go", lambda at, row: at.see(row).present)
    assert command.main(["--seeds", "20", "--jobs", "1"]) == 1
    printed = capsys.readouterr().out
    assert "what_a_gateway_may_use_is_not_stopped" in printed
    seed = int(printed.partition("python -m simulation --seed ")[2].split()[0])
    smaller = next(line for line in printed.splitlines() if line.startswith('{"seed":'))
    replayed = msgspec.json.decode(smaller, type=History)
    assert len(replayed.events) <= len(history.make(seed).events)
    assert play.run(replayed).rule == play.run(history.make(seed)).rule
    monkeypatch.undo()
    assert shrink.shrink(replayed) == replayed, "where all holds, nothing is made smaller"
    assert json.loads(smaller)["seed"] == seed


def test_the_rules_can_be_listed(capsys: pytest.CaptureFixture[str]) -> None:
    """Each with its docstring."""
    assert command.main(["--rules"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) >= 20
    assert all(line.partition(": ")[2] for line in lines)
