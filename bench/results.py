"""What was measured: one sample per run, and what the samples of all rounds come to."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from bench.histogram import Histogram


@dataclass(frozen=True)
class Sample:
    """One timed run of one system on one case."""

    system: str
    case: str
    calls: int
    #: Calls per second.
    rate: float
    #: Microseconds of CPU a call, over the process tree of what serves calls.
    cpu: float
    #: The same for processes of the system that serve no calls (Polyport's control).
    cpu_beside: float
    #: Megabytes (10^6) of request bodies a second.
    throughput: float
    #: Milliseconds.
    p50: float
    p99: float
    p999: float
    #: Bytes after the run, over the same processes as `cpu`.
    rss: int
    pss: int

    @classmethod
    def of(
        cls,
        system: str,
        case: str,
        latencies: Histogram,
        *,
        seconds: float,
        body_size: int,
        cpu_seconds: tuple[float, float],
        memory: tuple[int, int],
    ) -> "Sample":
        """``cpu_seconds``: of what serves calls, and of what is beside; ``memory``: RSS and PSS."""
        calls = len(latencies)
        own, beside = (spent * 1e6 / calls for spent in cpu_seconds)
        p50, p99, p999 = (latencies.percentile(share) / 1e6 for share in (0.5, 0.99, 0.999))
        throughput = calls * body_size / seconds / 1e6
        return cls(system, case, calls, calls / seconds, own, beside, throughput, p50, p99, p999, *memory)


METRICS = ("rate", "cpu", "cpu_beside", "throughput", "p50", "p99", "p999", "rss", "pss")


@dataclass(frozen=True)
class Range:
    """A metric over the rounds."""

    median: float
    least: float
    most: float


class Results:
    """All samples, what could not be measured and why, and single figures (bytes of memory by name)."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self.samples = list(samples)
        #: By system and case; an empty case means the whole system.
        self.missing: dict[tuple[str, str], str] = {}
        self.figures: dict[str, float] = {}

    def add(self, other: "Results") -> None:
        """Take in what another part of the run found."""
        self.samples += other.samples
        self.missing |= other.missing
        self.figures |= other.figures

    def of(self, system: str, case: str) -> list[Sample]:
        """The samples of one system on one case, in the order of the rounds."""
        return [sample for sample in self.samples if (sample.system, sample.case) == (system, case)]

    def drop(self, system: str, case: str, why: str) -> None:
        """Forget the samples of one system on one case: one wrong answer makes all of them worthless."""
        self.samples = [sample for sample in self.samples if (sample.system, sample.case) != (system, case)]
        self.missing[system, case] = why

    def range(self, system: str, case: str, metric: str) -> Range | None:
        """``None`` when it was not measured."""
        found = [float(getattr(sample, metric)) for sample in self.of(system, case)]
        return Range(median(found), min(found), max(found)) if found else None

    def median(self, system: str, case: str, metric: str) -> float | None:
        """The median over the rounds; ``None`` when it was not measured."""
        found = self.range(system, case, metric)
        return found.median if found else None

    def why_missing(self, system: str, case: str) -> str:
        """The reason, if one was noted."""
        return self.missing.get((system, case)) or self.missing.get((system, "")) or "not measured in this run"

    def as_json(self, describe: Callable[[Range], object]) -> list[dict[str, object]]:
        """One entry per system and case that was measured."""
        pairs = dict.fromkeys((sample.system, sample.case) for sample in self.samples)
        return [
            {"system": system, "case": case, "rounds": len(self.of(system, case))}
            | {metric: describe(found) for metric in METRICS if (found := self.range(system, case, metric))}
            for system, case in pairs
        ]
