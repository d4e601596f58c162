"""Helpers of the tests on what containers use: containers that use something, and what engines tell of them."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

from engines.labs import (
    FakeLab,
    Lab,
    instance,
    until_healthy,
    until_true,
)
from polyport.domain.instances import Container
from polyport.engines import fake
from polyport.engines.contract import Engine, Measuring, Usage

MIB = 1024 * 1024
BURN = """
import threading
def burn():
    while True:
        sum(range(100_000))
threading.Thread(target=burn, daemon=True).start()
"""
HOLD = f"sys.held = b'x' * (50 * {MIB})"
#: A child burns 0.3 s of CPU and ends; then the container says so by listening.
SPEND = """
import time
child = os.fork()
if child == 0:
    while time.process_time() < 0.3:
        pass
    os._exit(0)
os.waitpid(child, 0)
"""


class MeasuringEngine(Engine, Measuring, Protocol):
    """Every engine that there is."""


def count_what_a_child_spent(lab: Lab) -> Callable[[MeasuringEngine], Awaitable[None]]:
    """The story of a container whose child is gone by the time that it listens."""

    async def story(engine: MeasuringEngine) -> None:
        await engine.apply(instance(lab.container("first", runs=[SPEND])))
        await until_healthy(engine)
        assert (await until_measured(engine, "first"))["first"].cpu_seconds >= 0.28

    return story


def make(lab: Lab, hostname: str, cpus: float = 0.0, memory: int = 0) -> Container:
    """A container that keeps a CPU busy, or has so much memory."""
    if isinstance(lab, FakeLab):
        made = lab.container(hostname)
        lab.machine.scripts[hostname] = fake.Script(cpus=cpus, memory=memory)
        return made
    return lab.container(hostname, runs=[*([BURN] if cpus else []), *([HOLD] if memory else [])])


def by_name(found: Iterable[Usage]) -> dict[str, Usage]:
    """By host name."""
    return {usage.hostname: usage for usage in found}


async def read(engine: Measuring) -> dict[str, Usage]:
    """What it tells now, by host name."""
    return by_name(await engine.measure())


async def until_measured(engine: Measuring, *hostnames: str) -> dict[str, Usage]:
    """What it tells once these are among those that are told of."""
    found: dict[str, Usage] = {}

    async def are_there() -> bool:
        nonlocal found
        found = await read(engine)
        return set(hostnames) <= found.keys()

    await until_true(are_there)
    return found
