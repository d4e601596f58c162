"""Updates in steps, alarms and new weights, with boto3 against a running server and real processes."""

from collections.abc import Callable
from typing import Any

import pytest

from support.calls import SteadyCaller
from support.server import Server, call, create_config, create_endpoint, wait_for, wait_for_status

ONE = {"Type": "INSTANCE_COUNT", "Value": 1}


def shift(kind: str, wait: int = 0, termination: int = 0, **size: Any) -> dict[str, Any]:
    """A blue/green ``DeploymentConfig``."""
    routing = {"Type": kind, "WaitIntervalInSeconds": wait, **size}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, "TerminationWaitInSeconds": termination}}


CANARY = shift("CANARY", wait=1, termination=1, CanarySize=ONE)
LINEAR = shift("LINEAR", wait=1, LinearStepSize=ONE)
ROLLING = {"RollingUpdatePolicy": {"MaximumBatchSize": ONE, "WaitIntervalInSeconds": 1}}
WATCHED = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors-high"}]}}


def baking(sagemaker: Any, name: str) -> Callable[[], str]:
    """Asks for the message of the new variant's bake; empty when it does not bake."""

    def ask() -> str:
        described = sagemaker.describe_endpoint(EndpointName=name)
        [new] = described.get("PendingDeploymentSummary", {}).get("ProductionVariants", [{}])
        messages = [each["StatusMessage"] for each in new.get("VariantStatus", []) if each["Status"] == "Baking"]
        return "".join(messages)

    return ask


def model_of(answer: bytes) -> bytes:
    """Which model gave the answer."""
    return answer.split(b"|")[1].split(b",")[0]


@pytest.mark.slow
@pytest.mark.parametrize("config", [CANARY, LINEAR, ROLLING], ids=["canary", "linear", "rolling"])
def test_no_call_fails_while_an_update_goes_in_steps(server: Server, config: dict[str, Any]) -> None:
    """Two updates, there and back, of two instances under constant load; the second retains the strategy."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "old", {"Image": "first:1"}, mode="Single", InitialInstanceCount=2)
    create_config(server, "new", {"Image": "second:1"}, mode="Single", InitialInstanceCount=2)
    wait_for_status(sagemaker, "old", "InService")
    with SteadyCaller(lambda: call(runtime, "old"), threads=3) as caller:
        sagemaker.update_endpoint(EndpointName="old", EndpointConfigName="new", DeploymentConfig=config)
        assert wait_for_status(sagemaker, "old", "InService", deadline=60)["EndpointConfigName"] == "new"
        between = len(caller.answers)
        wait_for(lambda: len(caller.answers) > between + 20, "calls to be answered by the new fleet alone")
        sagemaker.update_endpoint(EndpointName="old", EndpointConfigName="old", RetainDeploymentConfig=True)
        described = wait_for_status(sagemaker, "old", "InService", deadline=60)
    assert caller.failures == []
    assert {model_of(answer) for answer in caller.answers[between + 10 : between + 20]} == {b"second"}
    assert model_of(call(runtime, "old")) == b"first"
    assert described["EndpointConfigName"] == "old"
    assert described["LastDeploymentConfig"] == config


def test_an_alarm_set_by_hand_rolls_a_canary_back(server: Server) -> None:
    """`polyport alarm set` on the home of the running server: nobody else is told. The old fleet takes all again, and
    whoever looks sees the alarm's name."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "safe", {"Image": "first:1"}, mode="Single")
    create_config(server, "risky", {"Image": "second:1"}, mode="Single")
    wait_for_status(sagemaker, "safe", "InService")
    server.command("alarm", "set", "errors-high", "OK")
    config = shift("CANARY", wait=3600, CanarySize=ONE) | WATCHED
    with SteadyCaller(lambda: call(runtime, "safe")) as caller:
        sagemaker.update_endpoint(EndpointName="safe", EndpointConfigName="risky", DeploymentConfig=config)
        message = wait_for(baking(sagemaker, "safe"), "the canary to bake")
        server.command("alarm", "set", "errors-high", "ALARM")
        described = wait_for_status(sagemaker, "safe", "InService")
        seen = len(caller.answers)
        wait_for(lambda: len(caller.answers) > seen + 20, "calls after the way back")
    assert caller.failures == []
    assert message.startswith("Baking for 3600 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity")
    assert message.endswith("Watching alarms: errors-high.")
    assert described["EndpointConfigName"] == "safe"
    assert described["FailureReason"] == "The alarm errors-high was in ALARM while step 1 of 2 of the update baked."
    assert {model_of(answer) for answer in caller.answers[seen + 10 :]} == {b"first"}
    # The alarm is over: the same update goes through.
    server.command("alarm", "set", "errors-high", "OK")
    quick = shift("CANARY", CanarySize=ONE) | WATCHED
    sagemaker.update_endpoint(EndpointName="safe", EndpointConfigName="risky", DeploymentConfig=quick)
    described = wait_for_status(sagemaker, "safe", "InService")
    assert described["EndpointConfigName"] == "risky"
    assert "FailureReason" not in described
    assert model_of(call(runtime, "safe")) == b"second"


