"""Engines by name. An import string each, so that nobody loads the clients of an engine that is not used."""

import importlib

from polyport.engines.contract import Engine
from polyport.errors import UsageError
from polyport.settings import Settings

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
        known = ", ".join(ENGINES)
        raise UsageError(f"There is no engine {settings.engine!r}. The known ones are: {known}.") from None
    engine: Engine = getattr(importlib.import_module(module), name)(settings)
    return engine
