"""The labs as fixtures. Each checks at its end that the test left nothing running."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engines.labs import DockerLab, FakeLab, Lab, ProcessLab
from engines.seeing import LEVELS
from support import containers


@pytest.fixture(params=["fake", *LEVELS, pytest.param("docker", marks=pytest.mark.slow)])
def lab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """Each engine in turn; that of processes with each isolation that there is here."""
    if request.param == "docker":
        made: Lab = DockerLab(tmp_path, request.getfixturevalue("podman_service"))
    else:
        made = FakeLab(tmp_path) if request.param == "fake" else ProcessLab(tmp_path, request.param)
    yield made
    made.clean()


@pytest.fixture
def docker_lab(podman_service: containers.Service, tmp_path: Path) -> Iterator[DockerLab]:
    """The docker engine's lab, for what only it promises."""
    made = DockerLab(tmp_path, podman_service)
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
