"""Many values in a few numbers: how many, their sum, the least and the greatest, and how many fell in which bucket.

A power of two is shared by 16 buckets of equal width, so that a percentile is at most three percent off. Buckets are
the same everywhere: distributions of several workers, seconds or metrics are merged by adding.
"""

import math
from collections.abc import Iterable

import msgspec

#: Buckets for each power of two.
STEPS = 16
#: The bucket of the value 0; those of positive values are numbered by `bucket_of`.
ZERO = -100_000
#: What a negative value's bucket is below: that of its opposite, counted down.
_NEGATIVE = -200_000


class Distribution(msgspec.Struct, array_like=True):
    """Values of one metric in one period. ``low`` and ``high`` mean nothing while ``count`` is 0."""

    count: float = 0.0
    total: float = 0.0
    low: float = math.inf
    high: float = -math.inf
    #: By number, how many values are in each.
    buckets: dict[int, float] = msgspec.field(default_factory=dict)

    def add(self, value: float, times: float = 1.0) -> None:
        """Take note of a value, as often as it came."""
        self.count += times
        self.total += value * times
        self.low = min(self.low, value)
        self.high = max(self.high, value)
        bucket = bucket_of(value)
        self.buckets[bucket] = self.buckets.get(bucket, 0.0) + times

    def add_set(self, count: float, total: float, low: float, high: float) -> None:
        """Take note of values of which no more is known than this. For percentiles they lie at their mean."""
        self.count += count
        self.total += total
        self.low, self.high = min(self.low, low), max(self.high, high)
        bucket = bucket_of(total / count) if count else ZERO
        self.buckets[bucket] = self.buckets.get(bucket, 0.0) + count

    def merge(self, other: "Distribution") -> None:
        """Add all of another's values."""
        self.count += other.count
        self.total += other.total
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)
        mine = self.buckets
        for bucket, count in other.buckets.items():
            mine[bucket] = mine.get(bucket, 0.0) + count

    @property
    def average(self) -> float:
        """0 when there is no value."""
        return self.total / self.count if self.count else 0.0

    def percentile(self, percent: float) -> float:
        """The value that so many percent (0 to 100) of all are not above; 0 when there is no value."""
        if not self.count:
            return 0.0
        rank = self.count * percent / 100
        passed = 0.0
        for bucket in sorted(self.buckets):
            count = self.buckets[bucket]
            if passed + count >= rank:
                least, most = edges(bucket)
                return self._within(least + (most - least) * (rank - passed) / count)
            passed += count
        return self.high

    def below(self, limit: float) -> float:
        """How many values are in buckets that end at ``limit`` or before."""
        return sum(count for bucket, count in self.buckets.items() if edges(bucket)[1] <= limit)

    def part(self, least: float, most: float) -> "Distribution":
        """The values above ``least`` and up to ``most``, as far as buckets can tell."""
        found = Distribution()
        for bucket, count in self.buckets.items():
            value = self._within(sum(edges(bucket)) / 2)
            if least < value <= most:
                found.add(value, count)
        return found

    def _within(self, value: float) -> float:
        return min(max(value, self.low), self.high)


def bucket_of(value: float) -> int:
    """The number of a value's bucket. Numbers grow with values."""
    if value > 0:
        fraction, exponent = math.frexp(value)
        return exponent * STEPS + int((fraction - 0.5) * 2 * STEPS)
    return ZERO if value == 0 else _NEGATIVE - bucket_of(-value)


def edges(bucket: int) -> tuple[float, float]:
    """The least value of a bucket, and the one where the next begins."""
    if bucket == ZERO:
        return 0.0, 0.0
    if bucket < ZERO:
        least, most = edges(_NEGATIVE - bucket)
        return -most, -least
    exponent, step = divmod(bucket, STEPS)
    return math.ldexp(0.5 + step / (2 * STEPS), exponent), math.ldexp(0.5 + (step + 1) / (2 * STEPS), exponent)


def merged(several: Iterable[Distribution]) -> Distribution:
    """All of them as one."""
    found = Distribution()
    for each in several:
        found.merge(each)
    return found
