"""What became of captures, in sums: since control began, or since the workers did. Pure."""

from collections import Counter

from polyport.domain.captures import Captured, Captures

Key = tuple[str, str, str, str]
"""Account, region, endpoint and variant."""


class Sums:
    """Of all workers together. A worker that is gone still counts."""

    #: Workers that are told apart; of older ones only their part of the sums is left.
    MOST_RUNS = 64

    def __init__(self) -> None:
        self._runs: dict[str, dict[Key, Captured]] = {}
        self.kept: Counter[Key] = Counter()
        self.dropped: Counter[tuple[str, ...]] = Counter()

    def take(self, sums: Captures) -> None:
        """What a worker says, in place of what it said before."""
        run = self._runs[sums.run] = self._runs.pop(sums.run, {})
        for one in sums.variants:
            key = (one.account, one.region, one.endpoint, one.variant)
            if key in run:
                self._add(key, run[key], -1)
            run[key] = one
            self._add(key, one, 1)
        if len(self._runs) > self.MOST_RUNS:
            del self._runs[next(iter(self._runs))]

    def drop(self, key: Key, reason: str, count: int) -> None:
        """Control itself has dropped so many that were kept."""
        self.dropped[*key, reason] += count

    def _add(self, key: Key, one: Captured, sign: int) -> None:
        self.kept[key] += sign * one.kept
        for reason, count in one.dropped.items():
            self.dropped[*key, reason] += sign * count
