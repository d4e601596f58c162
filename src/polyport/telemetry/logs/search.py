"""Several logs at once: their events merged by time, page by page, none twice and none left out.

Within one log the order is that of the file, whatever the times say.
"""

import heapq
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

from polyport.telemetry.logs.filters import Matches
from polyport.telemetry.logs.parts import Index, Log, Passed
from polyport.telemetry.logs.records import Event, Position, Span

#: Bytes that are looked through for one page when nothing is found in them.
MOST_READ = 32 * 1024 * 1024
#: What AWS counts for each event besides its message.
EVENT_OVERHEAD = 26

Positions = dict[str, Position]
"""How far each log is read, by the name of its stream."""


class Limits(NamedTuple):
    """Of one page. ``settled``: what is younger, in microseconds, waits: another log may still get something older."""

    events: int = 10_000
    bytes: int = 1024 * 1024
    settled: int = 2**63


USUAL = Limits()


class Page(NamedTuple):
    """Events with the names of their streams; ``next`` is where the next page begins, ``None`` after the last.
    ``reached``: how far each log was read."""

    events: list[tuple[str, Event]]
    next: Positions | None
    reached: Positions


class _Exhausted(Exception):
    """Enough was looked through for one page."""


class _Budget:
    def __init__(self, size: int) -> None:
        self._left = size

    def take(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise _Exhausted


class _Cursor:
    """One log on its way into the page."""

    def __init__(self, found: Iterator[Event | Passed], position: Position | None, settled: int) -> None:
        self._found = found
        self._settled = settled
        self.position = position
        self.head: Event | None = None

    def advance(self, matches: Matches | None, budget: _Budget) -> bool:
        """On to the next event that is meant; false when there is none. The one before counts as read."""
        if self.head is not None:
            self.position, self.head = self.head.after, None
        for item in self._found:
            if isinstance(item, Passed):
                self.position = item.position
                budget.take(item.size)
            elif item.micros >= self._settled:
                return False
            elif matches is None or matches(item.message):
                self.head = item
                return True
            else:
                self.position = item.after
        return False


def page(
    logs: Mapping[str, Path],
    positions: Positions,
    span: Span,
    matches: Matches | None = None,
    *,
    limits: Limits = USUAL,
    index: Index | None = None,
) -> Page:
    """The events of ``logs`` (by their streams' names) from ``positions`` on; a log without one from its start."""
    with ExitStack() as stack:
        cursors: dict[str, _Cursor] = {}
        for name, path in logs.items():
            opened = stack.enter_context(Log(path, index))
            position = positions.get(name)
            cursors[name] = _Cursor(opened.forward(position, span), position, limits.settled)
        events, is_all = _merge(cursors, matches, limits)
    reached = {name: cursor.position for name, cursor in cursors.items() if cursor.position is not None}
    return Page(events, None if is_all else reached, reached)


def _merge(
    cursors: dict[str, _Cursor], matches: Matches | None, limits: Limits
) -> tuple[list[tuple[str, Event]], bool]:
    """The events, and whether these are all."""
    budget = _Budget(MOST_READ)
    events: list[tuple[str, Event]] = []
    size = 0
    try:
        heap = [(c.head.micros, name) for name, c in cursors.items() if c.advance(matches, budget) and c.head]
        heapq.heapify(heap)
        while heap:
            name = heap[0][1]
            cursor = cursors[name]
            head = cursor.head
            assert head is not None
            size += len(head.text) + EVENT_OVERHEAD
            if len(events) >= limits.events or (size > limits.bytes and events):
                return events, False
            events.append((name, head))
            if cursor.advance(matches, budget) and cursor.head is not None:
                heapq.heapreplace(heap, (cursor.head.micros, name))
            else:
                heapq.heappop(heap)
    except _Exhausted:
        return events, False
    return events, True


def lines(
    log: Log, position: Position | None, span: Span, *, limits: Limits, backward: bool
) -> tuple[list[Event], Position, Position]:
    """Events of one log in the order of its file, and the places before the first and after the last of them.

    ``backward``: those that come before ``position`` (``None``: the end), else those that follow (``None``: the start).
    """
    if backward:
        last = position if position is not None else log.end
        events = list(_limited(log.backward(position, span), limits))[::-1]
        return events, events[0].position if events else last, events[-1].after if events else last
    first = position if position is not None else log.start
    found = (event for event in log.forward(position, span) if isinstance(event, Event))
    events = list(_limited(found, limits))
    return events, events[0].position if events else first, events[-1].after if events else first


def _limited(found: Iterator[Event], limits: Limits) -> Iterator[Event]:
    size = 0
    for count, event in enumerate(found, start=1):
        size += len(event.text) + EVENT_OVERHEAD
        if count > limits.events or (size > limits.bytes and count > 1):
            return
        yield event
