"""The measurements on a server of their own, small: that they come to their end and print what they promise."""

import re

import pytest

from bench import deaths, telemetry


@pytest.mark.slow
def test_logs_and_metrics_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """All lines come out again, and calls are found in the metrics."""
    assert telemetry.main(["--containers", "2", "--rate", "200", "--seconds", "2", "--calls", "1"]) == 0
    shown = capsys.readouterr().out
    assert "400 lines, none lost or out of order" in shown
    assert re.search(r"calls in GetMetricData after [0-9.]+ s at most", shown)


@pytest.mark.slow
def test_deaths_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    """Each kind has its line."""
    assert deaths.main(["--deaths", "1", "--together", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [re.sub(r" deaths, .*", "", line.strip()) for line in lines] == [
        "while it is created: 1",
        "in service: 1",
        "given up: 1",
        "in service, 2 together: 2",
    ]
