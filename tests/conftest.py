"""Fixtures for tests that need a running server."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support import containers
from support.server import Server

# Tests press Ctrl-C in programs that they start; where the tests themselves run in a shell's background, it is ignored,
# and every program would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def podman_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[containers.Service]:
    """A Podman service for this test process. Skips, or fails, where there can be none."""
    containers.require()
    service = containers.Service(tmp_path_factory.mktemp("podman")).start()
    yield service
    service.stop()


@pytest.fixture(scope="session")
def home_with_images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home in which the usual images are built already; tests copy it."""
    home = tmp_path_factory.mktemp("home")
    Server(home).image("first:1", NAME="first")
    Server(home).image("second:1", NAME="second")
    return home


@pytest.fixture
def make_server(home_with_images: Path, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers, each on a home of its own with the usual images; all end with the test, instances too."""
    made: list[Server] = []

    def make(**settings: Any) -> Server:
        home = tmp_path / f"h{len(made)}"
        shutil.copytree(home_with_images, home, symlinks=True)
        server = Server(home, **({"stop_timeout": 5} | settings))
        made.append(server)
        return server

    yield make
    for server in made:
        if server.process is None:
            # Instances may have outlived a kill: only an orderly stop ends them.
            server.start()
        assert server.stop() == 0


@pytest.fixture
def server(make_server: Callable[..., Server]) -> Server:
    """A running server."""
    return make_server().start()
