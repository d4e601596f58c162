"""CloudWatch's metrics through an unmodified client, in each of the protocols that clients speak."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from api.harness import ACCOUNT, REGION, Plane, Wire, refusal
from polyport.domain.counts import Counts, InstanceCounts, Period, Tally

NOON = 1_700_006_400
PROTOCOLS = ("json", "query", "smithy-rpc-v2-cbor")


def moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.fixture(scope="session", params=PROTOCOLS)
def spoken(request: pytest.FixtureRequest, shared_wire: Wire) -> Any:
    """A client that speaks that protocol: botocore takes the first of those in the model that it prefers."""
    session = botocore.session.Session()
    session.set_credentials("AKIDEXAMPLE", "secret")
    loader = session.get_component("data_loader")

    def load(service: str, kind: str, api_version: str | None = None) -> Any:
        found = dict(original(service, kind, api_version))
        if service == "cloudwatch" and kind == "service-2":
            found["metadata"] = {**found["metadata"], "protocol": request.param, "protocols": [request.param]}
            if request.param == "query":
                del found["metadata"]["awsQueryCompatible"]
        return found

    original, loader.load_service_model = loader.load_service_model, load
    made = session.create_client(
        "cloudwatch", REGION, endpoint_url="http://127.0.0.1:1", config=Config(retries={"total_max_attempts": 1})
    )
    made.meta.events.register("before-send", shared_wire._send)
    return made


@pytest.fixture
def cloudwatch(spoken: Any, wire: Wire, plane: Plane) -> Iterator[Any]:
    plane.clock = lambda: NOON + 300.0
    return spoken


@pytest.fixture
def usual(wire: Wire, plane: Plane) -> Any:
    """As botocore is today."""
    plane.clock = lambda: NOON + 300.0
    return wire.client("cloudwatch")


def put(cloudwatch: Any, *values: float, name: str = "Latency", at: float = NOON, **more: Any) -> None:
    datum = {"MetricName": name, "Timestamp": moment(at), "Values": list(values), "Unit": "Milliseconds", **more}
    cloudwatch.put_metric_data(Namespace="Mine", MetricData=[datum])


def data(cloudwatch: Any, *queries: dict[str, Any], minutes: int = 3, **more: Any) -> dict[str, dict[int, float]]:
    answer = cloudwatch.get_metric_data(
        MetricDataQueries=list(queries), StartTime=moment(NOON), EndTime=moment(NOON + 60 * minutes), **more
    )
    return {
        one["Id"]: dict(zip((int(t.timestamp()) - NOON for t in one["Timestamps"]), one["Values"], strict=True))
        for one in answer["MetricDataResults"]
    }


def metric(id_: str, name: str = "Latency", stat: str = "Sum", period: int = 60, **more: Any) -> dict[str, Any]:
    named = {"Namespace": "Mine", "MetricName": name}
    return {"Id": id_, "MetricStat": {"Metric": named, "Period": period, "Stat": stat}, **more}


def test_what_is_put_is_listed_and_read(cloudwatch: Any) -> None:
    """The whole round trip, whatever the client speaks."""
    dimensions = [{"Name": "Color", "Value": "röd"}]
    put(cloudwatch, 1.0, 2.0, 9.0, Counts=[1, 2, 1], Dimensions=dimensions)
    put(cloudwatch, 5.5, at=NOON + 65, Dimensions=dimensions)
    listed = cloudwatch.list_metrics(Namespace="Mine", Dimensions=[{"Name": "Color"}])["Metrics"]
    assert listed == [{"Namespace": "Mine", "MetricName": "Latency", "Dimensions": dimensions}]
    answer = cloudwatch.get_metric_statistics(
        Namespace="Mine",
        MetricName="Latency",
        Dimensions=dimensions,
        StartTime=moment(NOON),
        EndTime=moment(NOON + 120),
        Period=60,
        Statistics=["SampleCount", "Sum", "Average", "Minimum", "Maximum"],
    )
    first, second = answer["Datapoints"]
    assert first == {
        "Timestamp": moment(NOON),
        "SampleCount": 4.0,
        "Sum": 14.0,
        "Average": 3.5,
        "Minimum": 1.0,
        "Maximum": 9.0,
        "Unit": "Milliseconds",
    }
    assert (second["Timestamp"], second["Sum"]) == (moment(NOON + 60), 5.5)


def test_data_is_reckoned_with(cloudwatch: Any) -> None:
    """Metric math over several series; what is not to be returned is not."""
    put(cloudwatch, 8.0, 2.0, name="Calls")
    put(cloudwatch, 1.0, name="Errors")
    put(cloudwatch, 4.0, name="Calls", at=NOON + 60)
    found = data(
        cloudwatch,
        metric("calls", "Calls", ReturnData=False),
        metric("errors", "Errors", ReturnData=False),
        {"Id": "rate", "Expression": "100 * FILL(errors, 0) / calls"},
    )
    assert found == {"rate": {0: 10.0, 60: 0.0}}


def test_errors_come_under_the_code_that_clients_know(cloudwatch: Any) -> None:
    """Whatever the protocol."""
    with pytest.raises(cloudwatch.exceptions.InvalidParameterValueException, match="Namespace"):
        cloudwatch.put_metric_data(Namespace="AWS/Mine", MetricData=[{"MetricName": "x", "Value": 1.0}])


def test_percentiles_are_told(usual: Any) -> None:
    """In both operations, within three percent."""
    put(usual, *(float(n) for n in range(1, 101)))
    answer = usual.get_metric_statistics(
        Namespace="Mine",
        MetricName="Latency",
        StartTime=moment(NOON),
        EndTime=moment(NOON + 60),
        Period=60,
        ExtendedStatistics=["p50", "p99.9"],
    )
    [point] = answer["Datapoints"]
    assert point["ExtendedStatistics"] == pytest.approx({"p50": 50, "p99.9": 100}, rel=0.035)
    found = data(usual, metric("a", stat="p90"), metric("b", stat="TM(10%:90%)"), metric("c", stat="PR(:50)"))
    assert found["a"][0] == pytest.approx(90, rel=0.035)
    assert found["b"][0] == pytest.approx(50.5, rel=0.06)
    assert found["c"][0] == pytest.approx(50, abs=3)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("a + b", {0: 30.0, 60: 5.0}),
        ("2 ^ 3 - -a / 2", {0: 13.0, 60: 9.0}),
        ("(a + b) * 2", {0: 60.0, 60: 10.0}),
        ("a / (b - 20)", {60: 2.0 / -17}),
        ("SUM(METRICS())", {0: 30.0, 60: 5.0}),
        ("MAX([a, b])", {0: 20.0, 60: 3.0}),
        ("AVG(a)", {0: 6.0, 60: 6.0, 120: 6.0}),
        ("IF(a > 5, b, 0)", {0: 20.0, 60: 0.0}),
        ("FILL(a, 7)", {0: 10.0, 60: 2.0, 120: 7.0}),
        ("FILL(a, REPEAT)", {0: 10.0, 60: 2.0, 120: 2.0}),
        ("RATE(a)", {60: -8 / 60}),
        ("RUNNING_SUM(a)", {0: 10.0, 60: 12.0}),
        ("a / PERIOD(a)", {0: 1 / 6, 60: 2 / 60}),
        ("a >= 10 AND b > 1", {0: 1.0, 60: 0.0}),
    ],
)
def test_metric_math(usual: Any, expression: str, expected: dict[int, float]) -> None:
    """What people commonly write. Where a series has no value, what is made of it has none."""
    for name, first, second in (("A", 10.0, 2.0), ("B", 20.0, 3.0)):
        put(usual, first, name=name)
        put(usual, second, name=name, at=NOON + 60)
    hidden = {"ReturnData": False}
    found = data(usual, metric("a", "A", **hidden), metric("b", "B", **hidden), {"Id": "e", "Expression": expression})
    assert found["e"] == pytest.approx(expected)


@pytest.mark.parametrize("expression", ["a +", "a b", "NOTHING(a)", "x", "(a", "'a'", "e"])
def test_an_expression_that_cannot_be_reckoned_is_refused(usual: Any, expression: str) -> None:
    """With a word on why."""
    queries = [metric("a", ReturnData=False), {"Id": "e", "Expression": expression}]
    said = refusal(
        usual.get_metric_data,
        "ValidationError",
        MetricDataQueries=queries,
        StartTime=moment(NOON),
        EndTime=moment(NOON + 60),
    )
    assert "expression" in said


def test_short_periods_are_kept_for_a_while(usual: Any) -> None:
    """Ten seconds, three hours long."""
    put(usual, 1.0)
    put(usual, 2.0, at=NOON + 31)
    assert data(usual, metric("a", period=10))["a"] == {0: 1.0, 30: 2.0}
    assert data(usual, metric("a", period=30), ScanBy="TimestampAscending")["a"] == {0: 1.0, 30: 2.0}


def test_pages_of_metrics_follow_each_other(usual: Any) -> None:
    """Five hundred each."""
    for start in (0, 500):
        named = [{"MetricName": f"m{n:04}", "Value": 1.0} for n in range(start, start + 500)]
        usual.put_metric_data(Namespace="Many", MetricData=named)
    usual.put_metric_data(Namespace="Many", MetricData=[{"MetricName": "z", "Value": 1.0}])
    pages = list(usual.get_paginator("list_metrics").paginate(Namespace="Many"))
    assert [len(page["Metrics"]) for page in pages] == [500, 500, 1]


@pytest.mark.parametrize(
    "datum",
    [
        {},
        {"Value": 1.0, "Values": [1.0]},
        {"Values": [1.0], "Counts": [1.0, 2.0]},
        {"Value": 1.0, "Timestamp": moment(NOON - 15 * 24 * 3600)},
        {"StatisticValues": {"SampleCount": 0, "Sum": 0, "Minimum": 0, "Maximum": 0}},
        {"Value": 1.0, "Dimensions": [{"Name": "a", "Value": "1"}, {"Name": "a", "Value": "2"}]},
    ],
)
def test_what_makes_no_sense_is_refused_whole(usual: Any, datum: dict[str, Any]) -> None:
    """Nothing of the request is kept."""
    good = {"MetricName": "good", "Value": 1.0}
    with pytest.raises(usual.exceptions.ClientError):
        usual.put_metric_data(Namespace="Mine", MetricData=[good, {"MetricName": "bad", **datum}])
    assert usual.list_metrics()["Metrics"] == []


def test_what_gateways_counted_is_there(usual: Any, plane: Plane) -> None:
    """By variant, container, instance and configuration."""
    tally = Tally(calls=4, server_errors=1, model_errors=1)
    for _ in range(4):
        tally.model.add(2000.0)
        tally.overhead.add(100.0)
    entry = InstanceCounts(ACCOUNT, REGION, "pair", "all", "i-1", "Direct", 2, tally, {"first": tally})
    counts = Counts("run", 1, (Period(NOON, (entry,)),))
    for _ in range(2):
        plane.run(plane.metrics.take(counts, lambda _: "config", NOON + 1.0))
    found = {
        (one["MetricName"], tuple(d["Name"] for d in one["Dimensions"]))
        for one in usual.list_metrics(Namespace="AWS/SageMaker")["Metrics"]
    }
    variant = ("EndpointName", "VariantName")
    assert ("ContainerLatency", ("ContainerName", *variant)) in found
    assert ("ModelLatency", variant) in found
    assert ("Invocations", ("EndpointConfigName", *variant)) in found
    assert ("ContainerLatency", variant) not in found

    def ask(name: str, stat: str) -> float:
        dimensions = [{"Name": "EndpointName", "Value": "pair"}, {"Name": "VariantName", "Value": "all"}]
        named = {"Namespace": "AWS/SageMaker", "MetricName": name, "Dimensions": dimensions}
        return data(usual, {"Id": "q", "MetricStat": {"Metric": named, "Period": 60, "Stat": stat}})["q"][0]

    assert ask("Invocations", "Sum") == 4
    assert ask("InvocationsPerInstance", "Sum") == 2
    assert ask("Invocation5XXErrors", "Average") == 0.25
    assert ask("ModelLatency", "p50") == pytest.approx(2000)
