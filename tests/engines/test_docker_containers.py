"""What real containers see, and what becomes of those that misbehave."""

import asyncio
import json
import re
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from engines.labs import (
    DEADLINE,
    DockerLab,
    container_of,
    find,
    instance,
    run,
    until,
    until_healthy,
    until_true,
)
from engines.seeing import dump, make_models
from polyport.domain.instances import Container, ContainerPhase, ContainerState, Exit, Image, InstanceState
from polyport.engines import backoff
from polyport.engines.docker.engine import DockerEngine
from polyport.errors import CannotChangeInstance
from support import base_images

pytestmark = pytest.mark.slow
PROGRAM_TEXT = Path(__file__).with_name("container_program.py").read_text()
#: An instance type in which a container that takes 200 MiB is out of memory.
SMALL = {"instance_limits": True, "instance_types": ("ml.small=1:0.0625",)}


def read_dump(lab: DockerLab, hostname: str = "first") -> Any:
    """What a container printed as JSON, once it is in the log."""
    end = time.monotonic() + DEADLINE
    while True:
        text = lab.log(hostname).read_text() if lab.log(hostname).exists() else ""
        if found := re.search(r" stdout DUMP (.*)\n", text):
            return json.loads(found[1])
        assert time.monotonic() < end, f"nothing was dumped in time: {text}"
        time.sleep(0.02)


def see(lab: DockerLab, container: Container, isolated: bool = False, **settings: Any) -> Any:
    """The value that the container dumped."""
    seen = {}

    async def story(engine: DockerEngine) -> None:
        wanted = replace(instance(container), network_isolation=isolated, instance_type="ml.small")
        await engine.apply(wanted)
        await until_healthy(engine)
        seen["value"] = await asyncio.to_thread(read_dump, lab, container.hostname)

    run(lab.make(**settings), story)
    return seen["value"]


def last_of(states: tuple[InstanceState, ...], hostname: str = "first") -> Exit | None:
    return container_of(find(states), hostname).last_exit


def story_of_failure(lab: DockerLab, image: str, **settings: Any) -> Exit:
    """How a container of this image ended first."""
    seen: dict[str, Exit] = {}

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(Container("first", Image(image, image, 0.0))))
        states = await until(engine, last_of)
        assert container_of(find(states), "first").phase is not ContainerPhase.RUNNING
        seen["last"] = last_of(states) or Exit(0.0)

    run(lab.make(**settings), story)
    return seen["last"]


def test_a_container_is_started_as_sagemaker_does(docker_lab: DockerLab) -> None:
    """`serve` is its only argument, its host name its own, its data at /opt/ml and read-only, and it may use 8080."""
    models = make_models(docker_lab.root)
    expression = (
        "{'argv': sys.argv[1:], 'host': os.uname().nodename, 'port': os.environ['SAGEMAKER_BIND_TO_PORT'],"
        " 'mine': os.environ['MINE'], 'model': open('/opt/ml/model/w').read(),"
        " 'read_only': bool(os.statvfs('/opt/ml/model').f_flag & os.ST_RDONLY),"
        " 'extra': open('/opt/ml/additional-model-data-sources/extra/w').read(),"
        " 'shm': os.statvfs('/dev/shm').f_blocks * os.statvfs('/dev/shm').f_frsize}"
    )
    container = docker_lab.container("first", **dump(expression))
    container = replace(container, environment={**container.environment, "MINE": "yes"}, artifacts=models)
    assert see(docker_lab, container, shm_size=8 * 1024 * 1024) == {
        "argv": ["serve"],
        "host": "first",
        "port": "8080",
        "mine": "yes",
        "model": "weights",
        "read_only": True,
        "extra": "more",
        "shm": 8 * 1024 * 1024,
    }


def test_without_model_data_there_is_an_empty_folder_and_the_images_own_files_stay(docker_lab: DockerLab) -> None:
    """Code lists /opt/ml/model before it looks; images may bring a model of their own."""
    assert see(docker_lab, docker_lab.container("first", **dump("os.listdir('/opt/ml/model')"))) == []
    image = docker_lab.daemon.make_image(
        "baked:1", PROGRAM_TEXT, lines=("COPY weights /opt/ml/model/weights",), weights="own"
    )
    told = json.dumps(dump("open('/opt/ml/model/weights').read()"))
    container = Container("second", Image(image, image, 0.0), environment={"BEHAVIOUR": told})
    assert see(docker_lab, container) == "own"


