"""What Polyport wants to reach, row by row, and whether these results reach it. Pure."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from bench.results import Results

#: A system and a case with the metric that is compared.
Key = tuple[str, str, str]


class Outcome(StrEnum):
    """Of one row. ``OPEN``: it cannot be judged, and the verdict's note says why."""

    PASS = "pass"  # noqa: S105  a verdict, no password
    MISS = "miss"
    OPEN = "not judged"


@dataclass(frozen=True)
class Verdict:
    """One row of the table of targets."""

    work: str
    target: str
    figure: str
    outcome: Outcome
    note: str = ""


@dataclass(frozen=True)
class Target:
    """A row: ``judge`` gives the verdict."""

    work: str
    target: str
    judge: Callable[[Results], tuple[str, Outcome, str]]

    def verdict(self, results: Results) -> Verdict:
        """How these results stand to it."""
        return Verdict(self.work, self.target, *self.judge(results))


def _missing(results: Results, *keys: Key) -> tuple[str, Outcome, str]:
    reasons = [
        f"{system}: {results.why_missing(system, case)}"
        for system, case, metric in keys
        if results.median(system, case, metric) is None
    ]
    return "", Outcome.OPEN, "; ".join(dict.fromkeys(reasons))


def _outcome(is_reached: bool) -> Outcome:
    return Outcome.PASS if is_reached else Outcome.MISS


def ratio(
    work: str, target: str, ours: Key, theirs: Key, *, most: float | None = None, least: float | None = None
) -> Target:
    """``ours`` divided by ``theirs`` is at most, or at least, so much."""

    def judge(results: Results) -> tuple[str, Outcome, str]:
        own, other = results.median(*ours), results.median(*theirs)
        if own is None or not other:
            return _missing(results, ours, theirs)
        found = own / other
        is_reached = (most is None or found <= most) and (least is None or found >= least)
        return f"{found:.2f} x ({own:,.1f} to {other:,.1f})", _outcome(is_reached), ""

    return Target(work, target, judge)


def added(work: str, target: str, ours: Key, theirs: Key, *, below: float) -> Target:
    """``ours`` less ``theirs`` stays below so many milliseconds."""

    def judge(results: Results) -> tuple[str, Outcome, str]:
        own, other = results.median(*ours), results.median(*theirs)
        if own is None or other is None:
            return _missing(results, ours, theirs)
        return f"{own - other:.3f} ms ({own:.3f} - {other:.3f})", _outcome(own - other < below), ""

    return Target(work, target, judge)


def figure(work: str, target: str, name: str, *, below: float) -> Target:
    """A single figure stays below so many MB."""

    def judge(results: Results) -> tuple[str, Outcome, str]:
        found = results.figures.get(name)
        if found is None:
            return "", Outcome.OPEN, f"polyport: {results.why_missing('polyport', 'memory')}"
        return f"{found:.1f} MB", _outcome(found < below), ""

    return Target(work, target, judge)


def scaling(cpus: int) -> Target:
    """Two workers against one, judged where two CPUs are left for them."""
    plain = ratio(
        "2 workers",
        "at least 1.7 x one worker's calls per second",
        ("polyport-2", "workers", "rate"),
        ("polyport", "workers", "rate"),
        least=1.7,
    )

    def judge(results: Results) -> tuple[str, Outcome, str]:
        text, outcome, note = plain.judge(results)
        if not text or cpus >= 4:
            return text, outcome, note
        return text, Outcome.OPEN, f"needs 4 cores (2 workers, client, models); this machine has {cpus}"

    return Target(plain.work, plain.target, judge)


def _key(system: str, case: str, metric: str = "cpu") -> Key:
    return system, case, metric


DIRECT = _key("polyport", "direct")

TARGETS: tuple[Target, ...] = (
    ratio("direct call, CPU", "at most 0.7 x Envoy's", DIRECT, _key("envoy", "direct"), most=0.7),
    ratio("direct call, CPU", "at most 1.6 x nginx's", DIRECT, _key("nginx", "direct"), most=1.6),
    ratio(
        "direct call signed, CPU",
        "at most 0.9 x Envoy's unsigned",
        _key("polyport-keys", "signed"),
        _key("envoy", "direct"),
        most=0.9,
    ),
    ratio("serial chain of 3, CPU", "at most 2.4 x the direct call's", _key("polyport", "chain"), DIRECT, most=2.4),
    ratio(
        "6 MB request body, MB/s",
        "at least 0.8 x HAProxy's",
        _key("polyport", "6MB", "throughput"),
        _key("haproxy", "6MB", "throughput"),
        least=0.8,
    ),
    ratio(
        "6 MB request body signed, MB/s",
        "at least 0.5 x HAProxy's unsigned",
        _key("polyport-keys", "6MB-signed", "throughput"),
        _key("haproxy", "6MB", "throughput"),
        least=0.5,
    ),
    added(
        "added latency at p50",
        "below 0.10 ms",
        _key("polyport", "latency", "p50"),
        _key("container", "latency", "p50"),
        below=0.10,
    ),
    added(
        "added latency at p99",
        "below 0.4 ms",
        _key("polyport", "latency", "p99"),
        _key("container", "latency", "p99"),
        below=0.4,
    ),
    ratio(
        "1,000 endpoints loaded, CPU",
        "within 5 % of a few",
        _key("worker-1000", "1000-endpoints"),
        _key("worker", "1000-endpoints"),
        most=1.05,
    ),
    figure("memory of an idle worker", "below 60 MB", "idle worker", below=60),
    figure("memory of 1,000 idle connections", "below 10 MB", "1000 idle connections add", below=10),
    figure("memory of a 25 MB body in flight", "below 30 MB", "25 MB body adds at its peak", below=30),
    figure("memory kept after that body", "below 3 MB", "25 MB body leaves behind", below=3),
)

#: Judged by `make bench-peers`.
PEER_TARGETS: tuple[Target, ...] = (
    ratio(
        "serial chain of 3, CPU", "at most 0.5 x mosec's", _key("polyport", "chain"), _key("mosec", "chain"), most=0.5
    ),
)
