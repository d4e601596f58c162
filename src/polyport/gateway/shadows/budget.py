"""How many copies there may be, and of how many bytes."""


class Budget:
    """What a worker may hold for shadow variants: so many calls, so many bytes."""

    __slots__ = ("_most_bytes", "_most_calls", "bytes", "calls")

    def __init__(self, most_calls: int, most_bytes: int) -> None:
        self._most_calls = most_calls
        self._most_bytes = most_bytes
        #: Those that are taken.
        self.calls = 0
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<Budget {self.calls} of {self._most_calls} calls, {self.bytes} of {self._most_bytes} bytes>"

    def fits(self, calls: int, size: int) -> bool:
        """Whether so much more may be held."""
        return self.calls + calls <= self._most_calls and self.bytes + size <= self._most_bytes


class Hold:
    """What one copy takes of the budget. Given back by `release`, once and whole."""

    __slots__ = ("_budget", "_bytes", "_calls")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._calls = 0
        self._bytes = 0

    def __repr__(self) -> str:
        return f"<Hold of {self._calls} calls, {self._bytes} bytes>"

    def begin(self, size: int) -> bool:
        """The copy is due, and has so many bytes in all. Says whether there is room; if not, nothing changes."""
        return self._take(1 - self._calls, size - self._bytes)

    def grow(self, size: int) -> bool:
        """So many bytes more. Says whether there is room; if not, nothing changes."""
        return self._take(0, size)

    def release(self) -> None:
        """The copy is over, or will not be made."""
        self._budget.calls -= self._calls
        self._budget.bytes -= self._bytes
        self._calls = self._bytes = 0

    def _take(self, calls: int, size: int) -> bool:
        if not self._budget.fits(calls, size):
            return False
        self._calls += calls
        self._bytes += size
        self._budget.calls += calls
        self._budget.bytes += size
        return True
