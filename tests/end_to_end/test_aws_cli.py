"""The AWS CLI as users have it, against a real server: nothing about it is changed but the endpoint's URL."""

import json
import re
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from support.awscli import AwsCli
from support.server import MODEL_SERVER, Server, wait_for

#: Prints what it is asked.
PRINTER = MODEL_SERVER.replace(
    '        if body == b"sleep":', '        print("asked", body.decode(), flush=True)\n        if body == b"sleep":', 1
)

GROUP = "/aws/sagemaker/Endpoints/shop"


@pytest.fixture
def aws(make_server: Callable[..., Server], tmp_path: Path) -> AwsCli:
    """For a server with an endpoint `shop` of two containers that are called by name, made by the CLI itself."""
    server = make_server()
    server.image("printer:1", server=PRINTER)
    server.start()
    home = tmp_path / "user"
    home.mkdir()
    aws = AwsCli(server, home)
    containers = [{"ContainerHostname": name, "Image": "printer:1"} for name in ("scale", "score")]
    aws.run(
        *("sagemaker", "create-model", "--model-name", "shop", "--containers", json.dumps(containers)),
        *("--inference-execution-config", "Mode=Direct"),
        *("--execution-role-arn", "arn:aws:iam::123456789012:role/hosting"),
    )
    variant = "VariantName=AllTraffic,ModelName=shop,InstanceType=ml.m5.large,InitialInstanceCount=1"
    aws.run(
        *("sagemaker", "create-endpoint-config", "--endpoint-config-name", "shop", "--production-variants", variant)
    )
    aws.run("sagemaker", "create-endpoint", "--endpoint-name", "shop", "--endpoint-config-name", "shop")
    aws.run("sagemaker", "wait", "endpoint-in-service", "--endpoint-name", "shop", deadline=120)
    return aws


def invoke(aws: AwsCli, target: str, body: str, out: Path) -> str:
    aws.run(
        *("sagemaker-runtime", "invoke-endpoint", "--endpoint-name", "shop", "--target-container-hostname", target),
        *("--content-type", "text/csv", "--cli-binary-format", "raw-in-base64-out", "--body", body, str(out)),
    )
    return out.read_text()


@pytest.mark.slow
def test_an_endpoint_from_its_creation_to_its_end(aws: AwsCli, tmp_path: Path) -> None:
    """Rule: `wait endpoint-in-service`, calls by name, `logs tail`, `cloudwatch get-metric-data` and
    `wait endpoint-deleted` work as they do at AWS."""
    assert invoke(aws, "score", "1,2", tmp_path / "answer").startswith("1,2|")
    assert invoke(aws, "scale", "3,4", tmp_path / "answer").startswith("3,4|")
    told = aws.run("sagemaker", "describe-endpoint", "--endpoint-name", "shop", "--query", "EndpointStatus")
    assert json.loads(told) == "InService"

    def tailed() -> list[str]:
        return aws.run("logs", "tail", GROUP, "--since", "1h", "--filter-pattern", "asked").splitlines()

    lines = wait_for(lambda: (found := tailed()) and len(found) == 2 and found, "both lines in the logs", 60)
    instance = r"i-[0-9a-f]{17}"
    for line, (container, body) in zip(lines, (("score", "1,2"), ("scale", "3,4")), strict=True):
        assert re.fullmatch(rf"\d{{4}}-\d\d-\d\dT\S+ AllTraffic/{instance}/{container} asked {body}", line), line
    streams = aws.run(
        "logs", "describe-log-streams", "--log-group-name", GROUP, "--query", "logStreams[].logStreamName"
    )
    assert [name.rpartition("/")[2] for name in json.loads(streams)] == ["scale", "score"]

    def counted() -> float:
        now = datetime.now(UTC)
        queries = [
            {
                "Id": name,
                "MetricStat": {
                    "Metric": {
                        "Namespace": "AWS/SageMaker",
                        "MetricName": "Invocations",
                        "Dimensions": [
                            {"Name": "EndpointName", "Value": "shop"},
                            {"Name": "VariantName", "Value": "AllTraffic"},
                            {"Name": "ContainerName", "Value": name},
                        ],
                    },
                    "Period": 60,
                    "Stat": "Sum",
                },
                "ReturnData": False,
            }
            for name in ("scale", "score")
        ]
        queries.append({"Id": "both", "Expression": "FILL(scale, 0) + FILL(score, 0)"})
        answer = aws.run(
            *("cloudwatch", "get-metric-data", "--metric-data-queries", json.dumps(queries)),
            *("--start-time", (now - timedelta(minutes=10)).isoformat()),
            *("--end-time", (now + timedelta(minutes=1)).isoformat()),
        )
        [result] = json.loads(answer)["MetricDataResults"]
        assert result["Id"] == "both"
        return sum(result["Values"])

    wait_for(lambda: counted() == 2, "both calls in Invocations", 60)
    aws.run("sagemaker", "delete-endpoint", "--endpoint-name", "shop")
    aws.run("sagemaker", "wait", "endpoint-deleted", "--endpoint-name", "shop", deadline=120)
    assert json.loads(aws.run("sagemaker", "list-endpoints"))["Endpoints"] == []


