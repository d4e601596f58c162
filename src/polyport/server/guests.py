"""Gateway workers of another server, which serve by our tables until they leave.

While one server takes over from another, calls go through the workers of both. No endpoint is InService and no instance
is stopped before all of them have acknowledged it, so control must know of those that have yet to connect.
"""

import asyncio
import time
from typing import Protocol

#: Seconds between two looks.
INTERVAL = 0.1
#: Seconds in which a worker that is alive has surely called again.
PATIENCE = 15.0


class Host(Protocol):
    """The part of the publisher that counts workers."""

    def connected(self) -> set[str]:
        """The names of the workers that are connected."""

    def expect(self, workers: int) -> None:
        """Nothing counts as acknowledged while fewer are connected."""


def remaining(names: frozenset[str], seen: frozenset[str], connected: set[str], *, is_late: bool) -> frozenset[str]:
    """Those that still count: one that was connected and is not any more has left, and one that has never been is
    waited for until it ``is_late``."""
    here = names & connected
    return here if is_late else here | (names - seen)


async def attend(host: Host, own: int, names: frozenset[str]) -> None:
    """Until the last of them has left. ``own`` workers are there besides."""
    until, seen = time.monotonic() + PATIENCE, frozenset[str]()
    while True:
        connected = host.connected()
        seen |= names & connected
        left = remaining(names, seen, connected, is_late=time.monotonic() > until)
        host.expect(own + len(left))
        if not left:
            return
        await asyncio.sleep(INTERVAL)
