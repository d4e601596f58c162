"""What the process engine promises beyond the contract."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from engines.labs import (
    ProcessLab,
    container_of,
    find,
    instance,
    pids,
    run,
    spare_ports,
    until,
    until_healthy,
    until_true,
)
from engines.seeing import can_mount, descendants_of, dump, is_gone, members_of, read_dump
from polyport.domain.instances import ContainerPhase
from polyport.engines.process import files, processes
from polyport.engines.process.engine import ProcessEngine
from polyport.errors import EngineError


def test_a_stray_in_a_session_of_its_own_ends_with_its_container(process_lab: ProcessLab) -> None:
    """Removal ends the whole container: children, and daemons that left the process group and lost their parent."""
    sleep = "[sys.executable, '-S', '-c', 'import signal; signal.signal(15, signal.SIG_IGN); signal.pause()']"
    orphan = "if os.fork() == 0:\n os.setsid()\n if os.fork() == 0:\n  signal.pause()\n os._exit(0)\nos.wait()"
    container = process_lab.container(
        "first",
        runs=[f"subprocess.Popen({sleep})", f"subprocess.Popen({sleep}, start_new_session=True, env={{}})", orphan],
    )

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container, stop_timeout=0.2))
        state = await until_healthy(engine)
        base = process_lab.folder() / "containers" / "first" / "ml"
        main = processes.read(container_of(state, "first").pid or 0)
        assert main is not None
        members = members_of(processes.Marks(base, main.pid, main.started))
        assert len(members) == 4
        await engine.remove("i-1")
        await until(engine, lambda states: not states)
        assert all(is_gone(pid) for pid in members)

    run(process_lab.make(), story)


def test_what_a_crashed_container_leaves_is_ended_before_its_next_start(process_lab: ProcessLab) -> None:
    """A worker that survives its main process would keep the port, whatever it did to its session and environment."""
    sleep = "[sys.executable, '-S', '-c', 'import signal; signal.pause()']"
    worker = "if os.fork() == 0:\n    signal.pause()"
    runs = [worker, f"subprocess.Popen({sleep}, start_new_session=True, env={{}})"] if can_mount() else [worker]
    container = process_lab.container("first", runs=runs)

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container, process_lab.container("second")))
        before = await until_healthy(engine)
        main = container_of(before, "first").pid or 0
        left = processes.find_descendants(main)
        assert len(left) == len(runs)
        os.kill(main, signal.SIGKILL)
        await until(engine, lambda states: container_of(find(states), "first").restarts == 1)
        assert all(is_gone(pid) for pid in left)
        assert container_of(find(await engine.observe()), "second") == container_of(before, "second")

    run(process_lab.make(), story)


def test_an_instance_comes_back_by_itself_when_its_supervisor_is_killed(process_lab: ProcessLab) -> None:
    """Containers die with their supervisor, strays too; a successor starts them without a new `apply`."""
    stray = "if os.fork() == 0:\n    os.setsid()\n    signal.pause()"
    sleep = "[sys.executable, '-S', '-c', 'import signal; signal.pause()']"
    runs = [stray, f"subprocess.Popen({sleep}, start_new_session=True, env={{}})"] if can_mount() else [stray]
    container = process_lab.container("first", runs=runs)

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container))
        before = container_of(await until_healthy(engine), "first").pid
        supervisor = process_lab.supervisor() or 0
        old = descendants_of(supervisor)
        assert len(old) == 1 + len(runs)
        os.kill(supervisor, signal.SIGKILL)
        await until(engine, lambda states: container_of(find(states), "first").pid not in (before, None))
        after = container_of(await until_healthy(engine), "first")
        assert all(is_gone(pid) for pid in old)
        assert (after.restarts, after.last_exit and after.last_exit.signal) == (1, signal.SIGKILL)
        assert process_lab.supervisor() not in (supervisor, None)

    run(process_lab.make(), story)


def test_instances_whose_supervisor_died_unseen_come_back_at_open(process_lab: ProcessLab) -> None:
    """Control was down when the supervisor was killed: the next control finds the instance by its folder."""

    async def first(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    async def second(engine: ProcessEngine) -> None:
        assert container_of(await until_healthy(engine), "first").restarts == 1

    run(process_lab.make(), first)
    supervisor = process_lab.supervisor() or 0
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    run(process_lab.make(), second)


def test_a_supervisor_may_be_killed_at_any_moment_of_its_life(process_lab: ProcessLab) -> None:
    """Before it has its lock, over its first start, afterwards: each time the instance comes to what it should be."""

    async def story(engine: ProcessEngine) -> None:
        await asyncio.gather(*(kill_after(engine, f"i-{number}", number * 0.015) for number in range(8)))
        for number in range(8):
            state = await until_healthy(engine, f"i-{number}")
            base = process_lab.folder(f"i-{number}") / "containers" / "first" / "ml"
            assert members_of(processes.Marks(base)) == {container_of(state, "first").pid}

    async def kill_after(engine: ProcessEngine, instance_id: str, seconds: float) -> None:
        await engine.apply(instance(process_lab.container("first"), id=instance_id))
        await asyncio.sleep(seconds)
        folder = str(process_lab.folder(instance_id)).encode()
        for pid, process in processes.read_table().items():
            with contextlib.suppress(OSError):  # it ended meanwhile
                if folder in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") and not process.ended:
                    os.kill(pid, signal.SIGKILL)

    run(process_lab.make(), story)


def test_a_change_is_made_when_the_supervisor_is_killed_over_it(process_lab: ProcessLab) -> None:
    """A successor starts what is wanted now, with nothing of what was wanted before."""
    leave = "open('left', 'w').close()"

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", runs=[leave])))
        await until_healthy(engine)
        supervisor = process_lab.supervisor() or 0
        os.kill(supervisor, signal.SIGSTOP)  # so that the change is made by the successor alone
        await engine.apply(instance(process_lab.container("first", **dump("os.listdir('.')"))))
        os.kill(supervisor, signal.SIGKILL)
        state = container_of(await until_healthy(engine), "first")
        assert (state.restarts, state.last_exit) == (0, None)

    run(process_lab.make(), story)
    assert read_dump(process_lab) == []


def test_removal_goes_on_when_the_supervisor_is_killed_over_it(process_lab: ProcessLab) -> None:
    """A successor finds that nothing is wanted, and clears away."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", ignores_sigterm=True), stop_timeout=60))
        pid = container_of(await until_healthy(engine), "first").pid or 0
        await engine.remove("i-1")
        os.kill(process_lab.supervisor() or 0, signal.SIGKILL)
        await until(engine, lambda states: not states)
        assert is_gone(pid)
        assert not process_lab.folder().exists()

    run(process_lab.make(), story)


