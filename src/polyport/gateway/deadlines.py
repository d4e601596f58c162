"""Deadlines for many items at the price of one timer."""

import asyncio
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

Item = TypeVar("Item")


class Loop(Protocol):
    """What a lane needs of the event loop."""

    def time(self) -> float:
        """Seconds, monotonic."""

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Run the callback then."""


class Lane(Generic[Item]):
    """Items that all get the same number of seconds: the order in which they came is the order in which they fall due,
    so a dict is the queue, and one timer for the foremost is enough."""

    __slots__ = ("_due", "_expire", "_loop", "_seconds", "_timer")

    def __init__(self, loop: Loop, seconds: float, expire: Callable[[Item], object]) -> None:
        self._loop = loop
        self._seconds = seconds
        self._expire = expire
        self._due: dict[Item, float] = {}
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, item: Item) -> None:
        """From now on the item has the lane's seconds; then it is handed to ``expire``."""
        due = self._due[item] = self._loop.time() + self._seconds
        if self._timer is None:
            self._timer = self._loop.call_at(due, self._fire)

    def discard(self, item: Item) -> None:
        """The item is done in time. The timer stays: it finds nothing due and looks further."""
        self._due.pop(item, None)

    def pop(self) -> Item | None:
        """Take out the foremost; ``None`` if there is none."""
        for item in self._due:
            del self._due[item]
            return item
        return None

    def close(self) -> None:
        """Forget everything."""
        self._due.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _fire(self) -> None:
        self._timer = None
        now = self._loop.time()
        try:
            for item in self._overdue(now):
                # An earlier one's end may have been this one's too.
                if self._due.pop(item, None) is not None:
                    self._expire(item)
        finally:
            # An item's end may have added another.
            if self._due and self._timer is None:
                self._timer = self._loop.call_at(next(iter(self._due.values())), self._fire)

    def _overdue(self, now: float) -> list[Item]:
        overdue = []
        for item, due in self._due.items():
            # Event loops round to a millisecond and may fire that much early.
            if due > now + 0.001:
                break
            overdue.append(item)
        return overdue
