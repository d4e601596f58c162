"""One script over every engine: the same statuses, headers and bodies, byte for byte; and what only real containers can
show through a whole server."""

import http.client
import json
import os
import re
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import daemons
from support.calls import SteadyCaller
from support.server import (
    MODEL_SERVER,
    Server,
    call,
    create_config,
    create_endpoint,
    wait_for,
    wait_for_status,
    wait_until_gone,
)

pytestmark = pytest.mark.slow
FIRST, SECOND = "localhost/polyport-test/alike-first:1", "localhost/polyport-test/alike-second:1"
#: Differ from call to call, whatever the engine.
_VOLATILE = {"date", "x-amzn-requestid", "server-timing"}
#: Of an endpoint's description: times, and what an image's name stood for.
_MOMENTS = re.compile(r'"(\w*Time|ResolvedImage|startTime)": ?("[^"]*"|[0-9.]+)')

Answer = tuple[int, list[tuple[str, str]], bytes]


@pytest.fixture
def docker_server(daemon: daemons.Daemon, tmp_path: Path) -> Iterator[Server]:
    """A server with the docker engine, whose daemon has the two images of the script."""
    for name, image in (("first", FIRST), ("second", SECOND)):
        daemon.make_image(image.removeprefix("localhost/polyport-test/"), MODEL_SERVER, lines=(f"ENV NAME={name}",))
    home = tmp_path / "docker" / "home"
    home.mkdir(parents=True)
    server = Server(home, engine="docker", docker_host=daemon.url, stop_timeout=5).start()
    yield server
    daemon.start()
    if server.process is None:
        server.start()
    assert server.stop() == 0
    assert daemon.find_left(f"polyport.home-path={home}") == []


def test_every_engine_gives_the_same_answers(docker_server: Server, told_by_processes: dict[str, Answer]) -> None:
    """Direct, serial, streamed, refused, failed and broken: a client cannot tell plain processes from containers."""
    again = tell(docker_server)
    assert again.keys() == told_by_processes.keys()
    for name, answer in told_by_processes.items():
        assert again[name] == answer, name
    assert {answer[0] for answer in again.values()} >= {200, 400, 424}


@pytest.fixture(scope="session")
def told_by_processes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Answer]:
    """What the process engine answered to the script."""
    home = tmp_path_factory.mktemp("process") / "home"
    home.mkdir()
    plain = Server(home, stop_timeout=5)
    plain.image(FIRST, NAME="first")
    plain.image(SECOND, NAME="second")
    try:
        return tell(plain.start())
    finally:
        assert plain.stop() == 0


def tell(server: Server) -> dict[str, Answer]:
    """The script: what each of its steps was answered with."""
    sagemaker = server.client("sagemaker")
    model = pack_model(server.home.with_name("model.tar.gz"))
    first = {"Image": FIRST, "ContainerHostname": "one", "ModelDataUrl": model.as_uri()}
    second = {"Image": SECOND, "ContainerHostname": "two", "Environment": {"DELAY": "0.1"}}
    create_endpoint(server, "serial", first, second)
    create_endpoint(server, "direct", first, second, mode="Direct")
    create_endpoint(server, "single", {"Image": FIRST}, mode="Single")
    create_endpoint(server, "broken", {"Image": FIRST}, {"Image": SECOND, "Environment": {"EXIT": "3"}})
    for name in ("serial", "direct", "single"):
        wait_for_status(sagemaker, name, "InService", deadline=60)
    wait_for_status(sagemaker, "broken", "Failed", deadline=60)
    told = {name: invoke(server, *arguments) for name, arguments in CALLS.items()}
    described = without_metadata(json.dumps(sagemaker.describe_endpoint(EndpointName="serial"), default=str))
    told["describe"] = (200, [], _MOMENTS.sub("", described).encode())
    # The rest of its description depends on how far its instances are in being removed.
    broken = sagemaker.describe_endpoint(EndpointName="broken")
    told["describe failed"] = (200, [], f"{broken['EndpointStatus']}: {broken['FailureReason']}".encode())
    for name in ("serial", "direct", "single", "broken"):
        sagemaker.delete_endpoint(EndpointName=name)
    for name in ("serial", "direct", "single", "broken"):
        wait_until_gone(sagemaker, name, deadline=60)
    told["after delete"] = invoke(server, "single", b"x")
    return told