@pytest.mark.slow
def test_a_tail_that_follows_shows_what_is_printed_from_now_on(aws: AwsCli, tmp_path: Path) -> None:
    """Rule: `aws logs tail --follow` goes on until it is interrupted, and shows each line once."""
    with (tmp_path / "tail").open("w") as out:
        tail = subprocess.Popen(aws.command("logs", "tail", GROUP, "--follow"), env=aws.environ, stdout=out)
    try:

        def shown(text: str) -> list[str]:
            return [line for line in (tmp_path / "tail").read_text().splitlines() if line.endswith(text)]

        wait_for(lambda: shown("starts as ['serve']"), "the containers' first lines", 60)
        invoke(aws, "score", "first", tmp_path / "answer")
        wait_for(lambda: shown("asked first"), "the first call's line", 60)
        invoke(aws, "scale", "second", tmp_path / "answer")
        wait_for(lambda: shown("asked second"), "the second call's line", 60)
        assert tail.poll() is None
        assert len(shown("asked first")) == len(shown("asked second")) == 1
    finally:
        tail.send_signal(signal.SIGINT)
        tail.wait(30)


@pytest.mark.slow
def test_alarms_by_the_cli(aws: AwsCli) -> None:
    """Rule: an alarm is made, waited for, set, read with its history, and deleted."""
    dimensions = ["Name=EndpointName,Value=shop", "Name=VariantName,Value=AllTraffic"]
    aws.run(
        *("cloudwatch", "put-metric-alarm", "--alarm-name", "errors", "--namespace", "AWS/SageMaker"),
        *("--metric-name", "Invocation5XXErrors", "--statistic", "Sum", "--period", "60", "--threshold", "1"),
        *("--comparison-operator", "GreaterThanOrEqualToThreshold", "--evaluation-periods", "1"),
        *("--treat-missing-data", "notBreaching", "--dimensions", *dimensions),
    )
    aws.run("cloudwatch", "wait", "alarm-exists", "--alarm-names", "errors")
    aws.run(
        *("cloudwatch", "set-alarm-state", "--alarm-name", "errors", "--state-value", "ALARM"),
        *("--state-reason", "a rehearsal"),
    )
    history = aws.run("cloudwatch", "describe-alarm-history", "--alarm-name", "errors", "--query", "AlarmHistoryItems")
    assert "StateUpdate" in {item["HistoryItemType"] for item in json.loads(history)}
    aws.run("cloudwatch", "delete-alarms", "--alarm-names", "errors")
    left = aws.run("cloudwatch", "describe-alarms", "--query", "MetricAlarms")
    assert json.loads(left) == []
