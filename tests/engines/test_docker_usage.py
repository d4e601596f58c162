"""What real containers use: from the kernel, and from the daemon."""

import asyncio
import os
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import pytest

from engines.labs import (
    DockerLab,
    instance,
    run,
    until_healthy,
    until_true,
)
from engines.using import (
    HOLD,
    MIB,
    by_name,
    count_what_a_child_spent,
    read,
    until_measured,
)
from polyport.engines.docker import usage as docker_usage
from polyport.engines.docker.calls import Away, Calls
from polyport.engines.docker.engine import DockerEngine


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
        os.kill(docker_lab.daemon.pid, signal.SIGSTOP)
        try:
            assert set(await read(engine)) == {"first"}
            assert await docker_usage.measure(engine._calls, [elsewhere], 0, limit=0.1) == ()
            assert engine.trouble == ""
        finally:
            os.kill(docker_lab.daemon.pid, signal.SIGCONT)
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
