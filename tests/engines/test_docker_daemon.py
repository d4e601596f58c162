"""A daemon that is not there, goes away, gets stuck, or is shared; and a control that is killed at any moment."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from engines.labs import (
    LABELS,
    DockerLab,
    container_of,
    find,
    instance,
    pids,
    run,
    until,
    until_healthy,
    until_true,
)
from polyport import settings
from polyport.domain.instances import ContainerPhase, Instance
from polyport.engines import catalog
from polyport.engines.docker import calls, records
from polyport.engines.docker.engine import DockerEngine
from polyport.errors import EngineError, UsageError
from polyport.settings import Settings
from support import base_images, daemons
from support.stalling import StallingProxy

pytestmark = pytest.mark.slow


def test_no_daemon_at_the_start_is_told_with_the_sockets_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An engine says so when it is opened; a server before it starts anything."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    chosen = Settings(home=tmp_path / "home", engine="docker", docker_host=f"unix://{tmp_path}/nowhere.sock")
    with pytest.raises(UsageError, match=r"Tried: unix://.*/nowhere\.sock \(there is no such socket\)"):
        catalog.settle(chosen)
    with pytest.raises(EngineError, match=r"nowhere\.sock"):
        asyncio.run(DockerEngine(chosen).open())


def test_a_socket_that_never_answers_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Something listens there, but says nothing."""
    monkeypatch.setattr("polyport.engines.docker.daemon.PROBE_TIMEOUT", 0.2)

    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(str(tmp_path / "mute.sock"))
        mute.listen()
        engine = DockerEngine(Settings(home=tmp_path, docker_host=str(tmp_path / "mute.sock")))
        with pytest.raises(EngineError, match=r"no answer within 0\.2 s"):
            asyncio.run(engine.open())


def test_auto_takes_a_daemon_that_answers_and_else_processes(daemon: daemons.Daemon, tmp_path: Path) -> None:
    """The daemon that was found is the one that all processes use. A home whose containers a daemon still has is not
    served without it."""
    absent = Settings(home=tmp_path, engine="auto", docker_host=f"unix://{tmp_path}/nowhere.sock")
    assert catalog.settle(absent).engine == "process"
    present = msgspec.structs.replace(absent, docker_host=daemon.url)
    settled = catalog.settle(present)
    assert (settled.engine, settled.docker_host) == ("docker", daemon.url)
    assert type(catalog.create(settled)) is DockerEngine
    records.write(records.folder_of(tmp_path) / "i-1" / records.SPEC, records.Spec(Instance("i-1", {}, ())))
    with pytest.raises(UsageError, match="Tried"):
        catalog.settle(absent)
    assert catalog.settle(Settings(home=tmp_path, engine="process")).engine == "process"
    assert settings.default("engine") == "process"


def test_what_runs_goes_on_while_the_daemon_is_gone(docker_lab: DockerLab) -> None:
    """Pings are answered, the engine says what is wrong, and once the daemon is back it does what was asked meanwhile:
    an instance removed, another started, one restarted that ended."""

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first"), docker_lab.container("second")))
        await engine.apply(instance(docker_lab.container("first"), id="i-2"))
        before = await until_healthy(engine)
        await until_healthy(engine, "i-2")
        assert engine.trouble == ""
        docker_lab.daemon.stop(kill=True)

        async def is_troubled() -> bool:
            return bool(engine.trouble)

        await until_true(is_troubled)
        assert docker_lab.daemon.url in engine.trouble
        assert (await engine.ping("i-1", "first", 2.0)).healthy
        assert pids(find(await engine.observe())) == pids(before)
        docker_lab.kill(before, "second")
        await until(engine, lambda states: container_of(find(states), "second").phase is ContainerPhase.BACKOFF)
        await engine.remove("i-2")
        await engine.apply(instance(docker_lab.container("first"), id="i-3"))
        docker_lab.daemon.start()
        await until(engine, lambda states: find(states, "i-2") is None)
        await until_healthy(engine, "i-3")
        after = await until_healthy(engine)
        assert engine.trouble == ""
        assert container_of(after, "first") == container_of(before, "first")
        assert container_of(after, "second").restarts == 1

    run(docker_lab.make(), story)


def test_no_ping_fails_while_the_daemon_is_restarted_again_and_again(docker_lab: DockerLab) -> None:
    """Politely and not: the containers are none of its business while they run."""

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first")))
        before = await until_healthy(engine)
        failures, stop = [], asyncio.Event()

        async def ask() -> None:
            while not stop.is_set():
                if not (answer := await engine.ping("i-1", "first", 5.0)).healthy:
                    failures.append(answer)
                await asyncio.sleep(0.01)

        asking = asyncio.create_task(ask())
        for kill in (True, False, True):
            await asyncio.to_thread(docker_lab.daemon.stop, kill=kill)
            await asyncio.sleep(0.3)
            await asyncio.to_thread(docker_lab.daemon.start)
            await asyncio.sleep(0.5)
        stop.set()
        await asking
        assert failures == []
        assert pids(await until_healthy(engine)) == pids(before)

    run(docker_lab.make(), story)


