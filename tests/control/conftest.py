"""What the tests of control share."""

import asyncio
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from control.plane import Plane


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: a Unix socket's path has room for 108 bytes."""
    path = Path(tempfile.mkdtemp(prefix="pp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture
def run(folder: Path) -> Callable[..., None]:
    """Runs a test body on a plane."""

    async def main(body: Callable[[Plane], Awaitable[None]], **options: object) -> None:
        async with Plane(folder, **options) as plane:  # type: ignore[arg-type]
            await body(plane)

    return lambda body, **options: asyncio.run(main(body, **options))
