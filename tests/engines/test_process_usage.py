"""What plain processes use: what is theirs, what is shared, and what is lost."""

import asyncio
import os
from pathlib import Path

import pytest

from engines.labs import (
    DEADLINE,
    ProcessLab,
    instance,
    run,
    until,
    until_healthy,
    until_true,
)
from engines.using import (
    HOLD,
    MIB,
    count_what_a_child_spent,
    until_measured,
)
from polyport.engines.process import processes
from polyport.engines.process import usage as process_usage
from polyport.engines.process.engine import ProcessEngine


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


def test_what_it_had_at_its_peak_is_told_of_one_that_ended(process_lab: ProcessLab) -> None:
    """Also of one that lived too short to be measured, and gave it all back before; with what there was to be had."""

    async def story(engine: ProcessEngine) -> None:
        program = "x = bytearray(100 << 20); del x; os._exit(3)"
        await engine.apply(instance(process_lab.container("first", runs=[program])))
        [state] = await until(engine, lambda states: states and states[0].containers[0].last_exit)
        last = state.containers[0].last_exit
        assert last is not None
        assert last.code == 3
        assert last.memory is not None
        assert last.memory_limit is not None
        assert 100 * MIB < last.memory < 200 * MIB < last.memory_limit

    run(process_lab.make(), story)


def test_the_limit_is_the_tightest_cgroup_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or the machine's memory; what a cgroup does not say limits nothing."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    monkeypatch.setattr(processes, "_PROC", tmp_path)
    monkeypatch.setattr(processes, "_CGROUPS", tmp_path / "cgroup")
    assert processes.find_memory_limit() == machine
    inner = tmp_path / "cgroup" / "outer" / "inner"
    inner.mkdir(parents=True)
    (tmp_path / "self").mkdir()
    (tmp_path / "self" / "cgroup").write_text("0::/outer/inner\n")
    (inner / "memory.max").write_text("max\n")
    assert processes.find_memory_limit() == machine
    (inner.parent / "memory.max").write_text("4096\n")
    assert processes.find_memory_limit() == 4096
