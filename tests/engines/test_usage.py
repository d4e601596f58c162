"""What containers use: the part of the contract on measuring, for every engine, and what each engine sees to."""

import asyncio
import json
import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from engines.labs import (
    DEADLINE,
    DockerLab,
    FakeLab,
    Lab,
    ProcessLab,
    container_of,
    find,
    instance,
    run,
    until,
    until_healthy,
    until_true,
)
from polyport.domain.instances import Container
from polyport.engines import fake
from polyport.engines.contract import Measuring, Usage
from polyport.engines.docker import usage as docker_usage
from polyport.engines.docker.calls import Away, Calls
from polyport.engines.docker.engine import DockerEngine
from polyport.engines.process import processes
from polyport.engines.process import usage as process_usage
from polyport.engines.process.engine import ProcessEngine

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


def test_a_container_that_burns_cpu_shows_it_and_an_idle_one_does_not(lab: Lab) -> None:
    """CPU seconds are a counter of each container alone, with the moment it was read at."""

    async def story(engine: Measuring) -> None:
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

    async def story(engine: Measuring) -> None:
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

    async def story(engine: Measuring) -> None:
        assert await engine.measure() == ()
        await engine.apply(instance(make(lab, "whole"), lab.container("broken", broken=True)))
        await engine.apply(instance(make(lab, "other"), id="i-2"))
        await until(engine, lambda states: container_of(find(states), "broken").last_exit)
        await until_healthy(engine, "i-2")
        assert {usage.instance_id for usage in (await until_measured(engine, "whole", "other")).values()} == {"i-1", "i-2"}
        await engine.remove("i-1")
        await until(engine, lambda states: find(states) is None)
        assert set(await read(engine)) == {"other"}

    run(lab.make(), story)


def test_a_container_that_was_killed_is_absent_until_it_runs_again_and_counts_anew(lab: Lab) -> None:
    """The counter is that of a run: consumers see a restart as they see it with every counter."""

    async def story(engine: Measuring) -> None:
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


@pytest.mark.parametrize("kind", ["process_lab", pytest.param("docker_lab", marks=pytest.mark.slow)])
def test_children_that_have_ended_still_count(kind: str, request: pytest.FixtureRequest) -> None:
    """What a container had done by a process that is gone is its CPU time too."""
    lab = request.getfixturevalue(kind)

    async def story(engine: Measuring) -> None:
        await engine.apply(instance(lab.container("first", runs=[SPEND])))
        await until_healthy(engine)
        assert (await until_measured(engine, "first"))["first"].cpu_seconds >= 0.28

    run(lab.make(), story)


# --- plain processes


def test_memory_that_processes_share_counts_once(process_lab: ProcessLab) -> None:
    """A server that loads its model and then forks its workers has it in memory once."""
    forks = "for _ in range(4):\n    if os.fork() == 0:\n        signal.pause()"

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", runs=[HOLD, forks])))
        await until_healthy(engine)
        for _ in range(2):  # the second time from what is remembered
            assert 50 * MIB <= (await until_measured(engine, "first"))["first"].memory < 100 * MIB

    run(process_lab.make(), story)


def test_processes_that_left_their_parents_count(process_lab: ProcessLab) -> None:
    """A daemon in a session of its own is the container's, though its main process does not know it."""
    daemon = f"""
if os.fork() == 0:
    os.setsid()
    if os.fork():
        os._exit(0)
    {HOLD}
    signal.pause()
os.wait()
"""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", runs=[daemon]), process_lab.container("second")))
        await until_healthy(engine)

        async def is_held() -> bool:
            return (await until_measured(engine, "first"))["first"].memory >= 50 * MIB

        await until_true(is_held)
        assert (await until_measured(engine, "second"))["second"].memory < 50 * MIB

    run(process_lab.make(), story)


