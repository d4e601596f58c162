"""Latencies as the native client counts them: 128 buckets for each power of two nanoseconds."""

from collections import Counter
from collections.abc import Iterable

SUB = 128


def lower_bound(index: int) -> int:
    """The smallest number of nanoseconds that falls into the bucket. The inverse of `record` in ``client.c``."""
    if index < SUB:
        return index
    shift = index // SUB - 1
    return (index % SUB + SUB) << shift


class Histogram:
    """How many calls fell into each bucket."""

    def __init__(self, counts: Iterable[tuple[int, int]] = ()) -> None:
        self._counts: Counter[int] = Counter()
        for index, count in counts:
            self._counts[index] += count

    def __len__(self) -> int:
        return self._counts.total()

    def percentile(self, share: float) -> float:
        """Nanoseconds (the middle of the bucket) that ``share`` (0 to 1) of the calls did not exceed; 0 if empty."""
        wanted, seen = share * len(self), 0
        for index in sorted(self._counts):
            seen += self._counts[index]
            if seen >= wanted:
                return (lower_bound(index) + lower_bound(index + 1)) / 2
        return 0.0
