"""A lab per engine: gives the contract suite engines, and containers that behave as asked."""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from pathlib import Path
from typing import Any, Protocol

import uvloop

from polyport.domain.instances import Container, ContainerState, Image, Instance, InstanceState
from polyport.engines import fake, names
from polyport.engines.contract import Engine
from polyport.engines.docker import asks, records
from polyport.engines.docker.engine import DockerEngine
from polyport.engines.process import engine as process
from polyport.engines.process import files, processes
from polyport.images import interpreters
from polyport.settings import Settings
from support import daemons

PROGRAM = Path(__file__).with_name("container_program.py")
#: What a container of the tests reads: this Python, with its libraries, and the program above.
PATHS = tuple(map(str, (Path(sys.prefix), *interpreters.find(Path(sys.executable)), PROGRAM)))
LABELS = {"account": "123456789012", "region": "us-east-1", "endpoint": "demo", "variant": "AllTraffic"}
IMAGE = Image("thing:1", "thing@sha256:0", 0.0)
DEADLINE = 20.0

Story = Callable[[Any], Coroutine[Any, Any, None]]


class Lab(Protocol):
    """What a test needs to know of the engine under test."""

    name: str

    def make(self, home: str = "home") -> Engine:
        """An engine for that home, not opened yet."""

    def container(self, hostname: str, **behaviour: Any) -> Container:
        """A container that behaves so: see `container_program`."""

    def kill(self, state: InstanceState, hostname: str) -> None:
        """Ends a container's main process as ``kill -9`` does."""

    def clean(self) -> None:
        """Ends everything, and fails when something is left."""


class FakeLab:
    name = "fake"

    def __init__(self, root: Path) -> None:
        self._root = root
        self.machine = fake.Machine(first_port=20000)

    def make(self, home: str = "home") -> Engine:
        return fake.FakeEngine(Settings(home=self._root / home), self.machine)

    def container(self, hostname: str, **behaviour: Any) -> Container:
        broken = "entrypoint not found: there is no 'nowhere'" if behaviour.pop("broken", False) else ""
        stops_after = float("inf") if behaviour.pop("ignores_sigterm", False) else 0.0
        behaviour["output"] = tuple(behaviour.get("output", ()))
        self.machine.scripts[hostname] = fake.Script(broken=broken, stops_after=stops_after, **behaviour)
        return Container(hostname, IMAGE, ("serve",), {"BEHAVIOUR": repr(behaviour)})

    def kill(self, state: InstanceState, hostname: str) -> None:
        self.machine.kill(state.id, hostname)

    def clean(self) -> None:
        pass


class ProcessLab:
    name = "process"

    def __init__(self, root: Path, level: str = "auto") -> None:
        self._root = root
        self._homes: set[str] = set()
        self.level = level

    def settings(self, home: str = "home", **more: Any) -> Settings:
        self._homes.add(home)
        return Settings(home=self._root / home, **{"isolation": self.level, **more})

    def make(self, home: str = "home", **more: Any) -> process.ProcessEngine:
        return process.ProcessEngine(self.settings(home, **more))

    def container(self, hostname: str, **behaviour: Any) -> Container:
        told = json.dumps(behaviour, sort_keys=True)
        command = (sys.executable, "-I", "-S", str(PROGRAM), told, "serve")
        command = ("nowhere", "serve") if behaviour.pop("broken", False) else command
        return Container(hostname, IMAGE, command, paths=PATHS)

    def kill(self, state: InstanceState, hostname: str) -> None:
        pid = container_of(state, hostname).pid
        assert pid is not None
        os.kill(pid, 9)

    def folder(self, instance_id: str = "i-1", home: str = "home") -> Path:
        return self._root / home / "run" / "instances" / instance_id

    def supervisor(self, instance_id: str = "i-1", home: str = "home") -> int | None:
        return files.lock_holder(self.folder(instance_id, home) / files.LOCK)

    def log(self, hostname: str, instance_id: str = "i-1", home: str = "home") -> Path:
        parts = ("logs", *(LABELS[name] for name in ("account", "region", "endpoint", "variant")))
        return self._root.joinpath(home, *parts, instance_id, f"{hostname}.log")

    def clean(self) -> None:
        for home in self._homes:
            run(self.make(home), _remove_all)
        # The last thing a supervisor does is to end, when its instance is gone for long.
        end = time.monotonic() + DEADLINE
        while left := find_processes(str(self._root)):
            assert time.monotonic() < end, f"left running: {left}"
            _reap(left)
            time.sleep(0.005)


