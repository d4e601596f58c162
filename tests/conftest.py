"""Fixtures for tests that need a running server."""

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadGroupScheduling

from support import daemons
from support.server import Server

# Tests press Ctrl-C in programs that they start; where the tests themselves run in a shell's background, it is ignored,
# and every program would inherit that.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class _Schedule(LoadGroupScheduling):
    """Tests go to whichever process is free, but all that need a Docker daemon to one: it is started once."""

    def _split_scope(self, nodeid: str) -> str:
        return "docker" if daemons.are_for_docker(nodeid) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> _Schedule:
    """How tests are shared out among the processes of ``-n``."""
    return _Schedule(config, log)


@pytest.fixture(scope="session")
def podman() -> Iterator[daemons.Daemon]:
    """A Podman service for this test process. Skips, or fails, where there can be none."""
    daemon = daemons.require("podman")
    yield daemon
    daemon.close()


@pytest.fixture(scope="session")
def dockerd() -> Iterator[daemons.Daemon]:
    """A Docker daemon, likewise. One process runs all of its tests."""
    daemon = daemons.require("docker")
    yield daemon
    daemon.close()


@pytest.fixture(params=daemons.PARAMETERS)
def daemon(request: pytest.FixtureRequest) -> daemons.Daemon:
    """Each kind of daemon in turn, running; the test may end it."""
    found: daemons.Daemon = request.getfixturevalue(request.param)
    found.start()
    return found


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
