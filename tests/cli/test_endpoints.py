"""`polyport endpoints` as an operator runs it, beside a running server and on the home of a stopped one."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest

from support.server import Server, create_config, create_endpoint, wait_for, wait_for_status, wait_until_gone

pytestmark = pytest.mark.slow


class Done(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def polyport(server: Server, *arguments: str) -> Done:
    """Runs `polyport endpoints ...` on the server's home."""
    done = subprocess.run(
        [sys.executable, "-m", "polyport", "endpoints", *arguments],
        env=os.environ | {"POLYPORT_HOME": str(server.home), "COLUMNS": "80"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)


def said(done: Done) -> str:
    """What a command that succeeded says it did."""
    assert done.status == 0, done
    assert done.err.count("\n") == 1
    return done.err.strip()


def refused(done: Done) -> str:
    """The one line of a refusal."""
    assert done.status == 2, done
    assert done.out == ""
    assert done.err.startswith("polyport: ")
    assert done.err.count("\n") == 1
    return done.err.removeprefix("polyport: ").strip()


def shown(server: Server, name: str) -> dict[str, Any]:
    """`show --json`."""
    done = polyport(server, "show", name, "--json")
    assert done.status == 0, done
    found: dict[str, Any] = json.loads(done.out)
    return found


@pytest.fixture
def fake(make_server: Callable[..., Server]) -> Server:
    """A server whose containers are always well."""
    return make_server(engine="fake").start()


def test_a_restart_replaces_the_instances_and_says_so(fake: Server) -> None:
    """Four instances, batch by batch; DescribeEndpoint shows an update to the same configuration."""
    create_endpoint(fake, "web", {"Image": "any:1"}, mode="Single", InitialInstanceCount=4)
    sagemaker = fake.client("sagemaker")
    wait_for_status(sagemaker, "web", "InService")
    before = {row["id"] for row in shown(fake, "web")["instances"]}
    text = said(polyport(fake, "restart", "web", "--batch", "50"))
    assert text == "Endpoint web is restarted: 4 instance(s) are replaced, 50 % of each variant at a time."
    wait_for(lambda: not before & {row["id"] for row in shown(fake, "web")["instances"]}, "new instances")
    described = wait_for_status(sagemaker, "web", "InService")
    assert described["EndpointConfigName"] == "web"
    assert "FailureReason" not in described
    assert "LastDeploymentConfig" not in described
    assert len(shown(fake, "web")["instances"]) == 4


def test_endpoints_are_listed_and_shown(fake: Server) -> None:
    """As a table for people and as JSON for programs; nothing of it is cut off in a pipe."""
    create_endpoint(fake, "web", {"Image": "any:1"}, mode="Single", InitialInstanceCount=2)
    wait_for_status(fake.client("sagemaker"), "web", "InService")
    lines = polyport(fake, "list").out.splitlines()
    assert lines[0].split() == ["Endpoint", "Status", "Since", "Configuration", "Instances", "Region", "Account"]
    assert [line.split()[:2] for line in lines[1:]] == [["web", "InService"]]
    [listed] = json.loads(polyport(fake, "list", "--json").out)
    assert listed["endpoint"] == "web"
    assert listed["instances"] == 2
    lines = polyport(fake, "show", "web").out.splitlines()
    assert "status: InService" in lines
    assert "configuration: web" in lines
    assert sum(line.startswith("i-") for line in lines) == 2
    assert [row["part"] for row in shown(fake, "web")["instances"]] == ["active", "active"]


def test_a_create_that_does_not_get_healthy_is_cancelled(server: Server) -> None:
    """It becomes Failed with the reason, within seconds instead of after the start-up time-out."""
    create_endpoint(server, "deaf", {"Image": "first:1", "Environment": {"DEAF": "1"}}, mode="Single")
    assert refused(polyport(server, "restart", "deaf")) == (
        "Endpoint deaf is Creating: wait for the end of that, or cancel it."
    )
    text = said(polyport(server, "cancel", "deaf"))
    assert text == "Endpoint deaf is no longer created: it becomes Failed, and can be deleted then."
    described = wait_for_status(server.client("sagemaker"), "deaf", "Failed")
    assert described["FailureReason"] == "Cancelled by polyport endpoints cancel."
    assert refused(polyport(server, "cancel", "deaf")) == "Endpoint deaf is Failed: nothing is in progress."


def test_an_update_that_does_not_get_healthy_is_cancelled(server: Server) -> None:
    """It is rolled back to the configuration that serves."""
    sagemaker = server.client("sagemaker")
    create_endpoint(server, "good", {"Image": "first:1"}, mode="Single")
    create_config(server, "deaf", {"Image": "first:1", "Environment": {"DEAF": "1"}}, mode="Single")
    wait_for_status(sagemaker, "good", "InService")
    assert refused(polyport(server, "cancel", "good")) == "Endpoint good is InService: nothing is in progress."
    sagemaker.update_endpoint(EndpointName="good", EndpointConfigName="deaf")
    wait_for(lambda: {"new"} & {row["part"] for row in shown(server, "good")["instances"]}, "a new instance")
    [step] = shown(server, "good")["steps"]
    assert step.startswith("update to deaf, ALL_AT_ONCE: step 0 of 1, launching since ")
    assert said(polyport(server, "cancel", "good")) == "The update of endpoint good is rolled back to good."
    described = wait_for_status(sagemaker, "good", "InService")
    assert described["EndpointConfigName"] == "good"
    assert described["FailureReason"] == "Cancelled by polyport endpoints cancel."


def test_an_endpoint_is_deleted_in_any_status(server: Server) -> None:
    """With --force; without it as SageMaker does, saying that there is a way."""
    create_endpoint(server, "deaf", {"Image": "first:1", "Environment": {"DEAF": "1"}}, mode="Single")
    assert refused(polyport(server, "delete", "deaf")) == (
        "Endpoint deaf is Creating: wait for the end of that, cancel it, or use --force."
    )
    text = said(polyport(server, "delete", "deaf", "--force"))
    assert text == "Endpoint deaf, which was Creating, is being deleted."
    wait_until_gone(server.client("sagemaker"), "deaf")
    assert list(server.home.glob("run/instances/i-*")) == []


@pytest.mark.parametrize("command", ["show", "restart", "cancel", "delete"])
def test_a_name_that_is_none_is_told_in_one_line(fake: Server, command: str) -> None:
    """With where it was looked for, and what helps."""
    assert refused(polyport(fake, command, "wbe")) == (
        "There is no endpoint wbe of account 123456789012 in us-east-1. See polyport endpoints list."
    )
    assert "in eu-west-1." in refused(polyport(fake, command, "wbe", "--region", "eu-west-1"))


def test_what_is_asked_of_a_stopped_server_is_done_when_it_runs_again(make_server: Callable[..., Server]) -> None:
    """The row holds it; the command says that nobody acts on it yet."""
    server = make_server(engine="fake").start()
    create_endpoint(server, "web", {"Image": "any:1"}, mode="Single")
    wait_for_status(server.client("sagemaker"), "web", "InService")
    server.stop()
    text = said(polyport(server, "delete", "web"))
    assert text.endswith("is being deleted. No server runs on this home: it is done once one does.")
    assert said(polyport(server, "delete", "web")).startswith("Endpoint web is being deleted already.")
    server.start()
    wait_until_gone(server.client("sagemaker"), "web")
