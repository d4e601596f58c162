"""Pulling: one at a time per name, however many wait for it, with what there is to tell meanwhile."""

import asyncio
import base64
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from aiodocker.exceptions import DockerError

from polyport.images import references
from polyport.images.daemon import faults, streams
from polyport.images.daemon.keychain import Keychain
from polyport.images.records import Progress, Step

if TYPE_CHECKING:
    from aiodocker import Docker

#: Gives the client; connects when it is first asked.
Connect = Callable[[], Awaitable["Docker"]]

FINISHED = {"Download complete", "Pull complete", "Already exists", "Verifying Checksum", "Extracting"}


class Gauge:
    """How far one pull is: bytes of each layer, as the daemon tells them. Pure."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._layers: dict[str, tuple[int, int]] = {}
        self._status = "waiting for the registry"

    def take(self, item: Mapping[str, Any]) -> None:
        """One line of the daemon's."""
        layer, status = str(item.get("id") or ""), str(item.get("status") or "")
        detail = item.get("progressDetail") or {}
        if status == "Downloading" and layer and "current" in detail:
            current = int(detail["current"])
            self._layers[layer] = (current, max(current, int(detail.get("total") or 0)))
        elif status in FINISHED and layer in self._layers:
            self._layers[layer] = (self._layers[layer][1],) * 2
        if status and re.fullmatch(r"[0-9a-f]{12,64}", layer):
            self._status = status.lower()

    @property
    def fraction(self) -> float:
        """0 to 1; of the layers whose size is known so far."""
        total = sum(size for _, size in self._layers.values())
        return sum(got for got, _ in self._layers.values()) / total if total else 0.0

    def __str__(self) -> str:
        total = sum(size for _, size in self._layers.values())
        if not total:
            return f"Pulling {self.name}: {self._status}"
        got = sum(got for got, _ in self._layers.values())
        return f"Pulling {self.name}: {got / 1e6:.1f} of {total / 1e6:.1f} MB"


class _Running:
    """A pull and those who wait for it."""

    def __init__(self, gauge: Gauge, task: asyncio.Task[None]) -> None:
        self.gauge = gauge
        self.task = task
        self.waiting = 0


class Pulls:
    """``timeout`` in seconds for each pull as a whole."""

    def __init__(self, connect: Connect, keychain: Keychain, timeout: float, platform: str) -> None:
        self._connect = connect
        self._keychain = keychain
        self._timeout = timeout
        self._platform = platform
        self._running: dict[str, _Running] = {}

    async def pull(self, name: str, progress: Progress = lambda _: None) -> None:
        """Returns once the daemon has the image. Raises `ImageError`. When the last who waits is gone, it ends."""
        running = self._running.get(name)
        if running is None:
            gauge = Gauge(name)
            running = _Running(gauge, asyncio.create_task(self._pull(name, gauge, progress)))
            self._running[name] = running
            running.task.add_done_callback(lambda task: self._forget(name, task))
        running.waiting += 1
        try:
            await asyncio.shield(running.task)
        finally:
            running.waiting -= 1
            if not running.waiting:
                running.task.cancel()
                # At once: whoever comes next must not wait for one that is ending.
                self._forget(name, running.task)

    def _forget(self, name: str, task: asyncio.Task[None]) -> None:
        if name in self._running and self._running[name].task is task:
            del self._running[name]
        if task.done() and not task.cancelled():
            task.exception()  # told to those who waited

    def describe(self, name: str) -> str:
        """What to tell of the pull of that name; empty when none is under way."""
        running = self._running.get(name)
        return str(running.gauge) if running else ""

    async def close(self) -> None:
        """End what is under way."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _pull(self, name: str, gauge: Gauge, progress: Progress) -> None:
        pinned = references.pinned(name)
        reference = references.parse(name)
        found = await self._keychain.find(reference)
        auth = found.credentials.header(reference) if found.credentials else None
        source = f"{reference.full}@{pinned[1]}" if pinned else f"{reference.full}:{reference.tag}"
        try:
            async with asyncio.timeout(self._timeout):
                await self._follow(source, auth, gauge, progress)
        except TimeoutError as error:
            raise faults.too_slow(name, reference, self._timeout) from error
        except DockerError as error:
            if error.status == faults.NO_DAEMON:
                raise faults.daemon(error) from error
            said = found.credentials.hide(error.message) if found.credentials else error.message
            # Not chained: the daemon's own words may repeat the secrets.
            raise faults.pull(name, reference, said, found.problems) from None

    async def _follow(self, source: str, auth: dict[str, str] | None, gauge: Gauge, progress: Progress) -> None:
        client = await self._connect()
        progress(Step(str(gauge), 0.0))
        params = {"fromImage": source, **({"platform": self._platform} if self._platform else {})}
        async with aclosing(streams.post(client, "images/create", params, _encode(auth))) as lines:
            async for line in lines:
                gauge.take(line)
                progress(Step(str(gauge), gauge.fraction))


def _encode(auth: dict[str, str] | None) -> dict[str, str]:
    if auth is None:
        return {}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(auth).encode()).decode()}