class DockerLab:
    """Real containers, at the daemon that it is given."""

    name = "docker"

    def __init__(self, root: Path, daemon: daemons.Daemon) -> None:
        self.daemon = daemon
        self.root = root
        self._homes: set[str] = set()

    def settings(self, home: str = "home", **more: Any) -> Settings:
        self._homes.add(home)
        return Settings(home=self.root / home, **({"docker_host": self.daemon.url} | more))

    def make(self, home: str = "home", **more: Any) -> DockerEngine:
        return DockerEngine(self.settings(home, **more))

    def container(self, hostname: str, **behaviour: Any) -> Container:
        image = self._broken_image() if behaviour.pop("broken", False) else self._program_image()
        told = {"BEHAVIOUR": json.dumps(behaviour, sort_keys=True)}
        return Container(hostname, Image(image, image, 0.0), environment=told)

    def kill(self, state: InstanceState, hostname: str) -> None:
        pid = container_of(state, hostname).pid
        assert pid is not None
        os.kill(pid, 9)

    def home_id(self, home: str = "home") -> str:
        return records.home_id(records.folder_of(self.root / home))

    def log(self, hostname: str, instance_id: str = "i-1", home: str = "home") -> Path:
        return names.log_path(self.root / home, Instance(instance_id, LABELS, ()), hostname)

    def folder(self, instance_id: str = "i-1", home: str = "home") -> Path:
        return records.folder_of(self.root / home) / instance_id

    def left(self) -> list[str]:
        """What the daemon still has of these homes."""
        return [
            name for home in self._homes for name in self.daemon.find_left(f"{asks.LABEL_HOME}={self.home_id(home)}")
        ]

    def _program_image(self) -> str:
        return self.daemon.make_image("program:1", PROGRAM.read_text())

    def _broken_image(self) -> str:
        return self.daemon.make_image("broken:1", entrypoint=["/nowhere"])

    def clean(self) -> None:
        self.daemon.start()
        for home in self._homes:
            run(self.make(home), _remove_all)
        assert self.left() == []
        for home in self._homes:
            assert [path.name for path in records.folder_of(self.root / home).iterdir()] == [records.HOME_ID]


async def _remove_all(engine: Engine) -> None:
    for state in await engine.observe():
        await engine.remove(state.id)
    await until(engine, lambda states: not states)


def _reap(pids: Iterable[int]) -> None:
    """Supervisors that this process started, but no engine collected."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


async def until_true(condition: Callable[[], Awaitable[bool]], deadline: float = DEADLINE) -> None:
    """Waits until the condition holds; fails when it does not in time."""
    end = time.monotonic() + deadline
    while not await condition():
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.01)


def find_processes(mark: str) -> dict[int, str]:
    """The processes that have this text in their command or their environment; zombies of ours count too."""
    found = {}
    for pid, row in processes.read_table().items():
        if pid == os.getpid():
            continue
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes() + Path(f"/proc/{pid}/environ").read_bytes()
        except OSError:
            continue
        if mark.encode() in words or (row.parent == os.getpid() and row.state == "Z"):
            found[pid] = words.replace(b"\0", b" ").decode("utf-8", "replace")[:200]
    return found


def instance(*containers: Container, id: str = "i-1", stop_timeout: float = 10.0) -> Instance:  # noqa: A002
    """An instance of these containers."""
    return Instance(id, LABELS, containers, stop_timeout=stop_timeout)


def run(engine: Engine, story: Callable[[Any], Awaitable[None]]) -> None:
    """The story, told with the engine open, on the event loop that servers use."""

    async def tell() -> None:
        await engine.open()
        try:
            await story(engine)
        finally:
            await engine.close()

    uvloop.run(tell())


async def until(
    engine: Engine, condition: Callable[[tuple[InstanceState, ...]], object], deadline: float = DEADLINE
) -> tuple[InstanceState, ...]:
    """Waits until what the engine observes satisfies the condition; fails when it does not in time."""
    end = time.monotonic() + deadline
    while True:
        states = await engine.observe()
        if condition(states):
            return states
        assert time.monotonic() < end, f"not in time: {states}"
        try:
            async with asyncio.timeout(0.2):
                await engine.changed()
        except TimeoutError:
            pass


async def until_healthy(engine: Engine, instance_id: str = "i-1", deadline: float = DEADLINE) -> InstanceState:
    """Waits until every container of the instance answers its pings; returns the instance as it is then."""
    end = time.monotonic() + deadline
    while True:
        state = find(await engine.observe(), instance_id)
        pings = [await engine.ping(instance_id, c.hostname, 1.0) for c in (state.containers if state else ())]
        # What was seen before the pings may be older than what has answered.
        after = find(await engine.observe(), instance_id)
        if after is not None and after == state and pings and all(ping.healthy for ping in pings):
            return after
        assert time.monotonic() < end, f"not healthy in time: {state}, {pings}"
        await asyncio.sleep(0.01)


def spare_ports(blocks: int) -> int:
    """The first of some ports that other test processes on this machine do not choose, outside the usual range."""
    return 11000 + os.getpid() % 140 * 60 + (3 - blocks) * 20


def find(states: tuple[InstanceState, ...], instance_id: str = "i-1") -> InstanceState | None:
    """The instance of that id."""
    return next((state for state in states if state.id == instance_id), None)


def container_of(state: InstanceState | None, hostname: str) -> ContainerState:
    """Its container of that name."""
    assert state is not None
    return next(container for container in state.containers if container.hostname == hostname)


def pids(state: InstanceState | None) -> dict[str, int | None]:
    """The pids by host name."""
    assert state is not None
    return {container.hostname: container.pid for container in state.containers}
