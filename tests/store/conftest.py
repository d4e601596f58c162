"""A store on a SQLite file."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from polyport import store

Result = TypeVar("Result")


@pytest.fixture
def url(tmp_path: Path) -> str:
    return store.sqlite_url(tmp_path / "polyport.db")


@pytest.fixture
def with_store(url: str) -> Callable[[Callable[[store.Store], Awaitable[Result]]], Result]:
    """Runs a coroutine function on an open store, and closes it."""

    def run(body: Callable[[store.Store], Awaitable[Result]]) -> Result:
        async def main() -> Result:
            opened = store.Store(url)
            await opened.open()
            try:
                return await body(opened)
            finally:
                await opened.close()

        return asyncio.run(main())

    return run
