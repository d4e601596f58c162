"""What Prometheus reads, and who may."""

import re
import time

from api.harness import ACCOUNT, REGION, Plane
from polyport.domain.access import CLOSED
from polyport.domain.counts import Busy, Counts, InstanceCounts, Period, Tally


def count(plane: Plane, calls: int, number: int = 1) -> None:
    tally = Tally(calls=calls)
    for n in range(calls):
        tally.model.add(1000.0 * (n + 1))
        tally.overhead.add(50.0)
    entry = InstanceCounts(ACCOUNT, REGION, "pair", "all", "i-1", "Direct", 1, tally, {"first": tally})
    busy = (Busy(ACCOUNT, REGION, "pair", "all", 2),)
    counts = Counts("run", number, (Period(1_700_006_400, (entry,)),), busy)
    plane.run(plane.metrics.take(counts, lambda _: "", time.time()))


def sample(text: str, name: str, **labels: str) -> float:
    for line in text.splitlines():
        match = re.fullmatch(r"(\w+)\{(.*)\} (\S+)", line)
        if match and match[1] == name and dict(re.findall(r'(\w+)="(.*?)"', match[2])).items() >= labels.items():
            return float(match[3])
    raise AssertionError(f"there is no {name} with {labels}")


def test_counters_are_those_of_all_calls(plane: Plane) -> None:
    """Counts, histograms in seconds, and calls in flight."""
    count(plane, 3)
    count(plane, 1, number=2)
    count(plane, 1, number=2)
    status, headers, body = plane.answer("GET", "/metrics", [(b"Host", b"x")])
    text = body.decode()
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=0.0.4")
    assert sample(text, "polyport_container_invocations_total", endpoint="pair", container="first") == 4
    assert sample(text, "polyport_container_latency_seconds_count", container="first") == 4
    assert sample(text, "polyport_container_latency_seconds_sum", container="first") == 0.007
    assert sample(text, "polyport_container_latency_seconds_bucket", le="0.001024") == 2
    assert sample(text, "polyport_container_latency_seconds_bucket", le="+Inf") == 4
    assert sample(text, "polyport_invocations_in_flight", variant="all") == 2
    assert "polyport_ready 1" in text


def test_on_a_server_with_keys_a_stranger_reads_nothing(plane: Plane) -> None:
    """Metrics are authorised like everything else."""
    plane.gate.take(CLOSED)
    status, _, body = plane.answer("GET", "/metrics", [(b"Host", b"x")])
    assert status in {400, 403}
    assert b"polyport_" not in body
    assert b"missing Authentication Token" in body


def test_a_web_page_reads_nothing(plane: Plane) -> None:
    """Nor where there is no key: a browser would do it for any page."""
    status, _, body = plane.answer("GET", "/metrics", [(b"Host", b"x"), (b"Origin", b"http://evil")])
    assert status == 403
    assert b"polyport_" not in body