def test_a_frozen_daemon_is_noticed_and_recovers(docker_lab: DockerLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """It accepts connections and never answers: time-outs, no hang, and all is well once it goes on."""
    monkeypatch.setattr(calls, "ASK_TIMEOUT", 1.0)
    monkeypatch.setattr("polyport.engines.docker.engine.SCAN_INTERVAL", 0.5)

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first")))
        await until_healthy(engine)
        os.kill(docker_lab.daemon.pid, signal.SIGSTOP)

        async def is_troubled() -> bool:
            return "no answer within" in engine.trouble

        try:
            await until_true(is_troubled)
            assert (await engine.ping("i-1", "first", 2.0)).healthy
            begin = time.monotonic()
            await engine.explain("i-1", "first")
            assert time.monotonic() - begin < 5.0
        finally:
            os.kill(docker_lab.daemon.pid, signal.SIGCONT)

        async def is_well() -> bool:
            return not engine.trouble

        await until_true(is_well)
        await engine.apply(instance(docker_lab.container("second"), id="i-2"))
        await until_healthy(engine, "i-2")

    run(docker_lab.make(), story)


def test_one_stuck_call_holds_up_no_other_container(docker_lab: DockerLab, tmp_path: Path) -> None:
    """The daemon never answers to the start of one container; others are started, restarted, removed as ever."""

    async def story() -> None:
        proxy = StallingProxy(tmp_path / "proxy.sock", docker_lab.daemon.path)
        await proxy.open()
        engine = docker_lab.make(docker_host=f"unix://{proxy.path}")
        await engine.open()
        try:
            proxy.needle = b"-i-stuck-first"
            await engine.apply(instance(docker_lab.container("first"), id="i-stuck"))
            await until_stuck(proxy)
            await engine.apply(instance(docker_lab.container("first"), docker_lab.container("second")))
            state = await until_healthy(engine)
            docker_lab.kill(state, "first")
            await until(engine, lambda states: container_of(find(states), "first").restarts == 1)
            await until_healthy(engine)
            await engine.remove("i-1")
            await until(engine, lambda states: find(states) is None)
            assert container_of(find(await engine.observe(), "i-stuck"), "first").phase is ContainerPhase.STARTING
        finally:
            await engine.close()
            await proxy.close()

    async def until_stuck(proxy: StallingProxy) -> None:
        async def is_stuck() -> bool:
            return proxy.stuck > 0

        await until_true(is_stuck)

    asyncio.run(story())


def test_what_is_not_this_homes_is_never_touched(docker_lab: DockerLab) -> None:
    """Containers of nobody, of another Polyport, and a network of the user's own: all there afterwards, running."""
    image = base_images.STATIC_IMAGE
    mark = f"polyport-test-{os.getpid()}"
    labels = ["--label=polyport.home=0123456789abcdef", "--label=polyport.instance=i-1", f"--label=mark={mark}"]
    docker_lab.daemon.cli("network", "create", *labels, f"{mark}-net")
    ours = [
        docker_lab.daemon.cli("run", "--detach", "--name", f"{mark}-plain", f"--label=mark={mark}", image),
        docker_lab.daemon.cli("run", "--detach", "--name", f"{mark}-other", *labels, image),
    ]
    try:

        async def story(engine: DockerEngine) -> None:
            await engine.apply(instance(docker_lab.container("first")))
            await until_healthy(engine)
            await engine.remove("i-1")
            await until(engine, lambda states: not states)

        run(docker_lab.make(), story)
        run(docker_lab.make(), story)
        running = docker_lab.daemon.cli("ps", "--quiet", "--no-trunc", "--filter", f"label=mark={mark}").split()
        assert set(running) == set(ours)
        assert f"{mark}-net" in docker_lab.daemon.find_left(f"mark={mark}")
    finally:
        docker_lab.daemon.remove(*ours)
        docker_lab.daemon.cli("network", "rm", f"{mark}-net")


def test_a_container_that_somebody_attached_to_the_network_stays(docker_lab: DockerLab) -> None:
    """It is detached, the instance's network goes, and the container goes on."""
    name = f"polyport-test-{os.getpid()}-guest"
    docker_lab.daemon.cli("network", "create", f"{name}-net")
    docker_lab.daemon.cli("run", "--detach", "--name", name, "--network", f"{name}-net", base_images.STATIC_IMAGE)
    try:

        async def story(engine: DockerEngine) -> None:
            await engine.apply(instance(docker_lab.container("first")))
            await until_healthy(engine)
            network = next(left for left in docker_lab.left() if left.endswith("-i-1"))
            await asyncio.to_thread(docker_lab.daemon.cli, "network", "connect", network, name)
            await engine.remove("i-1")
            await until(engine, lambda states: not states)

        run(docker_lab.make(), story)
        assert docker_lab.daemon.cli("inspect", "--format", "{{.State.Running}}", name) == "true"
    finally:
        docker_lab.daemon.remove(name)
        docker_lab.daemon.cli("network", "rm", f"{name}-net")


def test_what_no_specification_wants_is_removed_at_the_next_start(docker_lab: DockerLab) -> None:
    """As after a crash that tore the files, or with a home that lost its `run` folder."""

    async def first(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first"), docker_lab.container("second")))
        await engine.apply(instance(docker_lab.container("first"), id="i-2"))
        await until_healthy(engine)
        await until_healthy(engine, "i-2")

    async def second(engine: DockerEngine) -> None:
        assert {state.id for state in await engine.observe() if state.stopping} == {"i-1", "i-2"}
        await until(engine, lambda states: not states)
        assert docker_lab.left() == []

    run(docker_lab.make(), first)
    (docker_lab.folder("i-1") / records.SPEC).write_bytes(b'{"instance": {"id"')
    records.clear(docker_lab.folder("i-2"))
    run(docker_lab.make(), second)


def test_after_a_restart_of_the_machine_everything_is_started_again(docker_lab: DockerLab) -> None:
    """All containers ended while nobody looked: they come back, with the same addresses, and their ends are counted."""
    before = {}

    async def first(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first"), docker_lab.container("second")))
        before["state"] = await until_healthy(engine)

    async def second(engine: DockerEngine) -> None:
        await until(engine, lambda states: all(c.restarts == 1 for c in (find(states) or states[0]).containers))
        after = await until_healthy(engine)
        assert [c.host for c in after.containers] == [c.host for c in before["state"].containers]

    run(docker_lab.make(), first)
    docker_lab.daemon.cli("kill", *[name for name in docker_lab.left() if name.endswith(("-first", "-second"))])
    run(docker_lab.make(), second)


KILLED = """
import asyncio, sys, msgspec
from polyport.domain.instances import Instance
from polyport.engines.docker.engine import DockerEngine
from polyport.settings import from_json

async def main():
    engine = DockerEngine(from_json(sys.argv[1]))
    await engine.open()
    await engine.apply(msgspec.json.decode(sys.argv[2], type=Instance))
    print("applied", flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1, 0.3])
def test_control_killed_while_it_creates_leaks_nothing(docker_lab: DockerLab, delay: float) -> None:
    """At whatever instant: the next start has the instance as it was asked for, once, and can remove it."""
    wanted = instance(docker_lab.container("first"), docker_lab.container("second"))
    words = [settings.to_json(docker_lab.settings()), msgspec.json.encode(wanted).decode()]
    with subprocess.Popen([sys.executable, "-c", KILLED, *words], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"applied\n"
        time.sleep(delay)
        process.kill()

    async def story(engine: DockerEngine) -> None:
        assert [state.id for state in await engine.observe()] == ["i-1"]
        await until_healthy(engine)
        names = [name for name in docker_lab.left() if name.endswith(("-first", "-second"))]
        assert len(names) == 2
        await engine.remove("i-1")
        await until(engine, lambda states: not states)
        assert docker_lab.left() == []

    run(docker_lab.make(), story)


def test_control_killed_while_it_removes_goes_on_removing(docker_lab: DockerLab) -> None:
    """The note that it is being removed outlives it: nothing is started again in between."""

    async def first(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", ignores_sigterm=True), stop_timeout=1.0))
        await until_healthy(engine)
        await engine.remove("i-1")

    async def second(engine: DockerEngine) -> None:
        assert [state.stopping for state in await engine.observe()] == [True]
        await until(engine, lambda states: not states)

    run(docker_lab.make(), first)
    run(docker_lab.make(), second)


def test_labels_tell_people_what_a_container_is_for(docker_lab: DockerLab) -> None:
    """Endpoint, variant, instance, host name and home: `docker ps --filter label=polyport.endpoint=...` finds them."""

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first")))
        await until_healthy(engine)
        name = next(name for name in docker_lab.left() if name.endswith("-first"))
        shown = json.loads(docker_lab.daemon.cli("inspect", name))[0]["Config"]["Labels"]
        assert shown["polyport.endpoint"] == LABELS["endpoint"]
        assert shown["polyport.variant"] == LABELS["variant"]
        assert shown["polyport.instance"] == "i-1"
        assert shown["polyport.hostname"] == "first"
        assert shown["polyport.home"] == docker_lab.home_id()

    run(docker_lab.make(), story)
