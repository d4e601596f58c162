"""A client too many: told so, and let go, without the means that serving one takes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from polyport.gateway import faults

if TYPE_CHECKING:
    from polyport.gateway.gateway import Gateway

#: Such clients at the same time that are given time to read why; others are closed at once.
MAX_LINGERING = 64
#: Sweeps (one a second) that they get.
LINGER_SWEEPS = 2


class Surplus(asyncio.Protocol):
    """One connection over the bound. It is answered before it asks. Closing at once would reset the connection when the
    request comes, and the answer might be lost; so only our side is closed first."""

    __slots__ = ("_gateway", "_quiet", "transport")

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._quiet = 0
        self.transport: asyncio.Transport = None  # type: ignore[assignment]  # set before anything else happens

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's are no subclass of asyncio.Transport
        gateway = self._gateway
        error, clock = faults.too_many_connections(), gateway.clock
        self.transport.write(faults.render(error, clock.request_id(), clock.date, b"Connection: close\r\n"))
        if len(gateway.surplus) < MAX_LINGERING and self.transport.can_write_eof():
            gateway.surplus.add(self)
            self.transport.write_eof()
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Nobody reads it."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  asyncio calls it so
        self._gateway.surplus.discard(self)

    def sweep(self) -> None:
        """Once a second: has the client had its time?"""
        self._quiet += 1
        if self._quiet > LINGER_SWEEPS:
            self.transport.abort()
