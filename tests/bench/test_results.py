"""From counts to figures, from figures to verdicts, tables and pictures."""

import io
import json
import random
import xml.etree.ElementTree as ET

import pytest
from bench.cases import CASES
from bench.histogram import Histogram
from bench.results import Range, Results, Sample
from bench.targets import Outcome
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from bench import histogram, plot, report, targets


def index_of(value: int) -> int:
    """What `record` in client.c computes."""
    if value < histogram.SUB:
        return value
    shift = value.bit_length() - 1 - 7
    return (shift + 1) * histogram.SUB + (value >> shift) - histogram.SUB


@given(st.integers(0, 2**38))
def test_a_bucket_is_at_most_one_percent_wide(value: int) -> None:
    """Every value lies in its bucket, and no bucket is wider than 1/128 of its values."""
    index = index_of(value)
    low, high = histogram.lower_bound(index), histogram.lower_bound(index + 1)
    assert low <= value < high
    assert high - low <= max(1, low / 128)


def test_percentiles_agree_with_the_sorted_values() -> None:
    """A percentile from the buckets is within 1 % of the one from the values themselves."""
    values = [int(random.Random(number).lognormvariate(11, 1)) + 1 for number in range(5000)]
    found = Histogram((index_of(value), 1) for value in values)
    assert len(found) == 5000
    for share in (0.5, 0.99, 0.999):
        exact = sorted(values)[round(share * 5000) - 1]
        assert found.percentile(share) == pytest.approx(exact, rel=0.01)


def test_no_calls_have_no_percentile() -> None:
    """An empty histogram says 0 and does not fail."""
    assert Histogram().percentile(0.99) == 0


def sample(system: str, case: str, **metrics: float) -> Sample:
    """A sample in which only the metrics given matter."""
    zeros: dict[str, float] = dict.fromkeys(("rate", "cpu", "cpu_beside", "throughput", "p50", "p99", "p999"), 0.0)
    return Sample(system, case, calls=1, rss=0, pss=0, **(zeros | metrics))


def test_a_sample_counts_per_call() -> None:
    """CPU seconds become microseconds a call, bytes become MB a second, nanoseconds milliseconds."""
    made = Sample.of(
        "s",
        "c",
        Histogram([(index_of(1_000_000), 2000)]),
        seconds=2.0,
        body_size=500_000,
        cpu_seconds=(0.05, 0.01),
        memory=(7, 5),
    )
    assert (made.calls, made.rate, made.throughput) == (2000, 1000, 500)
    assert (made.cpu, made.cpu_beside) == (25, 5)
    assert made.p50 == pytest.approx(1.0, rel=0.01)


def test_the_median_over_rounds_counts_and_the_range_is_kept() -> None:
    """One round that was disturbed does not move the figure, and it stays visible."""
    results = Results(sample("s", "c", cpu=value) for value in (20, 500, 21))
    assert results.range("s", "c", "cpu") == Range(21, 20, 500)
    assert results.median("s", "other", "cpu") is None


def test_one_wrong_answer_drops_all_samples_of_the_pair() -> None:
    """Figures of a system that answered wrongly are worth nothing; those of others stay."""
    results = Results([sample("s", "c"), sample("s", "d"), sample("t", "c")])
    results.drop("s", "c", "status 500")
    assert [(one.system, one.case) for one in results.samples] == [("s", "d"), ("t", "c")]
    assert results.why_missing("s", "c") == "status 500"


def verdicts(results: Results) -> dict[str, targets.Verdict]:
    """By what they are about."""
    return {f"{target.work} {target.target}": target.verdict(results) for target in targets.TARGETS}


