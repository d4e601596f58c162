"""Metrics of real calls through a real server, by an unmodified client."""

import contextlib
import itertools
import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import BotoCoreError, ClientError

from polyport.telemetry.metrics import families
from support.scraping import Samples, samples, scrape
from support.server import Server, call, create_endpoint, wait_for, wait_for_status

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/anything:1"
PATIENCE = 20.0


def total(cloudwatch: Any, name: str, stat: str = "Sum", **dimensions: str) -> float:
    """Over the last hour; 0 when there is nothing."""
    now = datetime.now(UTC)
    answer = cloudwatch.get_metric_statistics(
        Namespace="AWS/SageMaker",
        MetricName=name,
        Dimensions=[{"Name": key, "Value": value} for key, value in dimensions.items()],
        StartTime=now - timedelta(hours=1),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=[stat],
    )
    return sum(point[stat] for point in answer["Datapoints"])


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.1)


def control_process(server: Server) -> int:
    assert server.process
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"polyport.server.control" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("control does not run")


def answered(question: Callable[[], float], expected: float) -> bool:
    """Control may be away."""
    try:
        return question() == expected
    except (BotoCoreError, ClientError):
        return False


def test_every_call_is_counted_once(make_server: Callable[..., Server]) -> None:
    """Calls by a client, Invocations of the variant and of the containers are the same number; a worker that is told to
    end tells its last."""
    server = make_server(engine="fake", workers=2).start()
    containers = [{"Image": IMAGE, "ContainerHostname": name} for name in ("first", "second")]
    create_endpoint(server, "pair", *containers, mode="Direct")
    wait_for_status(server.client("sagemaker"), "pair", "InService")
    runtime, cloudwatch = server.client("sagemaker-runtime"), server.client("cloudwatch")
    for n in range(30):
        call(runtime, "pair", b"hello", TargetContainerHostname="first" if n % 3 else "second")
    variant = {"EndpointName": "pair", "VariantName": "AllTraffic"}
    until(lambda: total(cloudwatch, "Invocations", **variant) == 30)
    assert total(cloudwatch, "Invocations", **variant, ContainerName="first") == 20
    assert total(cloudwatch, "Invocations", **variant, ContainerName="second") == 10
    assert total(cloudwatch, "ModelLatency", "SampleCount", **variant) == 30
    assert total(cloudwatch, "InvocationModelErrors", **variant) == 0


def test_what_was_counted_while_control_was_away_is_not_lost(make_server: Callable[..., Server]) -> None:
    """Workers keep their counts until control says that it has them; what it had it does not count twice."""
    server = make_server(engine="fake", workers=1).start()
    create_endpoint(server, "one", {"Image": IMAGE}, mode="Single")
    wait_for_status(server.client("sagemaker"), "one", "InService")
    runtime, cloudwatch = server.client("sagemaker-runtime"), server.client("cloudwatch")
    variant = {"EndpointName": "one", "VariantName": "AllTraffic"}
    for _ in range(5):
        call(runtime, "one")
    until(lambda: total(cloudwatch, "Invocations", **variant) == 5)
    for _ in range(7):
        call(runtime, "one")
    before = control_process(server)
    os.kill(before, signal.SIGKILL)
    until(lambda: answered(lambda: total(cloudwatch, "Invocations", **variant), 12))


def latest(cloudwatch: Any, name: str, **dimensions: str) -> list[float]:
    """Values of the container's metric of the last hour by GetMetricData, in periods of ten seconds."""
    now = datetime.now(UTC)
    metric = {
        "Namespace": "/aws/sagemaker/Endpoints",
        "MetricName": name,
        "Dimensions": [{"Name": key, "Value": value} for key, value in dimensions.items()],
    }
    query = {"Id": "m", "MetricStat": {"Metric": metric, "Period": 10, "Stat": "Average"}}
    times = {"StartTime": now - timedelta(minutes=10), "EndTime": now + timedelta(minutes=1)}
    [found] = cloudwatch.get_metric_data(MetricDataQueries=[query], **times)["MetricDataResults"]
    return list(found["Values"])


