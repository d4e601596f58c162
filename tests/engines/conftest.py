"""The labs as fixtures. Each checks at its end that the test left nothing running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.labs import DockerLab, FakeLab, Lab, ProcessLab
from support import containers

MAKERS = {"fake": FakeLab, "process": ProcessLab}


@pytest.fixture(params=["fake", "process", pytest.param("docker", marks=pytest.mark.slow)])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Each engine in turn."""
    if request.param == "docker":
        made: Lab = DockerLab(tmp_path, request.getfixturevalue("podman_service"))
    else:
        made = MAKERS[request.param](tmp_path)
    yield made
    made.clean()


@pytest.fixture
def docker_lab(podman_service: containers.Service, tmp_path: Path) -> Iterator[DockerLab]:
    """The docker engine's lab, for what only it promises."""
    made = DockerLab(tmp_path, podman_service)
    yield made
    made.clean()


@pytest.fixture
def process_lab(tmp_path: Path) -> Iterator[ProcessLab]:
    """The process engine's lab, for what only it promises."""
    made = ProcessLab(tmp_path)
    yield made
    made.clean()