def test_there_is_never_a_second_supervisor(process_lab: ProcessLab) -> None:
    """The lock decides: a second one ends at once and touches nothing."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        before = await until_healthy(engine)
        command = [sys.executable, "-I", "-m", "polyport.engines.process.supervisor", str(process_lab.folder())]
        second = await asyncio.create_subprocess_exec(*command)
        assert await second.wait() == 0
        assert pids(await until_healthy(engine)) == pids(before)

    run(process_lab.make(), story)


def test_a_supervisor_asked_to_end_ends_its_containers_and_leaves_the_instance(process_lab: ProcessLab) -> None:
    """SIGTERM, as a machine's shutdown sends it: containers end in order, and a next start brings them back."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        before = container_of(await until_healthy(engine), "first").pid
        os.kill(process_lab.supervisor() or 0, signal.SIGTERM)
        await until(engine, lambda states: container_of(find(states), "first").pid not in (before, None))
        await until_healthy(engine)

    run(process_lab.make(), story)


@pytest.mark.parametrize("damage", [b"", b'{"instance": {"id": "i-1"', b"[1, 2]", b'{"containers": 7}'])
def test_a_torn_specification_ends_the_instance(process_lab: ProcessLab, damage: bytes) -> None:
    """After a crash of the machine: what cannot be read is cleared away, its processes too, and the id is free."""

    async def first(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    async def second(engine: ProcessEngine) -> None:
        assert [state.stopping for state in await engine.observe()] == [True]
        await until(engine, lambda states: not states)
        assert is_gone(supervisor)
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    run(process_lab.make(), first)
    supervisor = process_lab.supervisor() or 0
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    (process_lab.folder() / files.SPEC).write_bytes(damage)
    run(process_lab.make(), second)


@pytest.mark.parametrize(
    "foreign",
    [
        b"",
        b"null",
        b'{"containers": 1}',
        b'{"boot_id": 1, "containers": [7, {}, {"hostname": "first", "version": "x"}]}',
    ],
)
def test_foreign_state_files_are_not_believed(process_lab: ProcessLab, foreign: bytes) -> None:
    """A state that no supervisor of ours wrote is replaced, and does no harm in between."""

    async def first(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    async def second(engine: ProcessEngine) -> None:
        await until_healthy(engine)

    run(process_lab.make(), first)
    supervisor = process_lab.supervisor() or 0
    os.kill(supervisor, signal.SIGKILL)
    os.waitpid(supervisor, 0)
    (process_lab.folder() / files.STATE).write_bytes(foreign)
    run(process_lab.make(), second)


def test_foreign_folders_among_the_instances_are_left_alone(process_lab: ProcessLab) -> None:
    """What holds no specification is not an instance, and is not the engine's to remove."""
    for name in ("notes", ".hidden"):
        (process_lab.folder(name)).mkdir(parents=True)
    process_lab.folder("file").write_text("hello")

    async def story(engine: ProcessEngine) -> None:
        assert await engine.observe() == ()

    run(process_lab.make(), story)
    assert sorted(path.name for path in process_lab.folder().parent.iterdir()) == [".hidden", "file", "notes"]


@pytest.mark.parametrize("name", ["", "..", "a/b", "/abs", "x" * 129, "with space"])
def test_names_that_reach_outside_are_refused(process_lab: ProcessLab, name: str) -> None:
    """Ids and host names become folders: nothing else than a plain name may."""

    async def story(engine: ProcessEngine) -> None:
        good = process_lab.container("first")
        for bad in (
            instance(good, id=name),
            instance(replace(good, hostname=name)),
            instance(replace(good, artifacts={f"../{name}": "/tmp"})),
        ):
            with pytest.raises(EngineError):
                await engine.apply(bad)
        assert await engine.observe() == ()

    run(process_lab.make(), story)


def test_a_home_that_cannot_be_used_is_said_at_open(process_lab: ProcessLab, tmp_path: Path) -> None:
    """An engine that cannot keep its files does not begin."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "run").write_text("in the way")

    async def story() -> None:
        engine = process_lab.make()
        with pytest.raises(EngineError, match="cannot be used"):
            await engine.open()

    asyncio.run(story())
    (tmp_path / "home" / "run").unlink()


def test_a_home_may_be_deep(process_lab: ProcessLab) -> None:
    """Nothing depends on the 108 bytes that the path of a Unix socket may have."""
    home = "/".join(["deep" * 10] * 5)

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first")))
        await until_healthy(engine)

    run(process_lab.make(home), story)


def test_ports_are_kept_over_restarts_and_shared_with_nobody(process_lab: ProcessLab) -> None:
    """A block of ports belongs to one container of all homes on the machine, for as long as it lives."""

    async def story(engine: ProcessEngine) -> None:
        with pytest.raises(EngineError, match="port_range"):
            await engine.apply(instance(*(process_lab.container(f"c{number}") for number in range(3))))
        await engine.apply(instance(process_lab.container("first")))
        await engine.apply(instance(process_lab.container("second"), id="i-2"))
        with pytest.raises(EngineError, match="port_range"):
            await engine.apply(instance(process_lab.container("third"), id="i-3"))
        assert {state.id for state in await engine.observe()} == {"i-1", "i-2"}
        await engine.remove("i-2")
        await until(engine, lambda states: find(states, "i-2") is None)
        await engine.apply(instance(process_lab.container("third"), id="i-3"))
        await until_healthy(engine, "i-3")

    first = spare_ports(2)
    run(process_lab.make(port_range=f"{first}-{first + 39}"), story)


def test_secrets_are_for_the_owner_alone(process_lab: ProcessLab) -> None:
    """The specification holds the containers' environment: no other user may read it, nor the logs."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", output=["secret"])))
        await until_healthy(engine)

        async def logged() -> bool:
            return process_lab.log("first").exists()

        await until_true(logged)
        folder = process_lab.folder()
        for path in (folder, folder / files.SPEC, folder / files.STATE, process_lab.log("first")):
            assert path.stat().st_mode & 0o077 == 0

    run(process_lab.make(), story)


def test_a_supervisor_starts_its_containers_quickly(process_lab: ProcessLab) -> None:
    """From `apply` to the container's own code: the budget of an endpoint is half a second, this part's is a fifth."""

    async def story(engine: ProcessEngine) -> None:
        best = min([await measure(engine, f"i-{number}") for number in range(3)])
        assert best < 0.5

    async def measure(engine: ProcessEngine, instance_id: str) -> float:
        begin = time.monotonic()
        await engine.apply(instance(process_lab.container("first"), process_lab.container("second"), id=instance_id))
        running = ContainerPhase.RUNNING
        await until(
            engine, lambda states: all(c.phase is running for c in (find(states, instance_id) or fail()).containers)
        )
        return time.monotonic() - begin

    run(process_lab.make(), story)


def fail() -> None:
    """The instance has to be there."""
    raise AssertionError("the instance is not observed")


def test_a_specification_survives_writing_and_reading(sandbox_lab: ProcessLab) -> None:
    """What an engine asked for is found again, word for word, by the next one."""
    wanted = replace(
        instance(replace(sandbox_lab.container("first"), environment={"TEXT": 'é "quoted" \n and more'})),
        network_isolation=True,
    )

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(wanted)
        await until_healthy(engine)

    run(sandbox_lab.make(), story)
    spec = msgspec.json.decode((sandbox_lab.folder() / files.SPEC).read_bytes())
    assert msgspec.convert(spec["instance"], type(wanted)) == wanted
