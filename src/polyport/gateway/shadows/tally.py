"""What has become of the calls that a shadow variant was to get a copy of."""

from collections import Counter

#: Why a call is not copied though its lot fell on it.
NO_ROOM = "no room"
NO_INSTANCE = "no instance"
NO_CONTAINER = "no such container"
NOT_WHOLE = "body not whole"
ENDING = "worker ended"


class Tally:
    """Of one shadow variant, since the worker began."""

    __slots__ = ("_told", "answered", "dropped", "failed")

    def __init__(self) -> None:
        self.answered = 0
        #: Copies that were sent and not answered with success, by the code of the error.
        self.failed: Counter[str] = Counter()
        #: Calls that were not copied, by the reason.
        self.dropped: Counter[str] = Counter()
        self._told = 0

    def __repr__(self) -> str:
        return f"<Tally {self.summary()}>"

    def summary(self) -> str:
        """For people: all there is to say, in one line."""
        parts = [f"{self.answered} copies answered"]
        if self.failed:
            parts.append(f"{self.failed.total()} failed ({_list(self.failed)})")
        if self.dropped:
            parts.append(f"{self.dropped.total()} calls not copied ({_list(self.dropped)})")
        return ", ".join(parts)

    def totals(self) -> Counter[str]:
        """How many were answered, failed and dropped, as far as there are any."""
        answers = {"answered": self.answered, "failed": self.failed.total(), "dropped": self.dropped.total()}
        return Counter({name: count for name, count in answers.items() if count})

    def has_news(self) -> bool:
        """Whether more has gone wrong since this was last asked."""
        told, self._told = self._told, self.failed.total() + self.dropped.total()
        return told != self._told


def _list(counts: Counter[str]) -> str:
    return ", ".join(f"{what}: {count}" for what, count in counts.most_common())
