"""Makes a history in which a rule is broken smaller, as long as the same rule is broken in it."""

from collections.abc import Iterable

from msgspec.structs import replace

from simulation import play
from simulation.history import Event, History


def shrink(history: History) -> History:
    """Without the events that it does without, and with as little else as possible. Returns it as it is when nothing
    is broken in it."""
    rule = play.run(history).rule
    if not rule:
        return history
    smaller: History | None = history
    while smaller is not None:
        history = smaller
        smaller = next((each for each in _smaller(history) if play.run(each).rule == rule), None)
    return history


def _smaller(history: History) -> Iterable[History]:
    """What is a little less, large pieces first."""
    count = len(history.events)
    size = count // 2
    while size:
        for at in range(0, count, size):
            yield replace(history, events=_without(history.events, at, size))
        size //= 2
    if count == 1:
        yield replace(history, events=())
    for name, least in (("lag", 0.0), ("lost", 0.0), ("doubled", 0.0), ("gateways", 1)):
        if getattr(history, name) != least:
            yield replace(history, **{name: least})


def _without(events: tuple[Event, ...], at: int, size: int) -> tuple[Event, ...]:
    return events[:at] + events[at + size :]
