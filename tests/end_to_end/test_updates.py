"""UpdateEndpoint under load, and updates that must not succeed."""

from support.calls import SteadyCaller
from support.server import Server, call, create_config, create_endpoint, wait_for, wait_for_status


def test_no_call_fails_while_an_endpoint_is_updated(server: Server) -> None:
    """The new fleet starts beside the old one, takes over in one step, and the old one finishes its calls first."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "blue", {"Image": "first:1"}, {"Image": "second:1"})
    create_config(server, "green", {"Image": "second:1"}, {"Image": "first:1"})
    wait_for_status(sagemaker, "blue", "InService")
    with SteadyCaller(lambda: call(runtime, "blue"), threads=3) as caller:
        for config in ("green", "blue", "green"):
            sagemaker.update_endpoint(EndpointName="blue", EndpointConfigName=config)
            described = wait_for_status(sagemaker, "blue", "InService")
            assert described["EndpointConfigName"] == config
    assert caller.failures == []
    assert {answer.split(b"|")[1].split(b",")[0] for answer in caller.answers} == {b"first", b"second"}
    assert call(runtime, "blue").startswith(b"x|second")


def test_a_long_call_on_the_old_fleet_is_finished(server: Server) -> None:
    """A target leaves the tables, drains, and only then is stopped."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    environment = {"SLEEP": "2", "MARK": "asleep"}
    create_endpoint(server, "slow", {"Image": "first:1", "Environment": environment}, mode="Single")
    create_config(server, "quick", {"Image": "second:1"}, mode="Single")
    wait_for_status(sagemaker, "slow", "InService")
    with SteadyCaller(lambda: call(runtime, "slow", b"sleep"), threads=1) as caller:
        marks = "run/instances/*/containers/*/work/asleep"
        wait_for(lambda: list(server.home.glob(marks)), "the call to have reached the container")
        sagemaker.update_endpoint(EndpointName="slow", EndpointConfigName="quick")
        wait_for_status(sagemaker, "slow", "InService")
    assert caller.failures == []
    assert caller.answers[0].startswith(b"sleep|first")


def test_an_update_that_does_not_get_healthy_leaves_the_old_fleet(server: Server) -> None:
    """RollingBack, then InService with the old configuration; the reason stays to be read; no call fails."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "good", {"Image": "first:1"}, {"Image": "second:1"})
    create_config(server, "bad", {"Image": "first:1"}, {"Image": "second:1", "Environment": {"EXIT": "3"}})
    wait_for_status(sagemaker, "good", "InService")
    with SteadyCaller(lambda: call(runtime, "good")) as caller:
        sagemaker.update_endpoint(EndpointName="good", EndpointConfigName="bad")
        pending = wait_for_status(sagemaker, "good", "Updating")["PendingDeploymentSummary"]
        assert pending["EndpointConfigName"] == "bad"
        described = wait_for_status(sagemaker, "good", "InService", deadline=60)
    assert caller.failures == []
    assert described["EndpointConfigName"] == "good"
    assert "exited with code 3" in described["FailureReason"]
    assert "PendingDeploymentSummary" not in described


def test_weights_and_counts_follow_an_update_of_them(server: Server) -> None:
    """UpdateEndpointWeightsAndCapacities starts what is missing, stops what is too many, and keeps the rest."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "sized", {"Image": "first:1"}, mode="Single")
    wait_for_status(sagemaker, "sized", "InService")
    with SteadyCaller(lambda: call(runtime, "sized")) as caller:
        for count in (3, 1):
            sagemaker.update_endpoint_weights_and_capacities(
                EndpointName="sized",
                DesiredWeightsAndCapacities=[
                    {"VariantName": "AllTraffic", "DesiredWeight": 5, "DesiredInstanceCount": count}
                ],
            )
            [variant] = wait_for_status(sagemaker, "sized", "InService")["ProductionVariants"]
            assert (variant["CurrentInstanceCount"], variant["CurrentWeight"]) == (count, 5)
            wait_for(lambda count=count: running_instances(server) == count, f"{count} instances to run")
    assert caller.failures == []


def running_instances(server: Server) -> int:
    return len(list((server.home / "run" / "instances").iterdir()))
