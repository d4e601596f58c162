"""From CreateModel to DescribeEndpoint on the docker engine: what users see of images, on a real server and Podman."""

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from polyport.images.records import BIND_LABEL
from support import daemons
from support import server as support
from support.distribution import Registry
from support.server import Server

pytestmark = pytest.mark.slow


@pytest.fixture
def server(daemon: daemons.Daemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """On the docker engine, with a home of its own for credentials."""
    monkeypatch.setenv("HOME", str(tmp_path))
    home = tmp_path / "home"
    home.mkdir()
    running = Server(home, engine="docker", docker_host=daemon.url, stop_timeout=2).start()
    yield running
    assert running.stop() == 0


def failure_of(server: Server, image: str) -> str:
    """The `FailureReason` of an endpoint with that image."""
    name = f"e-{secrets.token_hex(4)}"
    support.create_endpoint(server, name, {"Image": image}, mode="Single")
    sagemaker = server.client("sagemaker")
    reason = str(support.wait_for_status(sagemaker, name, "Failed", deadline=60)["FailureReason"])
    sagemaker.delete_endpoint(EndpointName=name)
    return reason


def test_every_trouble_with_an_image_has_a_reason_of_its_own(
    server: Server, registry: Registry, tmp_path: Path
) -> None:
    """Rule: `FailureReason` says what to do about it."""
    registry.store.add("e2e/foreign", "1", architecture="s390x")
    assert "was not found" in failure_of(server, f"{registry.host}/e2e/none:1")
    assert "is for linux/s390x" in failure_of(server, f"{registry.host}/e2e/foreign:1")
    assert "could not be reached" in failure_of(server, "127.0.0.1:1/e2e/none:1")
    registry.store.auth = "basic"
    secret = base64.b64encode(b"somebody:wr0ng-word").decode()
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))
    assert "was denied" in failure_of(server, f"{registry.host}/e2e/none:1")
    assert "wr0ng-word" not in server.log()
    assert secret not in server.log()


def test_create_model_refuses_what_can_be_no_image(server: Server) -> None:
    """At once, with SageMaker's words before ours; what could be pulled is left to the deployment."""
    sagemaker = server.client("sagemaker")
    with pytest.raises(ClientError, match=r'ECR image "Not/A/Name" is invalid\. .* is not an image name'):
        sagemaker.create_model(ModelName="odd", PrimaryContainer={"Image": "Not/A/Name"})
    sagemaker.create_model(ModelName="later", PrimaryContainer={"Image": "127.0.0.1:1/some/where:1"})


def test_a_pull_shows_in_the_variants_status(server: Server, registry: Registry) -> None:
    """An image of gigabytes takes minutes; DescribeEndpoint says how far it is."""
    registry.store.add("e2e/slow", "1", size=4_000_000)
    registry.store.pause = 0.1
    support.create_endpoint(server, "slow", {"Image": f"{registry.host}/e2e/slow:1"}, mode="Single")
    sagemaker = server.client("sagemaker")

    def message() -> str:
        [variant] = sagemaker.describe_endpoint(EndpointName="slow")["ProductionVariants"]
        return "".join(status["StatusMessage"] for status in variant.get("VariantStatus", []))

    text = support.wait_for(lambda: "of 4.0 MB" in (found := message()) and found, "progress")
    assert text.startswith(f"Launching 1 instance(s). Pulling {registry.host}/e2e/slow:1: ")


def test_what_was_deployed_stays_what_it_was(server: Server, daemon: daemons.Daemon, registry: Registry) -> None:
    """Rule: a digest is resolved once per deployment. A tag that moves is taken by the next update alone."""

    def build(word: str) -> str:
        script = support.MODEL_SERVER.replace('"127.0.0.1"', '""')
        return daemon.make_image(f"moving-{registry.host.rpartition(':')[2]}:1", f"# {word}\n{script}")

    def deployed() -> dict[str, Any]:
        [variant] = sagemaker.describe_endpoint(EndpointName="moving")["ProductionVariants"]
        found: dict[str, Any] = variant["DeployedImages"][0]
        return found

    name = build("one")
    sagemaker = server.client("sagemaker")
    support.create_endpoint(server, "moving", {"Image": name, "Environment": {"NAME": "m"}}, mode="Single")
    support.wait_for_status(sagemaker, "moving", "InService", deadline=60)
    first = deployed()
    assert first["SpecifiedImage"] == name
    # Docker gives an image a digest once it was in a registry; before that it is known by its id.
    repository = "" if daemon.kind == "docker" else f"{name.rpartition(':')[0]}@"
    assert first["ResolvedImage"].startswith(f"{repository}sha256:")
    assert support.call(server.client("sagemaker-runtime"), "moving").startswith(b"x|m,")
    build("two")
    server.stop()
    server.start()
    support.wait_for_status(sagemaker, "moving", "InService", deadline=60)
    assert deployed() == first
    sagemaker.update_endpoint(EndpointName="moving", EndpointConfigName="moving")
    support.wait_for_status(sagemaker, "moving", "InService", deadline=60)
    assert deployed()["ResolvedImage"] != first["ResolvedImage"]
    refused = image_command(server, "rm", name, "--force", check=False)
    assert "was not built by Polyport" in refused.stderr
    sagemaker.delete_endpoint(EndpointName="moving")
    support.wait_until_gone(sagemaker, "moving", deadline=60)


def image_command(server: Server, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "polyport", "image", *words, "--engine", "docker", "--home", str(server.home)],
        env=os.environ | {"POLYPORT_DOCKER_HOST": str(server.settings["docker_host"])},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0 or not check, done.stderr
    assert "Traceback" not in done.stderr
    return done


def test_the_image_commands_work_on_the_daemon(server: Server, registry: Registry, tmp_path: Path) -> None:
    """Pull with progress and warnings, alias, build, list, remove; what is wrong is one line."""
    registry.store.add("cli/model", "1", size=3_000_000, ExposedPorts={"8080/tcp": {}})
    registry.store.pause = 0.05
    name = f"{registry.host}/cli/model:1"
    pulled = image_command(server, "pull", name)
    assert pulled.stdout.startswith(f"{name}  sha256:")
    assert f"Pulling {name}: " in pulled.stderr
    assert "Warning: " in pulled.stderr
    image_command(server, "alias", "cli-model:*", name)
    assert image_command(server, "alias", "--list").stdout == f"cli-model:*\t{name}\n"
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "Dockerfile").write_text(f"FROM {name}\nLABEL {BIND_LABEL}=true\n")
    mine = f"localhost/polyport-test/cli-{registry.host.rpartition(':')[2]}:1"
    built = image_command(server, "build", str(tmp_path / "own"), "--tag", mine)
    assert built.stdout.startswith(f"{mine}  sha256:")
    assert "Warning" not in built.stderr
    listed = {each["name"]: each for each in json.loads(image_command(server, "ls", "--json").stdout)}
    assert listed[name]["aliases"] == ["cli-model:*"]
    assert listed[mine]["labels"][BIND_LABEL] == "true"
    assert "is what 'cli-model:*' stands for" in image_command(server, "rm", name, check=False).stderr
    image_command(server, "rm", mine)
    image_command(server, "rm", name, "--force")
    left = [each["name"] for each in json.loads(image_command(server, "ls", "--json").stdout)]
    assert not {name, mine} & set(left)
    missing = image_command(server, "pull", f"{registry.host}/cli/none:1", check=False)
    assert missing.returncode == 2
    assert missing.stderr.splitlines()[-1].startswith("polyport: Image ")
