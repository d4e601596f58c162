"""The labs as fixtures. Each checks at its end that the test left nothing running."""

import os
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.labs import DockerLab, FakeLab, Lab, ProcessLab
from engines.seeing import LEVELS
from support import daemons


@pytest.fixture(params=["fake", *LEVELS, *daemons.PARAMETERS])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Each engine in turn; that of processes with each isolation that there is here."""
    made: Lab
    if request.param == "fake":
        made = FakeLab(tmp_path)
    elif request.param in LEVELS:
        made = ProcessLab(tmp_path, request.param)
    else:
        made = DockerLab(tmp_path, request.getfixturevalue(request.param))
    yield made
    made.clean()


@pytest.fixture
def docker_lab(daemon: daemons.Daemon, tmp_path: Path) -> Iterator[DockerLab]:
    """The docker engine's lab at each kind of daemon, for what only it promises."""
    made = DockerLab(tmp_path, daemon)
    yield made
    made.clean()


@pytest.fixture(params=LEVELS)
def process_lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ProcessLab]:
    """The process engine's lab, for what only it promises."""
    made = ProcessLab(tmp_path, request.param)
    yield made
    made.clean()


@pytest.fixture
def sandbox_lab(tmp_path: Path) -> Iterator[ProcessLab]:
    """The same, for what only bubblewrap gives."""
    if "bubblewrap" not in LEVELS:
        pytest.skip("bubblewrap does not work here")
    made = ProcessLab(tmp_path, "bubblewrap")
    yield made
    made.clean()


@pytest.fixture
def mounts_lab(tmp_path: Path) -> Iterator[ProcessLab]:
    """The same, for what only mounts need."""
    made = ProcessLab(tmp_path, "mounts")
    yield made
    made.clean()


@pytest.fixture
def outside() -> Iterator[str]:
    """An IPv4 address outside of containers at which connections are refused: of a network namespace behind this
    machine, as of another one; without the right to make one, this machine's own."""
    if os.geteuid() != 0:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
            asked.connect(("192.0.2.1", 9))
            yield asked.getsockname()[0]
        return
    name = f"pp{os.getpid()}"
    inside, outer = f"ip netns exec {name} ip", "ip"
    network = f"198.18.{os.getpid() % 256}"
    steps = [
        f"ip netns add {name}",
        f"{outer} link add {name} type veth peer name eth0 netns {name}",
        f"{outer} address add {network}.1/30 dev {name}",
        f"{outer} link set {name} up",
        f"{inside} address add {network}.2/30 dev eth0",
        f"{inside} link set eth0 up",
        f"{inside} route add default via {network}.1",
    ]
    try:
        for step in steps:
            subprocess.run(step.split(), check=True)
        yield f"{network}.2"
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)
