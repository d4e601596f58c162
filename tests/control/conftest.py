"""What the tests of control share."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a Unix socket's path has room for 108 bytes."""
    path = Path(tempfile.mkdtemp(prefix="pp"))
    yield path
    shutil.rmtree(path)