def test_a_look_that_takes_too_long_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading of a process that is stuck in the kernel blocks: the caller goes on, and no second look is begun."""
    looks = []

    async def story() -> None:
        going = asyncio.Event()
        loop = asyncio.get_running_loop()

        def read_table() -> dict[int, processes.Process]:
            looks.append(1)
            asyncio.run_coroutine_threadsafe(going.wait(), loop).result()
            return {}

        monkeypatch.setattr(processes, "read_table", read_table)
        meter = process_usage.Meter()
        assert await meter.measure([], limit=0.01) == ()
        assert await meter.measure([], limit=0.01) == ()
        assert len(looks) == 1
        going.set()
        assert await meter.measure([], limit=DEADLINE) == ()
        assert await meter.measure([], limit=DEADLINE) == ()
        assert len(looks) == 2

    asyncio.run(story())


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        ([5, 7, 7, 9], [5, 7, 7, 9]),
        # A child that ended between the look at its parent and that at itself.
        ([50, 20, 51], [50, 50, 51]),
        # A child that nobody waited for.
        ([50, 20, 21, 25], [50, 50, 50, 54]),
        ([50, 20, 10, 15, 5, 6, 8], [50, 50, 50, 55, 55, 55, 57]),
    ],
)
def test_a_counter_never_goes_back(seen: list[int], told: list[int]) -> None:
    """It stands still where something is lost, and goes on from there."""
    counter = process_usage.Counter()
    assert [counter.take(ticks) for ticks in seen] == told


def test_the_share_of_a_process_is_found_out_again_when_it_is_old_or_the_process_another_size() -> None:
    """Between two times its size tells enough."""
    share = process_usage.Share(bytes=100 * MIB, pages=100_000, until=60.0)
    page = process_usage._PAGE
    assert share.estimate(100_000, 59.0) == 100 * MIB
    assert share.estimate(101_000, 59.0) == 100 * MIB + 1000 * page
    assert share.estimate(100_000, 60.0) is None
    assert share.estimate(107_000, 59.0) is None
    assert share.estimate(93_000, 59.0) is None


# --- the daemon


def test_docker_and_the_kernel_tell_the_same(docker_lab: DockerLab) -> None:
    """Where the daemon's containers are not this machine's, the daemon is asked; a limit is told as it was set."""
    size = {"instance_limits": True, "instance_types": ("ml.mine=1:0.25",)}

    async def story(engine: DockerEngine) -> None:
        wanted = instance(docker_lab.container("first", runs=[HOLD]))
        await engine.apply(type(wanted)(wanted.id, wanted.labels, wanted.containers, instance_type="ml.mine"))
        await engine.apply(instance(docker_lab.container("free"), id="i-2"))
        await until_healthy(engine)
        await until_healthy(engine, "i-2")
        local = await until_measured(engine, "first", "free")
        targets = [target for held in engine._held.values() for target in held.targets()]
        assert all(docker_usage.read_cgroup(target.container, target.pid) for target in targets)
        elsewhere = [docker_usage.Target(t.instance_id, t.hostname, t.container, pid=1) for t in targets]
        assert engine._daemon is not None
        asked = by_name(await docker_usage.measure(engine._calls, elsewhere, engine._daemon.memory))
        assert set(asked) == set(local)
        for name, limit in (("first", 256 * MIB), ("free", None)):
            assert asked[name].memory_limit == local[name].memory_limit == limit
            assert abs(asked[name].cpu_seconds - local[name].cpu_seconds) < 0.5
            assert asked[name].memory > local[name].memory - 5 * MIB
        assert 50 * MIB <= local["first"].memory

    run(docker_lab.make(**size), story)


def test_docker_containers_that_end_are_left_out_of_what_the_daemon_tells(docker_lab: DockerLab) -> None:
    """Podman answers with nothing at all for one that has ended, and with an error for one that is not there."""

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first"), docker_lab.container("ended", exits_after=0.2)))
        await until(engine, lambda states: container_of(find(states), "ended").restarts >= 2)
        await until(engine, lambda states: container_of(find(states), "ended").phase == "backoff")
        keepers = engine._held["i-1"].keepers
        ids = {name: keeper.seen.id for name, keeper in keepers.items() if keeper.seen} | {"nobody": "0" * 64}
        targets = [docker_usage.Target("i-1", name, container, 1) for name, container in ids.items()]
        assert set(by_name(await docker_usage.measure(engine._calls, targets, 0))) == {"first"}
        assert engine.trouble == ""

    run(docker_lab.make(), story)


def test_docker_containers_are_measured_while_the_daemon_is_stuck(docker_lab: DockerLab) -> None:
    """The kernel's counters need no daemon; and one that hangs is waited for no longer than the limit."""
    service = docker_lab.service

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first")))
        await until_healthy(engine)
        docker_usage.os_kill(service.pid, signal.SIGSTOP)

    run(docker_lab.make(), story)
