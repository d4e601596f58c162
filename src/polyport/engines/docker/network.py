"""The private network of one instance: made when first needed, made again when somebody removed it."""

import asyncio
import ipaddress
import random
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from polyport.engines.docker import asks
from polyport.engines.docker.calls import Calls, Missing, Refused
from polyport.errors import EngineError, UsageError

#: Addresses per instance: ``records.SLOTS`` and the network's own three.
PREFIX = 27
#: How many subnets are tried: another program may take one in between, or use it in a way that cannot be seen.
_TRIES = 20


class Network:
    """Of one instance. ``labels`` and ``isolated`` are what it is made with."""

    def __init__(self, calls: Calls, name: str, pool: str, *, isolated: bool, labels: Mapping[str, str]) -> None:
        self.name = name
        self._calls = calls
        self._pool = pool
        self._isolated = isolated
        self._labels = labels
        self._subnet: ipaddress.IPv4Network | None = None
        self._making: asyncio.Task[None] | None = None

    def address(self, slot: int) -> str:
        """The address with that number; empty while there is no network."""
        return str(self._subnet[slot]) if self._subnet else ""

    async def ensure(self) -> None:
        """Sees to it that it is there. Many may wait for the one attempt. Raises `EngineError`."""
        if self._making is None or self._making.done():
            self._making = asyncio.create_task(self._make())
        await asyncio.shield(self._making)

    async def find(self) -> bool:
        """Whether it is there."""
        try:
            found = await self._calls.ask(f"networks/{self.name}")
        except Missing:
            return False
        if (found.get("Labels") or {}).get(asks.LABEL_HOME) != self._labels[asks.LABEL_HOME]:
            raise EngineError(f"There is a network {self.name} that is not this Polyport's.")
        for config in (found.get("IPAM") or {}).get("Config") or ():
            self._subnet = ipaddress.IPv4Network(config["Subnet"])
        return True

    async def remove(self) -> None:
        """Removes it; whatever others attached to it is detached first, and stays. Raises `EngineError`."""
        try:
            found = await self._calls.ask(f"networks/{self.name}")
            for other in found.get("Containers") or {}:
                await self._calls.order("POST", f"networks/{self.name}/disconnect", {"Container": other, "Force": True})
            await self._calls.order("DELETE", f"networks/{self.name}")
        except Missing:
            pass

    async def _make(self) -> None:
        if await self.find():
            return
        networks = await self._calls.ask("networks")
        last = ""
        for subnet in choose(self._pool, [*list_subnets(networks), *list_routes()]):
            body = asks.network(self.name, str(subnet), str(subnet[1]), isolated=self._isolated, labels=self._labels)
            try:
                await self._calls.order("POST", "networks/create", body)
            except Refused as error:  # most likely: taken meanwhile
                last = str(error)
            else:
                self._subnet = subnet
                return
        raise EngineError(
            f"No network could be made in docker_subnets = {self._pool}: {last or 'all of it is in use'}."
        )


def choose(pool: str, taken: Iterable[ipaddress.IPv4Network]) -> list[ipaddress.IPv4Network]:
    """Some subnets of the pool that overlap with nothing taken, in an order that two homes rarely share.

    Raises `UsageError` for a pool that is none.
    """
    try:
        subnets = list(ipaddress.IPv4Network(pool).subnets(new_prefix=PREFIX))
    except ValueError as error:
        raise UsageError(f"docker_subnets = {pool!r} is no IPv4 network of at least 32 addresses: {error}") from error
    taken = list(taken)
    start = random.randrange(len(subnets))  # noqa: S311 - spreads homes over the pool, guards nothing
    free = (subnet for subnet in subnets[start:] + subnets[:start] if not any(subnet.overlaps(t) for t in taken))
    return [subnet for subnet, _ in zip(free, range(_TRIES), strict=False)]


def list_subnets(networks: Iterable[Mapping[str, Any]]) -> list[ipaddress.IPv4Network]:
    """Those of the daemon's networks."""
    configs = (config for network in networks for config in (network.get("IPAM") or {}).get("Config") or ())
    found = (_parse(config.get("Subnet", "")) for config in configs)
    return [subnet for subnet in found if subnet is not None]


def list_routes(table: Path = Path("/proc/net/route")) -> list[ipaddress.IPv4Network]:
    """Where this machine sends packets, but for the default route: those networks would not be reached any more."""
    try:
        rows = [line.split() for line in table.read_text("ascii").splitlines()[1:]]
    except OSError:
        return []
    found = []
    for row in rows:
        destination, mask = (int.from_bytes(bytes.fromhex(row[at]), "little") for at in (1, 7))
        if mask:
            found.append(ipaddress.IPv4Network((destination & mask, mask.bit_count())))
    return found


def _parse(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text, strict=False)
    except ValueError:  # IPv6, or nothing
        return None
