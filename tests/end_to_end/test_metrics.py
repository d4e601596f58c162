"""Metrics of real calls through a real server, by an unmodified client."""

import os
import signal
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from support.server import Server, call, create_endpoint, wait_for_status

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
