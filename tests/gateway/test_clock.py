"""The tick that comes once a second."""

import pytest

from polyport.gateway import clock


@pytest.mark.parametrize("fraction", [0.0, 0.25, 0.999, 0.9995, 0.99999])
def test_a_timer_that_fires_early_does_not_tick_again_within_the_second(
    monkeypatch: pytest.MonkeyPatch, fraction: float
) -> None:
    """Each tick counts as a second of a client's time: a burst of them just before a second's end cut off clients."""
    now = 1_000_000.0 + fraction
    monkeypatch.setattr(clock.time, "time", lambda: now)
    pause = clock.Clock().refresh()
    earliest = now + pause - 0.001
    assert int(earliest) == int(now) + 1