def test_siblings_reach_each_other_by_name_and_all_may_listen_on_8080(docker_lab: DockerLab) -> None:
    """Each has a network namespace of its own, on one private network with names."""
    code = "import socket, time"
    ask = (
        "__import__('http.client').client.HTTPConnection('second', 8080, timeout=5)"
        ".request('GET', '/ping') or 'reached'"
    )

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("second")))
        await until_healthy(engine)
        first = docker_lab.container("first", runs=[code, *dump(ask)["runs"]])
        await engine.apply(instance(docker_lab.container("second"), first))
        state = await until_healthy(engine)
        assert {container.port for container in state.containers} == {8080}
        assert len({container.host for container in state.containers}) == 2
        assert await asyncio.to_thread(read_dump, docker_lab) == "reached"

    run(docker_lab.make(), story)


@pytest.mark.parametrize("isolated", [True, False])
def test_network_isolation_leaves_no_way_out_but_gateways_come_in(
    docker_lab: DockerLab, outside: str, isolated: bool
) -> None:
    """An isolated container reaches no address outside, others do; pings from this machine reach both."""
    code = (
        "import socket\n"
        "def reaches(address):\n"
        "    try:\n"
        "        socket.create_connection((address, 9), 2)\n"
        "    except ConnectionRefusedError:\n"
        "        pass\n"
        "    except OSError:\n"
        "        return False\n"
        "    return True\n"
    )
    container = docker_lab.container("first", runs=[code + dump(f"reaches({outside!r})")["runs"][0]])
    assert see(docker_lab, container, isolated) is not isolated


def test_isolation_cannot_be_changed_while_it_runs(docker_lab: DockerLab) -> None:
    """The planner replaces such an instance."""

    async def story(engine: DockerEngine) -> None:
        wanted = instance(docker_lab.container("first"))
        await engine.apply(wanted)
        with pytest.raises(CannotChangeInstance):
            await engine.apply(replace(wanted, network_isolation=True))

    run(docker_lab.make(), story)


def test_published_ports_serve_where_addresses_cannot_be_reached(docker_lab: DockerLab) -> None:
    """As with rootless daemons and on macOS: on loopback, the same port over restarts, claimed on this machine."""

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first"), docker_lab.container("second")))
        before = await until_healthy(engine)
        assert {container.host for container in before.containers} == {"127.0.0.1"}
        assert len({container.port for container in before.containers} - {8080}) == 2
        docker_lab.kill(before, "first")
        await until(engine, lambda states: container_of(find(states), "first").restarts == 1)
        after = await until_healthy(engine)
        assert container_of(after, "first").port == container_of(before, "first").port

    run(docker_lab.make(docker_reach="published"), story)


def test_an_image_that_is_not_there_is_named(docker_lab: DockerLab) -> None:
    """It may have been removed after it was pulled."""
    last = story_of_failure(docker_lab, "localhost/polyport-test/nowhere:1")
    assert last.reason.startswith("image not found: localhost/polyport-test/nowhere:1 is not at the daemon")
    assert (last.code, last.signal) == (None, None)


def test_an_image_without_serve_is_told(docker_lab: DockerLab) -> None:
    """No entry point: then `serve` itself has to be a program of the image."""
    last = story_of_failure(docker_lab, base_images.PYTHON_IMAGE)
    assert last.reason.startswith("entrypoint not found")
    assert "serve" in last.reason


def test_an_image_for_another_kind_of_machine_is_told(docker_lab: DockerLab) -> None:
    """Its program is in a format that the kernel does not know."""
    image = docker_lab.daemon.make_image("foreign:1", entrypoint=["/program"], program="\x7fELF is how it begins")
    last = story_of_failure(docker_lab, image)
    assert "for another kind of machine" in last.reason or last.code is not None
    if last.code is not None:
        # It may have ended before anybody saw it run: what it said is in the log all the same.
        assert "exec format error" in docker_lab.log("first").read_text()


def test_out_of_memory_is_named(docker_lab: DockerLab) -> None:
    """Podman 4.3 does not say so: the memory cgroup does, the moment the process ends; with its peak and its limit. The
    runtime may be quicker to remove the cgroup than we to read the peak: then another end tells."""

    def with_peak(states: tuple[InstanceState, ...]) -> bool:
        last = last_of(states)
        assert last is None or (last.signal, last.reason) == (signal.SIGKILL, "out of memory")
        return last is not None and last.memory is not None

    async def story(engine: DockerEngine) -> None:
        greedy = docker_lab.container("first", runs=["bytearray(200 << 20)"])
        await engine.apply(replace(instance(greedy), instance_type="ml.small"))
        last = last_of(await until(engine, with_peak))
        assert last is not None
        assert last.memory is not None
        assert last.memory_limit == 64 << 20
        assert 32 << 20 < last.memory <= 65 << 20
        assert "ended by SIGKILL (out of memory)" in docker_lab.log("first").read_text()

    run(docker_lab.make(**SMALL), story)


