"""Alarms on what really happens: a real server, real containers, an unmodified client."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.calls import SteadyCaller
from support.hooks import Hook
from support.server import MODEL_SERVER, Server, call, create_config, create_endpoint, wait_for, wait_for_status

#: Healthy, and of no use.
BROKEN_SERVER = MODEL_SERVER.replace(
    "    def do_POST(self):", "    def do_POST(self):\n        return self.break_down()", 1
)
BROKEN_SERVER = BROKEN_SERVER.replace(
    "    def do_GET(self):",
    "    def break_down(self):\n"
    "        self.rfile.read(int(self.headers['Content-Length']))\n"
    "        self.answer(500, b'out of order')\n"
    "    def do_GET(self):",
    1,
)
TOPIC = "arn:aws:sns:us-east-1:123456789012:on-call"
CANARY = {
    "BlueGreenUpdatePolicy": {
        "TrafficRoutingConfiguration": {
            "Type": "CANARY",
            "CanarySize": {"Type": "INSTANCE_COUNT", "Value": 1},
            "WaitIntervalInSeconds": 3600,
        }
    },
    "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "broken"}]},
}


@pytest.fixture
def hook() -> Iterator[Hook]:
    made = Hook()
    yield made
    made.close()


def put_alarms(cloudwatch: Any) -> None:
    """One on errors of the endpoint in ten seconds, and one on that one, which updates watch."""
    cloudwatch.put_metric_alarm(
        AlarmName="errors",
        Namespace="AWS/SageMaker",
        MetricName="Invocation5XXErrors",
        Dimensions=[{"Name": "EndpointName", "Value": "safe"}, {"Name": "VariantName", "Value": "AllTraffic"}],
        Statistic="Sum",
        Period=10,
        EvaluationPeriods=1,
        Threshold=0.0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="notBreaching",
    )
    cloudwatch.put_composite_alarm(AlarmName="broken", AlarmRule="ALARM(errors)", AlarmActions=[TOPIC])


@pytest.mark.slow
def test_errors_of_the_new_container_roll_the_update_back(make_server: Callable[..., Server], hook: Hook) -> None:
    """Nobody sets anything by hand: the new container answers 500, the metric counts it, an alarm on the metric and one
    on the alarm fire, the operator is told, and the old container has all of the traffic again."""
    server = make_server()
    server.image("broken:1", server=BROKEN_SERVER)
    (server.home / "alarm-actions.toml").write_text(f'[on-call]\nurl = "{hook.url}/hidden"\n')
    server.start()
    sagemaker, runtime, cloudwatch = (server.client(name) for name in ("sagemaker", "sagemaker-runtime", "cloudwatch"))
    create_endpoint(server, "safe", {"Image": "first:1"}, mode="Single", InitialInstanceCount=2)
    create_config(server, "risky", {"Image": "broken:1"}, mode="Single", InitialInstanceCount=2)
    wait_for_status(sagemaker, "safe", "InService")
    put_alarms(cloudwatch)
    with SteadyCaller(lambda: call(runtime, "safe"), threads=1) as caller:
        wait_for(lambda: len(caller.answers) > 10, "calls before the update")
        assert caller.failures == []
        sagemaker.update_endpoint(EndpointName="safe", EndpointConfigName="risky", DeploymentConfig=CANARY)
        described = wait_for_status(sagemaker, "safe", "InService", deadline=60)
    assert described["EndpointConfigName"] == "safe"
    assert described["FailureReason"].startswith("The alarm broken was in ALARM while step 1 of 2")
    assert caller.failures, "the canary had its share of the calls"
    assert call(runtime, "safe").startswith(b"x|first")

    def history() -> list[str]:
        items = cloudwatch.describe_alarm_history(AlarmName="broken", HistoryItemType="Action")["AlarmHistoryItems"]
        return [one["HistorySummary"] for one in items]

    assert wait_for(history, "the action to be in the history") == [f"Successfully executed action {TOPIC}"]
    [(path, _, told)] = hook.requests
    assert (path, told["AlarmName"], told["NewStateValue"]) == ("/hidden", "broken", "ALARM")
    assert told["NewStateReason"] == "The rule is true: errors is in ALARM."
    assert f"action {TOPIC} done" in server.log()
    assert "/hidden" not in server.log()
