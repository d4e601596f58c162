"""`polyport logs`: the output of containers, for people."""

import subprocess
import sys
import time
from pathlib import Path

from cli.running import Run, printed, refused
from telemetry.logs.written import log_of, write

BEGIN = 1_700_000_000.0
TRACE = ["Traceback (most recent call last):", "  1 / 0", "ZeroDivisionError: division by zero"]


def test_all_containers_are_shown_by_time(polyport: Run, home: Path) -> None:
    """Rule: time, stream, text; the lines of a traceback stay together."""
    write(log_of(home), *((BEGIN + number / 100, text) for number, text in enumerate(TRACE)))
    write(log_of(home, container="b"), (BEGIN - 1, "starts"), (BEGIN + 0.015, "between"))
    assert printed(polyport("logs", "demo")).splitlines() == [
        "2023-11-14T22:13:19.000Z V/i-1/b starts",
        f"2023-11-14T22:13:20.000Z V/i-1/a {TRACE[0]}",
        *TRACE[1:],
        "2023-11-14T22:13:20.015Z V/i-1/b between",
    ]


def test_what_is_shown_can_be_chosen(polyport: Run, home: Path) -> None:
    """Rule: one container, an age or a time, a filter pattern."""
    now = time.time()
    write(log_of(home), (BEGIN, "old"), (now - 100, "young"))
    write(log_of(home, container="b"), (now - 50, "other"))

    def texts(*arguments: str) -> list[str]:
        return [line.split(" ", 2)[2] for line in printed(polyport("logs", "demo", *arguments)).splitlines()]

    assert texts() == ["old", "young", "other"]
    assert texts("--container", "a") == ["old", "young"]
    assert texts("--since", "10m") == ["young", "other"]
    assert texts("--since", "75s") == ["other"]
    assert texts("--since", "2023-12-01") == ["young", "other"]
    assert texts("--filter", "?old ?other") == ["old", "other"]


def test_what_cannot_be_shown_is_said(polyport: Run, home: Path) -> None:
    """Rule: one line, with what there is."""
    write(log_of(home), (BEGIN, "x"))
    assert refused(polyport("logs", "none")) == (
        "There are no logs of endpoint none of account 123456789012 in us-east-1. See polyport endpoints list."
    )
    assert refused(polyport("logs", "demo", "-c", "z")).endswith("There are: a.")
    assert refused(polyport("logs", "demo", "--since", "yesterday")).startswith("--since yesterday: give an age")
    assert refused(polyport("logs", "demo", "--filter", "{")).startswith("--filter {: the pattern")


def test_followed_logs_go_on(home: Path) -> None:
    """Rule: all that is printed later comes too, also by containers that begin later, until Ctrl-C."""
    write(log_of(home), (time.time(), "one"))
    command = [sys.executable, "-m", "polyport", "logs", "demo", "--follow", "--home", str(home)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().endswith(" V/i-1/a one\n")
        write(log_of(home), (time.time(), "two"))
        assert process.stdout.readline().endswith(" V/i-1/a two\n")
        write(log_of(home, instance="i-2"), (time.time(), "three"))
        assert process.stdout.readline().endswith(" V/i-2/a three\n")
        process.send_signal(2)
        assert process.wait(20) == 130
