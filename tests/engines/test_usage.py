"""What containers use: the part of the contract on measuring, for every engine, and what each engine sees to."""

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

import pytest

from engines.labs import (
    DEADLINE,
    IMAGE,
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
from polyport.engines.contract import Engine, Measuring, Usage
from polyport.engines.docker import usage as docker_usage
from polyport.engines.docker.calls import Away, Calls
from polyport.engines.docker.engine import DockerEngine
from polyport.engines.process import processes
from polyport.engines.process import usage as process_usage
from polyport.engines.process.engine import ProcessEngine
from polyport.settings import Settings

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


# --- plain processes


def test_children_of_processes_that_have_ended_still_count(process_lab: ProcessLab) -> None:
    """What a container had done by a process that is gone is its CPU time too."""
    run(process_lab.make(), count_what_a_child_spent(process_lab))


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


def test_children_of_docker_containers_that_have_ended_still_count(docker_lab: DockerLab) -> None:
    """What a container had done by a process that is gone is its CPU time too."""
    run(docker_lab.make(), count_what_a_child_spent(docker_lab))


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
        assert local["first"].memory >= 50 * MIB

    run(docker_lab.make(**size), story)


def test_docker_containers_that_end_are_left_out_of_what_the_daemon_tells(docker_lab: DockerLab) -> None:
    """Podman answers with nothing at all for one that has ended, and with an error for one that is not there."""

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first"), docker_lab.container("ended", exits_after=0.2)))
        keepers = engine._held["i-1"].keepers

        async def is_known_to_have_ended() -> bool:
            """The pause before it is started once more is 2 seconds."""
            seen, life = keepers["ended"].seen, keepers["ended"].life
            return seen is not None and not seen.running and life.starts == 3 and life.counted == life.run

        await until_true(is_known_to_have_ended)
        ids = {name: keeper.seen.id for name, keeper in keepers.items() if keeper.seen} | {"nobody": "0" * 64}
        targets = [docker_usage.Target("i-1", name, container, 1) for name, container in ids.items()]
        assert set(by_name(await docker_usage.measure(engine._calls, targets, 0))) == {"first"}
        assert engine.trouble == ""

    run(docker_lab.make(), story)


def test_docker_containers_are_measured_while_the_daemon_is_stuck(docker_lab: DockerLab) -> None:
    """The kernel's counters need no daemon. Where they are not to be had, a daemon that hangs is waited for no longer
    than the limit, and is not for that taken to be away."""

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first")))
        await until_healthy(engine)
        (target,) = engine._held["i-1"].targets()
        elsewhere = docker_usage.Target(target.instance_id, "first", target.container, pid=1)
        os.kill(docker_lab.service.pid, signal.SIGSTOP)
        try:
            assert set(await read(engine)) == {"first"}
            assert await docker_usage.measure(engine._calls, [elsewhere], 0, limit=0.1) == ()
            assert engine.trouble == ""
        finally:
            os.kill(docker_lab.service.pid, signal.SIGCONT)
        assert len(await docker_usage.measure(engine._calls, [elsewhere], 0)) == 1

    run(docker_lab.make(), story)


class Answers:
    """A daemon's answers by container: a mapping, an error to raise, ``None`` for none at all."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self.answers = answers
        self.now = self.most = 0

    async def ask(self, path: str, **params: str) -> Any:
        assert params == {"stream": "false", "one-shot": "true"}
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            answer = self.answers[path.split("/")[1]]
            await (asyncio.sleep(0) if answer is not None else asyncio.Event().wait())
            if isinstance(answer, Exception):
                raise answer
            return answer
        finally:
            self.now -= 1


def test_one_bad_container_never_fails_the_rest() -> None:
    """One that hangs, one that is an error, and one that is nonsense are left out; few questions at the same time."""
    good = {"cpu_stats": {"cpu_usage": {"total_usage": 2_500_000_000}}, "memory_stats": {"usage": 7}}
    answers: dict[str, Any] = {f"good{number}": good for number in range(100)}
    answers |= {"hangs": None, "away": Away("no"), "empty": ValueError(), "list": [], "text": {"cpu_stats": "much"}}
    asked = Answers(answers)
    targets = [docker_usage.Target("i-1", name, name, 1) for name in answers]
    found = asyncio.run(docker_usage.measure(cast("Calls", asked), targets, 0, limit=0.5))
    assert {usage.hostname for usage in found} == {name for name in answers if name.startswith("good")}
    assert {(usage.cpu_seconds, usage.memory, usage.memory_limit) for usage in found} == {(2.5, 7, None)}
    assert asked.most <= 16
    assert asked.now == 0


@pytest.mark.parametrize(
    ("memory", "expected"),
    [
        ({"usage": 100, "limit": 1000, "stats": {"total_inactive_file": 30, "inactive_file": 1}}, (70, None)),
        ({"usage": 100, "limit": 999, "stats": {"inactive_file": 30}}, (70, 999)),
        ({"usage": 100, "limit": 2**63 - 1, "stats": None}, (100, None)),
        ({"usage": 100}, (100, None)),
        ({"usage": 100, "stats": {"inactive_file": 130}}, (0, None)),
    ],
)
def test_what_daemons_tell_is_told_alike(memory: dict[str, Any], expected: tuple[int, int | None]) -> None:
    """Docker on both versions of cgroups, and Podman, which does not say what can be taken back. A limit as high as the
    machine's memory is none."""
    reading = docker_usage.parse_answer({"cpu_stats": {"cpu_usage": {"total_usage": 1}}, "memory_stats": memory}, 1000)
    assert reading is not None
    assert (reading.memory, reading.memory_limit) == expected


@pytest.mark.parametrize("answer", [{}, {"cpu_stats": {}, "memory_stats": {}}, {"cpu_stats": None}])
def test_a_daemon_that_tells_nothing_is_no_container_that_uses_nothing(answer: dict[str, Any]) -> None:
    """Docker tells zeros, or leaves it out, of containers that do not run."""
    assert docker_usage.parse_answer(answer, 1000) is None


@pytest.mark.parametrize(
    ("cgroups", "files"),
    [
        (
            "0::/machine.slice/libpod-c0ffee.scope/container/init.scope\n",
            {
                "machine.slice/libpod-c0ffee.scope/cpu.stat": "usage_usec 2500000\nuser_usec 2000000\n",
                "machine.slice/libpod-c0ffee.scope/memory.current": "100\n",
                "machine.slice/libpod-c0ffee.scope/memory.stat": "anon 60\ninactive_file 30\n",
                "machine.slice/libpod-c0ffee.scope/memory.max": "max\n",
            },
        ),
        (
            "4:memory:/docker/c0ffee\n2:cpu,cpuacct:/docker/c0ffee\n1:name=systemd:/docker/c0ffee\n0::/\n",
            {
                "cpuacct/docker/c0ffee/cpuacct.usage": "2500000000\n",
                "memory/docker/c0ffee/memory.usage_in_bytes": "100\n",
                "memory/docker/c0ffee/memory.stat": "inactive_file 1\ntotal_inactive_file 30\n",
                "memory/docker/c0ffee/memory.limit_in_bytes": "9223372036854771712\n",
            },
        ),
    ],
)
def test_both_versions_of_cgroups_are_read(
    cgroups: str, files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole container's, however deep its main process is in it; another container's never."""
    monkeypatch.setattr(docker_usage, "_CGROUPS", tmp_path)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    reading = docker_usage.read_folders(docker_usage.find_folders(cgroups, "c0ffee"))
    assert (reading.cpu_seconds, reading.memory, reading.memory_limit) == (2.5, 70, None)
    assert docker_usage.find_folders(cgroups, "decaf") == {}


@pytest.mark.parametrize(("text", "limit"), [("max\n", None), ("9223372036854771712\n", None), ("4096\n", 4096)])
def test_no_limit_is_none(text: str, limit: int | None) -> None:
    """Each version of cgroups says it in its own way."""
    assert docker_usage.parse_limit(text) == limit


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
