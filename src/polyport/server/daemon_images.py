"""The images of the daemon that the settings name, with a connection of their own: a long pull holds up no engine."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from polyport.engines.docker import daemon
from polyport.images.daemon.library import Library
from polyport.settings import Settings

if TYPE_CHECKING:
    from aiodocker import Docker

T = TypeVar("T")


class Opened:
    """``library`` connects when it is first asked; `close` ends its pulls and the connection."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._daemon: daemon.Daemon | None = None
        self.library = Library(self._connect, settings)

    async def _connect(self) -> "Docker":
        self._daemon = await daemon.connect(self._settings)
        return self._daemon.client

    async def close(self) -> None:
        """May be called when nothing was opened."""
        with suppress(Exception):
            await self.library.close()
        if self._daemon is not None:
            await self._daemon.close()


def use(settings: Settings, what: Callable[[Library], Awaitable[T]]) -> T:
    """One thing done with the library, for a command: opened before, closed after."""

    async def do() -> T:
        opened = Opened(settings)
        try:
            return await what(opened.library)
        finally:
            await opened.close()

    return asyncio.run(do())