@pytest.mark.slow
def test_what_real_containers_use_is_sampled(make_server: Callable[..., Server]) -> None:
    """The engine measures every ten seconds: CPU needs two looks, memory and disk one; per container and together."""
    server = make_server(workers=1, metrics_open="true").start()
    containers = [
        {"Image": "first:1", "ContainerHostname": "a"},
        {"Image": "second:1", "ContainerHostname": "b"},
    ]
    create_endpoint(server, "used", *containers, mode="Direct")
    wait_for_status(server.client("sagemaker"), "used", "InService")
    cloudwatch = server.client("cloudwatch")
    variant = {"EndpointName": "used", "VariantName": "AllTraffic"}
    for name in ("CPUUtilization", "MemoryUtilization"):
        for more in ({}, {"ContainerName": "a"}, {"ContainerName": "b"}):
            found = wait_for(lambda name=name, more=more: latest(cloudwatch, name, **variant, **more), name, 40)
            assert all(value >= 0 for value in found)
    assert 0 < latest(cloudwatch, "MemoryUtilization", **variant)[0] < 100
    assert 0 < latest(cloudwatch, "DiskUtilization", **variant)[0] <= 100
    scraped = samples(scrape(server.url))
    for name in ("a", "b"):
        labels = {"endpoint": "used", "variant": "AllTraffic", "container": name}
        assert scraped.value("polyport_container_memory_bytes", **labels) > 1_000_000
        assert scraped.value("polyport_container_cpu_seconds_total", **labels) > 0


def test_a_scraper_is_let_in_by_a_setting_and_to_nothing_else(make_server: Callable[..., Server]) -> None:
    """`metrics_open` on a server with keys: `GET /metrics` needs no signature, any other path still does."""
    server = make_server(engine="fake", workers=1, metrics_open="true")
    made = json.loads(server.command("key", "create", "--user", "alice", "--policy", "AdministratorAccess", "--json"))
    server.credentials = (made["key"], made["secret"])
    server.start()
    assert samples(scrape(server.url))["polyport_ready"]
    for path in ("/metrics/", "/metrics/x", "//metrics", "/endpoints/x/invocations"):
        status, body = ask(server.url + path)
        assert (status in {403, 404}, b"polyport_" in body) == (True, False), path
    target = {"X-Amz-Target": "GraniteServiceVersion20100801.ListMetrics", "Content-Type": "application/x-amz-json-1.0"}
    status, body = ask(server.url + "/", b"{}", **target)
    assert (status, b"MissingAuthenticationToken" in body) == (400, True)
    assert server.client("sagemaker").list_endpoints()["Endpoints"] == []


def test_gateways_and_the_reconciler_tell_of_themselves(make_server: Callable[..., Server]) -> None:
    """Every worker is there with its connections, its refusals and its table; so are endpoints and what steps cost.
    What is exported is in the table, with its type and its labels, and nearly all of the table is exported."""
    server = make_server(engine="fake", workers=2, metrics_open="true").start()
    create_endpoint(server, "one", {"Image": IMAGE}, mode="Single")
    wait_for_status(server.client("sagemaker"), "one", "InService")
    runtime = server.client("sagemaker-runtime")
    call(runtime, "one")
    with pytest.raises(ClientError, match="not found"):
        call(runtime, "two")

    def told() -> Samples | None:
        found = samples(scrape(server.url))
        is_told = len(found["polyport_gateway_connections"]) == 2 and found["polyport_gateway_refusals_total"]
        return found if is_told and found["polyport_container_invocations_total"] else None

    found = wait_for(told, "the workers to tell of themselves")
    assert sum(found["polyport_gateway_connections"]) >= 1
    assert found.value("polyport_gateway_refusals_total") == 1
    assert set(found["polyport_gateway_table_version"]) == set(found["polyport_table_version"])
    assert all(seconds > 0 for seconds in found["polyport_process_cpu_seconds_total"])
    assert found.value("polyport_process_memory_bytes", process="control") > 10_000_000
    assert found.value("polyport_endpoints", status="InService") == 1
    assert found.value("polyport_instances", phase="healthy") == 1
    assert found.value("polyport_reconciler_step_seconds_count") == found["polyport_reconciler_steps_total"][0] > 1
    assert 0 < found["polyport_disk_free_bytes"][0] <= found["polyport_disk_bytes"][0]
    known = {family.name: family for family in families.FAMILIES}
    assert {name: kind for name, kind in found.types.items() if known[name].kind != kind} == {}
    for name, labels, _ in found.all:
        family = known.get(name) or known[name.rpartition("_")[0]]
        assert labels.keys() - {"le"} == set(family.labels), name
    rare = {"capture", "pipeline", "container_cpu", "container_memory", "shadow", "alarm", "in_flight", "log_lines"}
    absent = [name for name in known.keys() - found.types.keys() if not any(part in name for part in rare)]
    assert absent == []