TEXT = {"Content-Type": "text/csv"}
STREAM = "invocations-response-stream"
CALLS: dict[str, tuple[Any, ...]] = {
    "serial": ("serial", b"1,2", TEXT),
    "serial without a type": ("serial", b"1,2"),
    "serial, large": ("serial", b"x" * 300_000, TEXT),
    "serial, empty": ("serial", b"", TEXT),
    "serial, one by name": ("serial", b"1", {"X-Amzn-SageMaker-Target-Container-Hostname": "one"}),
    "direct, first": ("direct", b"1", {"X-Amzn-SageMaker-Target-Container-Hostname": "one", **TEXT}),
    "direct, second": ("direct", b"1", {"X-Amzn-SageMaker-Target-Container-Hostname": "two", **TEXT}),
    "direct, nobody": ("direct", b"1", {"X-Amzn-SageMaker-Target-Container-Hostname": "three"}),
    "direct, not said": ("direct", b"1"),
    "model data": ("direct", b"model", {"X-Amzn-SageMaker-Target-Container-Hostname": "one"}),
    "no model data": ("direct", b"model", {"X-Amzn-SageMaker-Target-Container-Hostname": "two"}),
    "attributes": ("single", b"1", {"X-Amzn-SageMaker-Custom-Attributes": "a=b", "Accept": "text/plain"}),
    "client's fault": ("single", b"status 418"),
    "server's fault": ("single", b"status 503"),
    "an odd status": ("single", b"status 299"),
    "streamed": ("single", b"1,2", TEXT, STREAM),
    "streamed, serial": ("serial", b"1,2", TEXT, STREAM),
    "streamed, failing": ("single", b"status 500", TEXT, STREAM),
    "failed": ("broken", b"x"),
    "unknown": ("nobody", b"x"),
}


def invoke(server: Server, endpoint: str, body: bytes, headers: dict[str, str] | None = None, to: str = "") -> Answer:
    """One call, as bytes on the wire."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=30)
    try:
        connection.request("POST", f"/endpoints/{endpoint}/{to or 'invocations'}", body, headers or {})
        response = connection.getresponse()
        kept = [(name.lower(), value) for name, value in response.getheaders() if name.lower() not in _VOLATILE]
        return response.status, kept, response.read()
    finally:
        connection.close()


def pack_model(path: Path) -> Path:
    weights = path.with_name("weights.txt")
    weights.write_text("weights")
    with tarfile.open(path, "w:gz") as archive:
        archive.add(weights, "weights.txt")
    return path


def without_metadata(text: str) -> str:
    described = json.loads(text)
    described.pop("ResponseMetadata", None)
    return json.dumps(described)


def healthz(server: Server) -> dict[str, Any]:
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        return {"code": response.status, **json.loads(response.read())}
    finally:
        connection.close()


def test_no_call_fails_while_an_endpoint_of_containers_is_updated(
    docker_server: Server, daemon: daemons.Daemon
) -> None:
    """After the delete nothing of it is left at the daemon."""
    server = docker_server
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "blue", {"Image": FIRST}, {"Image": SECOND})
    wait_for_status(sagemaker, "blue", "InService", deadline=30)
    create_config(server, "green", {"Image": SECOND}, {"Image": FIRST})
    with SteadyCaller(lambda: call(runtime, "blue"), threads=3) as caller:
        for config in ("green", "blue"):
            sagemaker.update_endpoint(EndpointName="blue", EndpointConfigName=config)
            described = wait_for_status(sagemaker, "blue", "InService", deadline=60)
            assert described["EndpointConfigName"] == config
    assert caller.failures == []
    assert {answer.split(b"|")[1].split(b",")[0] for answer in caller.answers} == {b"first", b"second"}
    sagemaker.delete_endpoint(EndpointName="blue")
    wait_until_gone(sagemaker, "blue", deadline=30)
    assert daemon.find_left(f"polyport.home-path={server.home}") == []


def test_calls_go_on_while_the_daemon_is_killed_and_healthz_says_degraded(
    docker_server: Server, daemon: daemons.Daemon
) -> None:
    """200, because calls are served; `ok` again once the daemon is back, also when control was killed in between."""
    server = docker_server
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create_endpoint(server, "live", {"Image": FIRST}, {"Image": SECOND})
    wait_for_status(sagemaker, "live", "InService", deadline=30)
    with SteadyCaller(lambda: call(runtime, "live")) as caller:
        daemon.stop(kill=True)
        told = wait_for(lambda: (found := healthz(server))["status"] == "degraded" and found, "healthz to notice")
        assert told["code"] == 200
        assert daemon.url in told["trouble"]
        daemon.start()
        wait_for(lambda: healthz(server)["status"] == "ok", "healthz to be well again")
        daemon.stop(kill=True)
        os.kill(find_control(server), signal.SIGKILL)
        time.sleep(1.0)
        daemon.start()
        wait_for(lambda: is_ok(server), "control to be back", deadline=40)
    assert caller.failures == []
    assert sagemaker.describe_endpoint(EndpointName="live")["EndpointStatus"] == "InService"


def is_ok(server: Server) -> bool:
    try:
        return bool(healthz(server).get("status") == "ok")
    except (OSError, ValueError, http.client.HTTPException):
        return False


def find_control(server: Server) -> int:
    assert server.process is not None
    for task in Path(f"/proc/{server.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"server.control" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("there is no control")


def test_a_server_whose_daemon_is_absent_does_not_start(tmp_path: Path) -> None:
    """One clear error with the sockets tried, and exit status 2."""
    server = Server(tmp_path, engine="docker", docker_host=f"unix://{tmp_path}/nowhere.sock")
    with pytest.raises(AssertionError, match=r"Tried: unix://.*nowhere\.sock"):
        server.start()
