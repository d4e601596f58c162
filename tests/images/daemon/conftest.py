"""Real daemons, and a registry that they may talk to without TLS. One of each per session."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from polyport import settings
from polyport.images.daemon.keychain import Keychain
from polyport.images.daemon.library import Library
from support import daemons, distribution
from support.distribution import Registry, Store


@pytest.fixture(scope="session")
def session_registry() -> Iterator[Registry]:
    """Its port is part of all names that it has, so that nothing of two sessions is mixed up."""
    with distribution.registry() as running:
        yield running


@pytest.fixture
def registry(session_registry: Registry) -> Registry:
    """Empty and well-behaved again."""
    store, fresh = session_registry.store, Store()
    for each in fields(Store):
        setattr(store, each.name, getattr(fresh, each.name))
    return session_registry


@pytest.fixture(scope="session")
def trusting(session_registry: Registry) -> set[str]:
    """The kinds of daemons that have leave to talk to the registry over plain HTTP."""
    return set()


@pytest.fixture
def daemon(daemon: daemons.Daemon, session_registry: Registry, trusting: set[str]) -> daemons.Daemon:
    """With that leave."""
    if daemon.kind not in trusting:
        daemon.trust(session_registry.host)
        trusting.add(daemon.kind)
    return daemon


Open = Callable[..., AbstractAsyncContextManager[Library]]


@pytest.fixture
def open_library(daemon: daemons.Daemon, tmp_path: Path) -> Open:
    """Opens the library of that daemon: ``async with open_library(image_pull="never") as library``. ``environ`` is
    where it looks for credentials."""

    @asynccontextmanager
    async def opened(environ: dict[str, str] | None = None, **given: Any) -> AsyncIterator[Library]:
        import aiodocker

        client = aiodocker.Docker(daemon.url)
        loaded = settings.load({"home": tmp_path / "home", **given}, {})
        keychain = Keychain({"HOME": str(tmp_path), "PATH": os.environ["PATH"], **(environ or {})}, helper_timeout=2)

        async def connect() -> aiodocker.Docker:
            return client

        library = Library(connect, loaded, keychain)
        try:
            yield library
        finally:
            await library.close()
            await client.close()

    return opened


@pytest.fixture
def run() -> Callable[[Awaitable[None]], None]:
    """Runs a test's coroutine."""

    async def bounded(test: Awaitable[None]) -> None:
        async with asyncio.timeout(100):
            await test

    return lambda test: asyncio.run(bounded(test))