def ask(url: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
    """Without a signature: status and body."""
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


@pytest.mark.slow
def test_all_who_count_agree_to_the_last_call(make_server: Callable[..., Server]) -> None:
    """Calls that a client sent, lines of the access log, Prometheus' counters, and Invocations in CloudWatch: the same
    number for each container, errors of each kind too."""
    server = make_server(workers=2, access_log="access.jsonl", metrics_open="true").start()
    containers = [{"Image": f"{name}:1", "ContainerHostname": name} for name in ("first", "second")]
    create_endpoint(server, "pair", *containers, mode="Direct")
    wait_for_status(server.client("sagemaker"), "pair", "InService")
    sent = send_many(server, 600)
    of_container = Counter(name for name, _ in sent.elements())
    cloudwatch = server.client("cloudwatch")
    variant = {"EndpointName": "pair", "VariantName": "AllTraffic"}
    until(lambda: total(cloudwatch, "Invocations", **variant) == 600)
    for name in ("first", "second"):
        found = {
            metric: total(cloudwatch, metric, **variant, ContainerName=name)
            for metric in ("Invocations", "Invocation4XXErrors", "Invocation5XXErrors")
        }
        assert found == {
            "Invocations": of_container[name],
            "Invocation4XXErrors": sent[name, 404],
            "Invocation5XXErrors": sent[name, 503],
        }
        labels = {"endpoint": "pair", "container": name}
        scraped = samples(scrape(server.url))
        assert scraped.value("polyport_container_invocations_total", **labels) == of_container[name]
        assert scraped.value("polyport_container_invocation_4xx_errors_total", **labels) == sent[name, 404]
        assert scraped.value("polyport_container_invocation_5xx_errors_total", **labels) == sent[name, 503]
        assert scraped.value("polyport_container_latency_seconds_count", **labels) == of_container[name]
    assert total(cloudwatch, "InvocationModelErrors", **variant) == sum(n for (_, s), n in sent.items() if s != 200)
    log = server.home / "access.jsonl"
    until(lambda: len(log.read_text().splitlines()) == 600)
    lines = Counter((line["containers"][0], line["status"]) for line in map(json.loads, log.read_text().splitlines()))
    for name in ("first", "second"):
        # A caller is told 424 of whatever a container refuses.
        assert (lines[name, 200], lines[name, 424]) == (sent[name, 200], sent[name, 404] + sent[name, 503])


def send_many(server: Server, count: int) -> Counter[tuple[str, int]]:
    """Calls from several connections to both containers, some of which fail; how many were sent of each kind."""
    kinds = list(itertools.islice(itertools.cycle(itertools.product(("first", "second"), (200, 200, 404, 503))), count))
    waiting, lock = iter(kinds), threading.Lock()

    def run() -> None:
        runtime = server.client("sagemaker-runtime")
        while True:
            with lock:
                kind = next(waiting, None)
            if kind is None:
                return
            body = b"x" if kind[1] == 200 else f"status {kind[1]}".encode()
            with contextlib.suppress(ClientError):
                call(runtime, "pair", body, TargetContainerHostname=kind[0])

    threads = [threading.Thread(target=run) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Counter(kinds)
