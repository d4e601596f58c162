"""Joins what measures (gateways, the engine) and what keeps: looks at containers every ten seconds, and keeps house."""

import asyncio
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec

from polyport.control.view import View
from polyport.domain.counts import PERIOD, Counts
from polyport.domain.distributions import Distribution
from polyport.domain.endpoints import Deployment, Endpoint, Mode, Variant
from polyport.domain.names import Owner
from polyport.engines.contract import Engine, Measuring, Usage
from polyport.errors import UsageError
from polyport.server import machine, used
from polyport.telemetry.metrics import counted
from polyport.telemetry.metrics.keeping import Metrics
from polyport.telemetry.metrics.series import Value
from polyport.telemetry.metrics.table import By

log = logging.getLogger(__name__)

#: Looks between two times that old metrics are dropped: an hour.
PRUNE_EVERY = 3600 // PERIOD


class Place(msgspec.Struct, frozen=True):
    """Whose an instance is."""

    owner: Owner
    endpoint: str
    variant: Variant
    config: str


class Metering:
    """Kept by control."""

    def __init__(self, metrics: Metrics, view: View, engine: Engine, home: Path) -> None:
        self._metrics = metrics
        self._view = view
        self._engine = engine
        self._home = home
        self._gpus = machine.GpuWatch()
        self._before: dict[tuple[str, str], Usage] = {}
        #: Where instances were when they were last seen: their last counts come when they are gone.
        self._places: dict[str, Place] = {}

    async def open(self) -> None:
        """Find the file of metrics. Raises `UsageError` when it cannot be used."""
        try:
            await self._metrics.open()
        except sqlite3.Error as error:
            raise UsageError(
                f"The file of metrics cannot be used ({error}). Remove metrics.db from the home: metrics begin anew."
            ) from error

    def take(self, counts: Counts, done: Callable[[], None]) -> None:
        """A worker's counts; ``done`` is called when they are kept."""
        self._metrics.take_soon(counts, self._config_of, time.time(), done)

    async def run(self) -> None:
        """Until cancelled."""
        looks = 0
        while True:
            try:
                await self._look(time.time())
                if looks % PRUNE_EVERY == 0:
                    await self._metrics.prune(time.time())
            except sqlite3.Error as error:
                log.warning("metrics cannot be kept: %s", error)
            looks += 1
            await asyncio.sleep(PERIOD - time.time() % PERIOD)

    async def _look(self, now: float) -> None:
        places = {id_: place for endpoint in self._view.endpoints.values() for id_, place in _places(endpoint)}
        self._places = {**{i: p for i, p in self._places.items() if i not in places}, **places}
        if len(self._places) > 4 * len(places) + 1000:
            self._places = places
        usages = await self._engine.measure() if isinstance(self._engine, Measuring) else ()
        shares = {"DiskUtilization": machine.disk_used(self._home)}
        if places and (gpus := await self._gpus.look()) is not None:
            shares |= {"GPUUtilization": gpus.busy, "GPUMemoryUtilization": gpus.memory}
        shared = _shared(places, shares, now)
        values = [*_idle(places, now), *self._busy(now), *_used(usages, self._before, places), *shared]
        self._view.note_usage(usages)
        used.write(self._home, [_as_seen(usage, self._before) for usage in usages])
        self._before = {(usage.instance_id, usage.hostname): usage for usage in usages}
        await self._metrics.add(values)

    def used(self) -> Iterator[tuple[tuple[str, ...], Usage]]:
        """What each container used at the last look, by account, region, endpoint, variant, container and instance."""
        for (instance, hostname), usage in self._before.items():
            if place := self._places.get(instance):
                owner = place.owner
                names = (owner.account, owner.region, place.endpoint, place.variant.name)
                yield (*names, hostname or "primary", instance), usage

    def _config_of(self, instance: str) -> str:
        place = self._places.get(instance)
        if place is None:
            found = {id_: one for endpoint in self._view.endpoints.values() for id_, one in _places(endpoint)}
            self._places.update(found)
            place = found.get(instance)
        return place.config if place else ""

    def _busy(self, now: float) -> Iterator[Value]:
        """Calls in flight, of all workers together."""
        for (account, region, endpoint, variant), count in self._metrics.in_flight(now).items():
            values = Distribution()
            values.add(float(count))
            key = counted.key(
                Owner(account, region), "ConcurrentRequestsPerModel", By.VARIANT, endpoint=endpoint, variant=variant
            )
            yield Value(key, now, values)


