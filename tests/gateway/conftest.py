"""A worker process with a control and containers of the test's own."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sites import Site
from gateway.workers import Lab
from polyport.gateway import worker
from polyport.gateway.clients import heads


@pytest.fixture(autouse=True)
def unknown_heads() -> None:
    """What one test has sent must not be why another passes."""
    heads.forget()


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    """Everything a worker needs around it, in one thread; all of it ends with the test."""
    made = Lab(tmp_path)
    yield made
    made.close()


@pytest.fixture
def port() -> Iterator[int]:
    """A port that is kept for the test's workers, as `polyport serve` keeps its own: bound, not listening."""
    with worker.bind("127.0.0.1", 0) as reserved:
        assert isinstance(reserved, socket.socket)
        yield reserved.getsockname()[1]


@pytest.fixture
def site(lab: Lab, port: int) -> Site:
    """A worker that serves."""
    return Site(lab, port)
