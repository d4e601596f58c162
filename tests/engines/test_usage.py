"""What containers use: the part of the contract on measuring, for every engine, and the fake's."""

import asyncio
import time
from pathlib import Path

from engines.labs import (
    IMAGE,
    Lab,
    container_of,
    find,
    instance,
    run,
    until,
    until_healthy,
    until_true,
)
from engines.using import (
    MIB,
    MeasuringEngine,
    make,
    read,
    until_measured,
)
from polyport.domain.instances import Container
from polyport.engines import fake
from polyport.engines.contract import Usage
from polyport.settings import Settings


def test_a_container_that_burns_cpu_shows_it_and_an_idle_one_does_not(lab: Lab) -> None:
    """CPU seconds are a counter of each container alone, with the moment it was read at."""

    async def story(engine: MeasuringEngine) -> None:
        await engine.apply(instance(make(lab, "busy", cpus=1.0), make(lab, "idle")))
        await until_healthy(engine)
        before = await until_measured(engine, "busy", "idle")
        readings = [before["busy"]]

        async def grows() -> bool:
            readings.append((await read(engine))["busy"])
            return readings[-1].cpu_seconds >= readings[0].cpu_seconds + 0.3

        await until_true(grows)
        counts = [usage.cpu_seconds for usage in readings]
        assert counts == sorted(counts)
        assert readings[0].at < readings[-1].at <= time.time()
        # No more than the CPUs of the machine can do, and half a second for coarse counters.
        assert counts[-1] - counts[0] <= 64 * (readings[-1].at - readings[0].at) + 0.5
        after = (await read(engine))["idle"]
        assert after.cpu_seconds - before["idle"].cpu_seconds < 0.2

    run(lab.make(), story)


def test_a_container_that_holds_memory_shows_it(lab: Lab) -> None:
    """50 MiB are 50 MiB, and those of one container are not another's. Without limits there is none."""

    async def story(engine: MeasuringEngine) -> None:
        await engine.apply(instance(make(lab, "large", memory=50 * MIB), make(lab, "small")))
        await until_healthy(engine)
        found = await until_measured(engine, "large", "small")
        assert 50 * MIB <= found["large"].memory < 100 * MIB
        assert found["small"].memory < 50 * MIB
        assert found["large"].memory - found["small"].memory > 40 * MIB
        assert [usage.memory_limit for usage in found.values()] == [None, None]

    run(lab.make(), story)


def test_only_what_runs_is_measured(lab: Lab) -> None:
    """A container that cannot run, and an instance that is gone, are left out; the others are measured all the same."""

    async def story(engine: MeasuringEngine) -> None:
        assert await engine.measure() == ()
        await engine.apply(instance(make(lab, "whole"), lab.container("broken", broken=True)))
        await engine.apply(instance(make(lab, "other"), id="i-2"))
        await until(engine, lambda states: container_of(find(states), "broken").last_exit)
        await until_healthy(engine, "i-2")
        found = await until_measured(engine, "whole", "other")
        assert {name: usage.instance_id for name, usage in found.items()} == {"whole": "i-1", "other": "i-2"}
        await engine.remove("i-1")
        await until(engine, lambda states: find(states) is None)
        assert set(await read(engine)) == {"other"}

    run(lab.make(), story)


def test_a_container_that_was_killed_is_absent_until_it_runs_again_and_counts_anew(lab: Lab) -> None:
    """The counter is that of a run: consumers see a restart as they see it with every counter."""

    async def story(engine: MeasuringEngine) -> None:
        await engine.apply(instance(make(lab, "first", cpus=1.0)))
        state = await until_healthy(engine)

        async def has_used() -> bool:
            return (await until_measured(engine, "first"))["first"].cpu_seconds > 0.5

        await until_true(has_used)
        lab.kill(state, "first")
        await until(engine, lambda states: container_of(find(states), "first").restarts == 1)
        usage = (await until_measured(engine, "first"))["first"]
        state = find(await engine.observe())
        assert usage.cpu_seconds < 64 * (usage.at - (container_of(state, "first").started_at or 0.0)) + 0.1

    run(lab.make(), story)


# --- the fake


def test_the_fake_uses_what_its_script_says(tmp_path: Path) -> None:
    """By the machine's clock, from each start."""
    now = [1000.0]
    machine = fake.Machine(lambda: now[0])
    machine.scripts["first"] = fake.Script(cpus=0.5, memory=7, memory_limit=8, exits_after=100.0)

    async def story() -> None:
        engine = fake.FakeEngine(Settings(home=tmp_path), machine)
        await engine.open()
        await engine.apply(instance(Container("first", IMAGE)))
        now[0] = 1010.0
        assert await engine.measure() == (Usage("i-1", "first", 1010.0, 5.0, 7, 8),)
        now[0] = 1101.0  # ended at 1100, and started again at once
        assert await engine.measure() == (Usage("i-1", "first", 1101.0, 0.5, 7, 8),)
        await engine.close()

    asyncio.run(story())
