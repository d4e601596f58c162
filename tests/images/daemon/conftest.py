"""A real Podman, and a registry that it may talk to without TLS. One of each per session."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from polyport import settings
from polyport.images.daemon.keychain import Keychain
from polyport.images.daemon.library import Library
from support import containers, distribution
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
def podman(session_registry: Registry) -> Iterator[containers.Service]:
    """Its service, with leave to talk to the registry over plain HTTP."""
    containers.require()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        configuration = Path(folder) / "registries.conf"
        configuration.write_text(f'[[registry]]\nlocation = "{session_registry.host}"\ninsecure = true\n')
        patch.setenv("CONTAINERS_REGISTRIES_CONF", str(configuration))
        # What whoever runs the tests is logged in to is nobody's business here.
        nobody = Path(folder) / "auth.json"
        nobody.write_text("{}")
        patch.setenv("REGISTRY_AUTH_FILE", str(nobody))
        service = containers.Service(Path(folder)).start()
        try:
            yield service
        finally:
            service.stop()
            names = containers.podman("images", "--no-trunc", "--format", "{{.Repository}} {{.ID}}").splitlines()
            ours = {line.split()[1] for line in names if line.startswith(f"{session_registry.host}/")}
            if ours:
                containers.podman("rmi", "--force", *sorted(ours), check=False)


Open = Callable[..., AbstractAsyncContextManager[Library]]


@pytest.fixture
def open_library(podman: containers.Service, tmp_path: Path) -> Open:
    """Opens the library of that Podman: ``async with open_library(image_pull="never") as library``. ``environ`` is
    where it looks for credentials."""

    @asynccontextmanager
    async def opened(environ: dict[str, str] | None = None, **given: Any) -> AsyncIterator[Library]:
        import aiodocker

        client = aiodocker.Docker(podman.url)
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