def test_limits_follow_the_instance_type_when_the_setting_says_so(docker_lab: DockerLab) -> None:
    """Memory and CPUs as the kernel enforces them; an unknown type, and the setting off, leave a container free."""

    async def story(engine: DockerEngine) -> None:
        small = replace(instance(docker_lab.container("first")), instance_type="ml.small")
        unknown = replace(instance(docker_lab.container("first"), id="i-2"), instance_type="ml.unheard")
        await engine.apply(small)
        await engine.apply(unknown)
        limits = {name: await read_limits(engine, name) for name in ("i-1", "i-2")}
        assert limits == {"i-1": (64 << 20, 1.0), "i-2": (0, 0.0)}

    async def read_limits(engine: DockerEngine, instance_id: str) -> tuple[int, float]:
        await until_healthy(engine, instance_id)
        name = next(name for name in docker_lab.left() if name.endswith(f"{instance_id}-first"))
        host = json.loads(docker_lab.daemon.cli("inspect", name))[0]["HostConfig"]
        return host["Memory"], host["NanoCpus"] / 1e9 or host["CpuQuota"] / (host["CpuPeriod"] or 1)

    run(docker_lab.make(**SMALL), story)


def test_one_that_ends_now_and_then_is_started_again_at_once_each_time(
    docker_lab: DockerLab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Having run for a while (a minute; shorter here) makes earlier ends forgotten: the pauses do not grow."""
    monkeypatch.setattr(backoff, "FORGIVEN_AFTER", 0.5)
    pauses: list[float] = []
    plan = backoff.plan_restart

    def planned(ends: int, ran: float) -> tuple[int, float]:
        count, pause = plan(ends, ran)
        pauses.append(pause)
        return count, pause

    monkeypatch.setattr(backoff, "plan_restart", planned)

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", exits_after=0.8)))
        await until(engine, lambda states: container_of(find(states), "first").restarts >= 4)

    run(docker_lab.make(), story)
    assert len(pauses) >= 4
    assert set(pauses[:4]) == {backoff.PAUSES[0]}


def test_pauses_grow_for_one_that_ends_at_once(docker_lab: DockerLab) -> None:
    """0, 1, 2, ... seconds: a broken image does not keep the machine busy."""
    starts: dict[float, float] = {}

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", exits_after=0.01, exit_code=2)))

        def third_restart(states: tuple[InstanceState, ...]) -> bool:
            state = container_of(find(states), "first")
            if state.started_at:
                starts.setdefault(state.started_at, time.time())
            return state.restarts >= 3

        await until(engine, third_restart)

    run(docker_lab.make(), story)
    times = sorted(starts)
    assert times[-1] - times[0] >= 3.0


def test_one_that_ignores_sigterm_is_killed_after_its_time(docker_lab: DockerLab) -> None:
    """Not before, and not much later."""
    times = {}

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", ignores_sigterm=True), stop_timeout=1.5))
        await until_healthy(engine)
        times["begin"] = time.monotonic()
        await engine.remove("i-1")
        await until(engine, lambda states: not states)
        times["end"] = time.monotonic()

    run(docker_lab.make(), story)
    assert 1.5 <= times["end"] - times["begin"] < 6.0
    assert "ended by SIGKILL" in docker_lab.log("first").read_text()


def test_one_that_listens_on_loopback_only_is_told_so(docker_lab: DockerLab) -> None:
    """The right port, but nobody else reaches it there: the usual mistake of a server that was tried out at home."""

    async def story(engine: DockerEngine) -> None:
        container = docker_lab.container("first")
        container = replace(container, environment={**container.environment, "BIND": "127.0.0.1"})
        await engine.apply(instance(container))

        async def is_told() -> bool:
            return (await engine.explain("i-1", "first")).unreachable == ("127.0.0.1:8080",)

        await until_true(is_told)
        assert (await engine.explain("i-1", "first")).listening == ()
        assert (await engine.ping("i-1", "first", 1.0)).error == "refused"

    run(docker_lab.make(), story)


def test_a_late_ping_is_a_timeout(docker_lab: DockerLab) -> None:
    """It may answer later; health is not the engine's to judge."""

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", ping_delay=1.0)))
        await until_healthy_slowly(engine)
        assert (await engine.ping("i-1", "first", 0.2)).error == "timeout"

    async def until_healthy_slowly(engine: DockerEngine) -> None:
        async def answers() -> bool:
            return (await engine.ping("i-1", "first", 5.0)).healthy

        await until_true(answers)

    run(docker_lab.make(), story)


@pytest.mark.parametrize("how", ["kill", "rm", "stop"])
def test_what_others_do_to_a_container_is_made_good(docker_lab: DockerLab, how: str) -> None:
    """Killed, stopped or removed with the daemon's own tools: it comes back at the same address."""
    command = {"kill": ["kill"], "rm": ["rm", "--force"], "stop": ["stop", "--time", "0"]}[how]

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first"), docker_lab.container("second")))
        before = await until_healthy(engine)
        name = next(name for name in docker_lab.left() if name.endswith("-first"))
        # `podman stop` complains when the container runs again before it has tidied up.
        await asyncio.to_thread(docker_lab.daemon.cli, *command, name, check=how != "stop")

        def is_back(states: tuple[InstanceState, ...]) -> bool:
            state = container_of(find(states), "first")
            return state.phase is ContainerPhase.RUNNING and state.pid != container_of(before, "first").pid

        await until(engine, is_back)
        after = await until_healthy(engine)
        assert place(after, "first") == place(before, "first")
        assert container_of(after, "second") == container_of(before, "second")

    run(docker_lab.make(), story)


def place(state: InstanceState, hostname: str) -> tuple[str, int]:
    container: ContainerState = container_of(state, hostname)
    return container.host, container.port


def test_anonymous_volumes_go_with_their_container(docker_lab: DockerLab) -> None:
    """Images may ask for volumes; nothing of an instance remains."""
    image = docker_lab.daemon.make_image("volume:1", PROGRAM_TEXT, lines=('VOLUME ["/data"]',))

    def list_volumes() -> set[str]:
        return set(docker_lab.daemon.cli("volume", "ls", "--quiet").split())

    before = list_volumes()
    during = set()

    async def story(engine: DockerEngine) -> None:
        container = Container("first", Image(image, image, 0.0), environment={"BEHAVIOUR": "{}"})
        await engine.apply(instance(container))
        await until_healthy(engine)
        during.update(await asyncio.to_thread(list_volumes) - before)
        await engine.remove("i-1")
        await until(engine, lambda states: not states)

    run(docker_lab.make(), story)
    assert len(during) == 1
    assert not during & list_volumes()


def test_model_data_that_is_gone_is_told(docker_lab: DockerLab, tmp_path: Path) -> None:
    """Podman would make an empty folder of it, and the container would find no model."""

    async def story(engine: DockerEngine) -> None:
        container = replace(docker_lab.container("first"), artifacts={"model": str(tmp_path / "gone")})
        await engine.apply(instance(container))
        last = last_of(await until(engine, last_of))
        assert last is not None
        assert "is gone" in last.reason

    run(docker_lab.make(), story)
    assert not (tmp_path / "gone").exists()


def test_a_static_image_serves_as_it_is(docker_lab: DockerLab) -> None:
    """One program and nothing else, on 8080 because it knows no other port."""

    async def story(engine: DockerEngine) -> None:
        image = base_images.STATIC_IMAGE
        await engine.apply(instance(Container("first", Image(image, image, 0.0))))
        await until_healthy(engine)
        assert (await engine.explain("i-1", "first")).listening == (8080,)
        assert (await engine.explain("i-1", "first")).output == ("static serve",)

    run(docker_lab.make(), story)


def test_secrets_are_for_the_owner_alone(docker_lab: DockerLab) -> None:
    """The specification holds the containers' environment: no other user may read it, nor the logs."""

    async def story(engine: DockerEngine) -> None:
        await engine.apply(instance(docker_lab.container("first", output=["secret"])))
        await until_healthy(engine)

        async def logged() -> bool:
            return docker_lab.log("first").exists()

        await until_true(logged)
        for path in (*docker_lab.folder("i-1").iterdir(), docker_lab.folder("i-1"), docker_lab.log("first")):
            assert path.stat().st_mode & 0o077 == 0

    run(docker_lab.make(), story)
