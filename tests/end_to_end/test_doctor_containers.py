"""Causes as real containers show them: what the doctor says of containers of Docker and Podman."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import daemons
from support.server import Server, create_endpoint, wait_for_status

pytestmark = pytest.mark.slow

PROGRAM = "import os\nprint('it begins', flush=True)\nexec(os.environ['DO'])\n"
LISTEN = """
import http.server, os
http.server.HTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), None).serve_forever()
"""
#: What the container does, and a part of the cause's sentence.
ILL = {
    "unreachable": (LISTEN, "It listens on 127.0.0.1:8080 only, where it cannot be reached."),
    "out-of-memory": ("import time; time.sleep(1); x = bytearray(200 << 20)", " 64 MiB)."),
    "import-error": ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
}
FOREIGN = "\x7fELF is how it begins"


@pytest.fixture
def ward(daemon: daemons.Daemon, tmp_path: Path) -> Iterator[Server]:
    """A server with the docker engine."""
    home = tmp_path / "h"
    home.mkdir()
    small = {"instance_limits": True, "instance_types": "ml.m5.large=1:0.0625", "image_pull": "never"}
    settings: dict[str, Any] = {"startup_timeout": 8, "startup_restarts": 1, "stop_timeout": 1, **small}
    server = Server(home, engine="docker", docker_host=daemon.url, **settings).start(60.0)
    yield server
    assert server.stop() == 0
    assert daemon.find_left(f"polyport.home-path={home}") == []


def ask(server: Server, *arguments: str) -> list[dict[str, Any]] | dict[str, Any]:
    environ = os.environ | {"POLYPORT_HOME": str(server.home), "POLYPORT_ENGINE": "docker"}
    command = [sys.executable, "-m", "polyport", "doctor", *arguments, "--json"]
    host = {"POLYPORT_DOCKER_HOST": str(server.settings["docker_host"])}
    done = subprocess.run(command, env=environ | host, capture_output=True, text=True, timeout=60, check=False)
    found: list[dict[str, Any]] | dict[str, Any] = json.loads(done.stdout)
    return found


def test_causes_are_told_of_containers_as_of_processes(ward: Server, daemon: daemons.Daemon) -> None:
    """By FailureReason and by the doctor; a lack of memory with the container's own limit, and with its peak unless
    its cgroup was gone before that could be read."""
    image = daemon.make_image("doctor-ill:1", PROGRAM)
    foreign = daemon.make_image("doctor-foreign:1", entrypoint=["/program"], program=FOREIGN)
    for name, (program, _) in ILL.items():
        create_endpoint(ward, name, {"Image": image, "Environment": {"DO": program}}, mode="Single")
    create_endpoint(ward, "wrong-architecture", {"Image": foreign}, mode="Single")
    sagemaker = ward.client("sagemaker")
    for name, part in {**{name: part for name, (_, part) in ILL.items()}, "wrong-architecture": ""}.items():
        reason = wait_for_status(sagemaker, name, "Failed", deadline=90.0)["FailureReason"]
        report = ask(ward, name)
        assert isinstance(report, dict)
        [wrong] = report["wrong"]
        assert (wrong["name"], wrong["fix"] in reason) == (name, True), str(wrong)
        assert part in wrong["cause"]
        assert part in reason


def test_the_doctor_of_the_machine_names_the_daemon_that_answers(ward: Server, daemon: daemons.Daemon) -> None:
    """With its version and whether it runs as an ordinary user; and the server that runs on the home."""
    rows = {row["check"]: row for row in ask(ward) if isinstance(row, dict)}
    assert rows[daemon.kind]["state"] == "ok"
    assert f" at {daemon.url}, rootful" in rows[daemon.kind]["found"]
    assert rows["server"]["state"] == "ok"