def test_variants_and_counts_change_in_one_update(server: Server) -> None:
    """One variant grows, one goes, one comes; no call fails, and what names a variant that stays is served by it."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    several_variants(server, "before", stays=("first:1", 1, 1.0), goes=("first:1", 1, 1.0))
    several_variants(server, "after", stays=("second:1", 2, 1.0), comes=("second:1", 1, 3.0))
    sagemaker.create_endpoint(EndpointName="shop", EndpointConfigName="before")
    wait_for_status(sagemaker, "shop", "InService")
    with (
        SteadyCaller(lambda: call(runtime, "shop"), threads=2) as anybody,
        SteadyCaller(lambda: call(runtime, "shop", TargetVariant="stays"), threads=1) as named,
    ):
        policy = {"RollingUpdatePolicy": {"MaximumBatchSize": ONE, "WaitIntervalInSeconds": 0}}
        sagemaker.update_endpoint(EndpointName="shop", EndpointConfigName="after", DeploymentConfig=policy)
        described = wait_for_status(sagemaker, "shop", "InService", deadline=60)
    assert anybody.failures == []
    assert named.failures == []
    shown = [(each["VariantName"], each["CurrentInstanceCount"]) for each in described["ProductionVariants"]]
    assert shown == [("stays", 2), ("comes", 1)]
    assert model_of(call(runtime, "shop", TargetVariant="comes")) == b"second"


def test_traffic_follows_new_weights(server: Server) -> None:
    """Weights are in force before the status is InService again; nothing is started, nothing stopped."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    several_variants(server, "split", A=("first:1", 1, 1.0), B=("second:1", 1, 0.0))
    sagemaker.create_endpoint(EndpointName="split", EndpointConfigName="split")
    wait_for_status(sagemaker, "split", "InService")
    assert {model_of(call(runtime, "split")) for _ in range(20)} == {b"first"}
    before = sorted(path.name for path in (server.home / "run" / "instances").iterdir())
    with SteadyCaller(lambda: call(runtime, "split")) as caller:
        weights = [{"VariantName": "A", "DesiredWeight": 0.0}, {"VariantName": "B", "DesiredWeight": 1.0}]
        sagemaker.update_endpoint_weights_and_capacities(EndpointName="split", DesiredWeightsAndCapacities=weights)
        described = wait_for_status(sagemaker, "split", "InService")
        after = {model_of(call(runtime, "split")) for _ in range(20)}
    assert caller.failures == []
    assert after == {b"second"}
    shown = {each["VariantName"]: each["CurrentWeight"] for each in described["ProductionVariants"]}
    assert shown == {"A": 0.0, "B": 1.0}
    assert sorted(path.name for path in (server.home / "run" / "instances").iterdir()) == before


def several_variants(server: Server, name: str, **variants: tuple[str, int, float]) -> None:
    """A configuration of variants, each an image, a count and a weight."""
    sagemaker = server.client("sagemaker")
    members = []
    for variant, (image, count, weight) in variants.items():
        sagemaker.create_model(ModelName=f"{name}-{variant}", PrimaryContainer={"Image": image})
        settings = {"InstanceType": "ml.m5.large", "InitialInstanceCount": count, "InitialVariantWeight": weight}
        members.append({"VariantName": variant, "ModelName": f"{name}-{variant}", **settings})
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=members)
