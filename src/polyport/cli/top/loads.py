"""What was counted, by endpoint, variant, instance and container, in figures of a moment. Pure."""

from collections.abc import Iterable

import msgspec

from polyport.domain.distributions import Distribution
from polyport.domain.names import Owner
from polyport.telemetry.metrics.series import Key

#: The metrics that are looked at.
NAMES = (
    "Invocations",
    "Invocation4XXErrors",
    "Invocation5XXErrors",
    "InvocationModelErrors",
    "ModelLatency",
    "OverheadLatency",
    "ContainerLatency",
    "ConcurrentRequestsPerModel",
)
#: Seconds that calls a second are counted over, at least, and that latencies and errors are of.
LATELY, MINUTE = 10, 60
#: Seconds that counts are on their way.
DELAY = 1.0

Place = tuple[Owner, str, str, str, str]
"""Owner, endpoint, variant, instance and container; the last two may be empty, one of them is."""


class Latency(msgspec.Struct, frozen=True):
    """Milliseconds."""

    p50: float
    p90: float
    p99: float


class Load(msgspec.Struct, frozen=True):
    """``calls``: a second; errors and latencies of the last minute. ``None``: not known."""

    calls: float = 0.0
    in_flight: float | None = None
    latency: Latency | None = None
    #: What Polyport itself takes.
    overhead: Latency | None = None
    errors_4xx: int = 0
    errors_5xx: int = 0
    #: Calls that came to nothing in a container.
    failures: int = 0


class Counted:
    """All that was counted lately."""

    def __init__(self, read: Iterable[tuple[Key, int, Distribution]], now: float) -> None:
        self._now = now
        #: The beginning of the ten seconds before the present ones.
        self._lately = int(now) // LATELY * LATELY - LATELY
        self._found: dict[tuple[Place, str], list[tuple[int, Distribution]]] = {}
        for key, start, values in read:
            if place := _place(key):
                self._found.setdefault((place, key.name), []).append((start, values))

    def load(self, place: Place) -> Load:
        """Of an endpoint's variant, or of one instance or container of it."""
        calls = sum(values.count for start, values in self._of(place, "Invocations") if start >= self._lately)
        latency = "ContainerLatency" if place[4] else "ModelLatency"
        return Load(
            calls / max(1.0, self._now - self._lately - DELAY),
            self._in_flight(place),
            _latency(self._merged(place, latency)),
            _latency(self._merged(place, "OverheadLatency")),
            *(round(self._merged(place, name).total) for name in NAMES[1:4]),
        )

    def _of(self, place: Place, name: str) -> list[tuple[int, Distribution]]:
        return self._found.get((place, name), [])

    def _merged(self, place: Place, name: str) -> Distribution:
        together = Distribution()
        for _, values in self._of(place, name):
            together.merge(values)
        return together

    def _in_flight(self, place: Place) -> float | None:
        """The latest that was sampled; nothing is sampled while there are none."""
        samples = [sample for sample in self._of(place, "ConcurrentRequestsPerModel") if sample[0] >= self._lately]
        return max(samples, key=lambda sample: sample[0])[1].average if samples else None


def _place(key: Key) -> Place | None:
    """``None``: by what is not looked at."""
    dimensions = dict(key.dimensions)
    endpoint, variant = dimensions.pop("EndpointName", ""), dimensions.pop("VariantName", "")
    instance, container = dimensions.pop("InstanceId", ""), dimensions.pop("ContainerName", "")
    return None if dimensions else (key.owner, endpoint, variant, instance, container)


def _latency(values: Distribution) -> Latency | None:
    """Of microseconds."""
    if not values.count:
        return None
    return Latency(*(round(values.percentile(percent) / 1000, 3) for percent in (50, 90, 99)))