def _places(endpoint: Endpoint) -> Iterator[tuple[str, Place]]:
    deployments: list[Deployment | None] = [endpoint.state.pending, endpoint.state.active]
    for deployment in filter(None, deployments):
        for fleet in deployment.fleets:
            for row in fleet.instances:
                yield row.id, Place(endpoint.owner, endpoint.name, fleet.variant, deployment.config_name)


def _idle(places: dict[str, Place], now: float) -> Iterator[Value]:
    """Nothing was counted, but the series are there: what scales by them reads 0, and not no data."""
    for owner, endpoint, variant in {(place.owner, place.endpoint, place.variant.name) for place in places.values()}:
        for name in ("Invocations", "InvocationsPerInstance"):
            yield Value(counted.key(owner, name, By.VARIANT, endpoint=endpoint, variant=variant), now, Distribution())


def _shared(places: dict[str, Place], used: Mapping[str, float | None], now: float) -> Iterator[Value]:
    """What is the machine's is every variant's, once for each of its instances."""
    for place in places.values():
        for name, value in used.items():
            if value is not None:
                yield _value(place, name, By.VARIANT, now, value)


def _used(usages: tuple[Usage, ...], before: dict[tuple[str, str], Usage], places: dict[str, Place]) -> Iterator[Value]:
    by_instance: dict[str, list[tuple[Usage, float | None, float]]] = {}
    for usage in usages:
        cpu = _cpu(before.get((usage.instance_id, usage.hostname)), usage)
        memory = 100 * usage.memory / (usage.memory_limit or _machine_memory())
        by_instance.setdefault(usage.instance_id, []).append((usage, cpu, memory))
    for instance, measured in by_instance.items():
        place = places.get(instance)
        if place is not None:
            yield from _of_instance(instance, place, measured)


def _of_instance(instance: str, place: Place, measured: list[tuple[Usage, float | None, float]]) -> Iterator[Value]:
    cpus = [cpu for _, cpu, _ in measured if cpu is not None]
    at = measured[0][0].at
    sums = [("MemoryUtilization", sum(memory for _, _, memory in measured))]
    if cpus:
        sums.append(("CPUUtilization", sum(cpus)))
    for name, value in sums:
        yield _value(place, name, By.VARIANT, at, value)
        yield _value(place, name, By.INSTANCE, at, value, instance)
    if place.variant.mode is Mode.SINGLE:
        return
    for usage, cpu, memory in measured:
        yield _value(place, "MemoryUtilization", By.CONTAINER, at, memory, usage.hostname)
        if cpu is not None:
            yield _value(place, "CPUUtilization", By.CONTAINER, at, cpu, usage.hostname)


def _value(place: Place, name: str, by: By, at: float, value: float, more: str = "") -> Value:
    values = Distribution()
    values.add(value)
    key = counted.key(place.owner, name, by, endpoint=place.endpoint, variant=place.variant.name, more=more)
    return Value(key, at, values)


def _cpu(before: Usage | None, usage: Usage) -> float | None:
    """Percent of one CPU since the last look; ``None`` when there was none, or the container began anew."""
    if before is None or usage.at <= before.at or usage.cpu_seconds < before.cpu_seconds:
        return None
    return 100 * (usage.cpu_seconds - before.cpu_seconds) / (usage.at - before.at)


def _as_seen(usage: Usage, before: dict[tuple[str, str], Usage]) -> used.Used:
    cpu = _cpu(before.get((usage.instance_id, usage.hostname)), usage)
    return used.Used(usage.instance_id, usage.hostname, usage.at, cpu, usage.memory, usage.memory_limit)


def _machine_memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
