"""Engines by name. An import string each, so that nobody loads the clients of an engine that is not used."""

import asyncio
import importlib

import msgspec

from polyport.engines.contract import Engine
from polyport.errors import UsageError
from polyport.settings import Settings

AUTO = "auto"

ENGINES = {
    "process": "polyport.engines.process.engine:ProcessEngine",
    "docker": "polyport.engines.docker.engine:DockerEngine",
    "fake": "polyport.engines.fake:FakeEngine",
}


def create(settings: Settings) -> Engine:
    """The engine that ``settings.engine`` names, not opened yet. Raises `UsageError` for an unknown name."""
    try:
        module, _, name = ENGINES[settings.engine].partition(":")
    except KeyError:
        known = ", ".join([*ENGINES, AUTO])
        raise UsageError(f"There is no engine {settings.engine!r}. The known ones are: {known}.") from None
    engine: Engine = getattr(importlib.import_module(module), name)(settings)
    return engine


def settle(settings: Settings) -> Settings:
    """The settings with ``auto`` decided, and with the one daemon that all processes of this server are to use.

    Waits for daemons, for seconds at most. Raises `UsageError` where the docker engine was asked for, or has containers
    of this home, and no daemon answers.
    """
    if settings.engine not in (AUTO, "docker"):
        return settings
    from polyport.engines.docker import daemon, records  # noqa: PLC0415 - for those who use it

    async def find() -> str:
        found = await daemon.connect(settings)
        await found.close()
        return found.url

    try:
        url = asyncio.run(find())
    except UsageError:
        if settings.engine == AUTO and not records.has_instances(settings.home):
            return msgspec.structs.replace(settings, engine="process")
        raise
    return msgspec.structs.replace(settings, engine="docker", docker_host=url)
