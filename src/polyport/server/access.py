"""Keeps the access table in step with its rows, whichever process writes them, and knows whether the server is open."""

import asyncio
import ipaddress
import logging
import socket
from collections.abc import Callable

from polyport.access import table
from polyport.access.vault import Vault
from polyport.domain.access import CLOSED, AccessTable
from polyport.errors import PolyportError
from polyport.settings import Settings
from polyport.store import Store

log = logging.getLogger(__name__)

#: Seconds between two looks at the revision: `polyport key` writes rows from a process of its own.
POLL_INTERVAL = 0.25


class Watcher:
    """Reads the rows, and again whenever their revision has grown. ``on_change`` gets each new table."""

    def __init__(
        self, store: Store, vault: Vault, settings: Settings, on_change: Callable[[AccessTable], None]
    ) -> None:
        self._store = store
        self._vault = vault
        self._account = settings.account_id
        self._may_be_open = is_loopback(settings.host)
        self._on_change = on_change
        self._revision = -1
        self._wake = asyncio.Event()
        self.table = CLOSED

    async def load(self) -> None:
        """Read the rows now. Raises `StoreError`, and `UsageError` when a secret cannot be decrypted."""
        rows = await self._store.access.read()
        self._revision = rows.revision
        # Thousands of keys take a while to decrypt.
        made = await asyncio.to_thread(table.build, rows, self._vault, self._account, may_be_open=self._may_be_open)
        if made != self.table:
            self.table = made
            self._on_change(made)

    def wake(self) -> None:
        """This process has written rows: no need to wait for the next look."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled. What is known stays in force while rows cannot be read."""
        while True:
            try:
                async with asyncio.timeout(POLL_INTERVAL):
                    await self._wake.wait()
            except TimeoutError:
                pass
            self._wake.clear()
            try:
                if await self._store.access.revision() != self._revision:
                    await self.load()
            except PolyportError as error:
                log.error("keys and policies cannot be read, those known stay in force: %s", error)
                await asyncio.sleep(POLL_INTERVAL)


def is_loopback(host: str) -> bool:
    """Whether only this machine can connect to that address. Names count by all that they stand for."""
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        return False
    return bool(found) and all(
        ipaddress.ip_address(str(address[0]).partition("%")[0]).is_loopback for *_, address in found
    )