def test_a_ratio_is_judged_by_medians() -> None:
    """At the bound is a pass, above it a miss, and what was not measured is not judged but explained."""
    at_bound = Results([sample("polyport", "direct", cpu=28), sample("envoy", "direct", cpu=40)])
    above = Results([sample("polyport", "direct", cpu=28.1), sample("envoy", "direct", cpu=40)])
    alone = Results([sample("polyport", "direct", cpu=28)])
    alone.missing["envoy", ""] = "no wheel for this machine"
    row = "direct call, CPU at most 0.7 x Envoy's"
    assert verdicts(at_bound)[row].outcome is Outcome.PASS
    assert verdicts(above)[row].outcome is Outcome.MISS
    assert verdicts(alone)[row].outcome is Outcome.OPEN
    assert verdicts(alone)[row].note == "envoy: no wheel for this machine"


def test_throughput_must_not_be_less() -> None:
    """For MB/s more is better."""
    slow = Results([sample("polyport", "6MB", throughput=790), sample("haproxy", "6MB", throughput=1000)])
    fast = Results([sample("polyport", "6MB", throughput=810), sample("haproxy", "6MB", throughput=1000)])
    row = "6 MB request body, MB/s at least 0.8 x HAProxy's"
    assert verdicts(slow)[row].outcome is Outcome.MISS
    assert verdicts(fast)[row].outcome is Outcome.PASS


def test_added_latency_is_a_difference() -> None:
    """What the container takes by itself is not Polyport's."""
    results = Results([sample("polyport", "latency", p50=0.15), sample("container", "latency", p50=0.06)])
    assert verdicts(results)["added latency at p50 below 0.10 ms"].outcome is Outcome.PASS


def test_workers_are_not_judged_without_cores_for_them() -> None:
    """Two workers, the client and the models need four cores; with fewer the figure is shown and not judged."""
    results = Results([sample("polyport", "workers", rate=100), sample("polyport-2", "workers", rate=120)])
    assert targets.scaling(2).verdict(results).outcome is Outcome.OPEN
    assert targets.scaling(2).verdict(results).figure.startswith("1.20 x")
    assert targets.scaling(4).verdict(results).outcome is Outcome.MISS


def a_report() -> report.Report:
    """Two systems on one case, one that is missing, one figure."""
    results = Results([sample("polyport", "direct", cpu=21.5), sample("polyport", "direct", cpu=22.5)])
    results.samples.append(sample("nginx", "direct", cpu=16))
    results.missing["envoy", ""] = "no wheel"
    results.figures["idle worker"] = 36.04
    judged = [target.verdict(results) for target in targets.TARGETS]
    return report.Report(results, CASES, {"polyport": "Polyport", "nginx": "nginx 1.2"}, judged, {"cores": "2"}, {})


def test_the_tables_say_what_was_measured_what_not_and_how_it_stands() -> None:
    """Medians with their range, the reason for what is missing, and a verdict a row."""
    out = io.StringIO()
    report.show(a_report(), Console(file=out, width=200))
    text = out.getvalue()
    assert "22.0 (21.5-22.5)" in text
    assert "nginx 1.2" in text
    assert "no wheel" in text
    assert "1.38 x (22.0 to 16.0)" in text
    assert "36.0 MB" in text


def test_the_json_holds_medians_and_ranges() -> None:
    """Programs get the same figures as people, with the range of each."""
    found = json.loads(json.dumps(a_report().as_json()))
    entry = next(one for one in found["results"] if one["system"] == "polyport")
    assert entry["cpu"] == {"median": 22.0, "least": 21.5, "most": 22.5}
    assert entry["rounds"] == 2
    assert {"work", "target", "figure", "outcome", "note"} == set(found["targets"][0])


def test_the_picture_is_xml_with_a_bar_for_each_measured_system() -> None:
    """What was not measured is left out, and names cannot break the markup."""
    made = a_report()
    picture = plot.draw(made.results, plot.PANELS, {"polyport": "Poly<port> & co"})
    root = ET.fromstring(picture)
    bars = root.findall("{http://www.w3.org/2000/svg}rect")
    assert len(bars) == 2
    assert "Poly<port> & co" in [text.text for text in root.iter("{http://www.w3.org/2000/svg}text")]
