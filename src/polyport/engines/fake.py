"""An engine that runs nothing: for tests of what uses engines, and for ``--engine fake``.

    machine = fake.Machine(clock=lambda: now)
    machine.scripts["second"] = fake.Script(ready_after=3.0, exits_after=10.0, exit_code=1)
    engine = fake.FakeEngine(settings, machine)

A `Machine` stands for the computer: what "runs" there outlives the engine object, and all of it follows from its clock
and its scripts, so that a test moves time by hand. Without a machine given, engines share one with the real clock that
answers over HTTP: ``/ping`` as scripted, ``/invocations`` with the body it got. It is as long-lived as the process.
"""

import asyncio
import contextlib
import itertools
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from polyport.domain.instances import Container, ContainerPhase, ContainerState, Exit, Instance, InstanceState
from polyport.engines import backoff
from polyport.engines.contract import Diagnosis, Ping
from polyport.engines.fake_http import Answering
from polyport.errors import CannotChangeInstance
from polyport.settings import Settings

HOST = "127.0.0.1"
#: Real seconds after which `FakeEngine.changed` returns anyway: the clock alone may have changed things.
_HINT_INTERVAL = 0.1
#: The same where nothing has a script: only what ended by a signal is started again later.
_QUIET_INTERVAL = 1.0


class Script(msgspec.Struct, frozen=True):
    """How a container behaves. Times in seconds on the machine's clock."""

    #: From its start until it listens.
    ready_after: float = 0.0
    #: What ``/ping`` answers.
    ping_status: int = 200
    #: ``False``: it never listens.
    listens: bool = True
    #: It listens there instead of where it was told to.
    listens_on: int | None = None
    #: From each start until it ends by itself, with this code.
    exits_after: float = math.inf
    exit_code: int = 0
    #: Why it cannot be started at all.
    broken: str = ""
    #: From SIGTERM until its end; ``math.inf`` for one that has to be killed.
    stops_after: float = 0.0
    output: tuple[str, ...] = ()


class Machine:
    """What a fake engine starts its containers on."""

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        answers: bool = False,
        can_change: bool = True,
        first_port: int = 1,
    ) -> None:
        self.clock = clock
        #: Whether containers really listen, on ports that the kernel chooses.
        self.answers = answers
        #: Whether a running instance can be changed; else `CannotChangeInstance`.
        self.can_change = can_change
        #: Scripts by container host name; look-ups happen whenever something is observed.
        self.scripts: dict[str, Script] = {}
        self.homes: dict[Path, dict[str, Running]] = {}
        self.listeners: set[Callable[[], None]] = set()
        self.pids = itertools.count(1000)
        self.ports = itertools.count(first_port)

    def script(self, hostname: str) -> Script:
        """How that container behaves."""
        return self.scripts.get(hostname, Script())

    def kill(self, instance_id: str, hostname: str, signal_number: int = signal.SIGKILL) -> None:
        """Ends a container's process as a signal would."""
        for instances in self.homes.values():
            if instance_id in instances:
                instances[instance_id].processes[hostname].end(self.clock(), None, int(signal_number))
        self.tell()

    def tell(self) -> None:
        """Wakes who waits for a change; for tests that moved the clock."""
        for listener in self.listeners:
            listener()


class Process:
    """One container on a machine."""

    def __init__(self, container: Container, machine: Machine, port: int) -> None:
        self.container = container
        self.port = port
        self._machine = machine
        self._pid: int | None = None
        self._starts = 0
        self._ends = 0
        self._started_at: float | None = None
        self._start_at = machine.clock()
        self._last_exit: Exit | None = None

    @property
    def script(self) -> Script:
        """As it is now."""
        return self._machine.script(self.container.hostname)

    def settle(self, now: float) -> None:
        """Lives through all starts and ends that were due until ``now``."""
        while True:
            if self._pid is None and self._start_at <= now:
                self._start(self._start_at)
            elif self._pid is not None and self._started_at is not None and self._end_of_run <= now:
                self.end(self._end_of_run, self.script.exit_code, None)
            else:
                return

    def end(self, at: float, code: int | None, signal_number: int | None, reason: str = "") -> None:
        """Its process ends, and another is planned."""
        self._pid = None
        self._last_exit = Exit(at=at, code=code, signal=signal_number, reason=reason)
        self._ends, pause = backoff.plan_restart(self._ends, at - (self._started_at or at))
        self._start_at = at + pause

    def ping(self, now: float) -> Ping:
        """What ``/ping`` comes to."""
        self.settle(now)
        if self._pid is None:
            return Ping(error="not running")
        if self.listening(now) != (self.port,):
            return Ping(error="refused")
        return Ping(status=self.script.ping_status)

    def listening(self, now: float) -> tuple[int, ...]:
        """The ports it listens on."""
        script = self.script
        ready = self._pid is not None and self._started_at is not None and now >= self._started_at + script.ready_after
        return (script.listens_on or self.port,) if ready and script.listens else ()

    def describe(self) -> ContainerState:
        """As an engine sees it."""
        return ContainerState(
            hostname=self.container.hostname,
            phase=ContainerPhase.RUNNING if self._pid else ContainerPhase.BACKOFF,
            host=HOST,
            port=self.port,
            pid=self._pid,
            started_at=self._started_at,
            restarts=max(0, self._starts - 1),
            last_exit=self._last_exit,
        )

    @property
    def _end_of_run(self) -> float:
        return (self._started_at or 0.0) + self.script.exits_after

    def _start(self, at: float) -> None:
        self._starts += 1
        self._started_at = at
        if self.script.broken:
            self.end(at, None, None, self.script.broken)
        else:
            self._pid = next(self._machine.pids)


class Running:
    """One instance on a machine."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.processes: dict[str, Process] = {}
        self.removed_at: float | None = None

    def settle(self, now: float) -> None:
        """Lives through what was due until ``now``."""
        for process in self.processes.values() if self.removed_at is None else ():
            process.settle(now)

    def gone(self, now: float) -> bool:
        """Whether its removal is over."""
        if self.removed_at is None:
            return False
        slowest = max((process.script.stops_after for process in self.processes.values()), default=0.0)
        return now >= self.removed_at + min(slowest, self.instance.stop_timeout)

    def describe(self) -> InstanceState:
        """As an engine sees it."""
        states = tuple(process.describe() for process in self.processes.values())
        return InstanceState(self.instance.id, states, stopping=self.removed_at is not None)


_shared = Machine(answers=True)


class FakeEngine:
    """The eight verbs on a `Machine`."""

    def __init__(self, settings: Settings, machine: Machine | None = None) -> None:
        self._machine = machine or _shared
        self._home = settings.home
        self._servers: dict[int, Answering] = {}
        self._changed = asyncio.Event()

    async def open(self) -> None:
        """Finds the instances of its home again; lets them answer, if the machine does."""
        self._machine.homes.setdefault(self._home, {})
        self._machine.listeners.add(self._changed.set)
        for process in self._processes():
            await self._answer(process)

    async def close(self) -> None:
        """The instances stay on the machine, silent until the next `open`."""
        self._machine.listeners.discard(self._changed.set)
        for server in self._servers.values():
            server.close()
        self._servers.clear()

    async def apply(self, instance: Instance) -> None:
        """See `contract.Engine.apply`."""
        running = self._settled().setdefault(instance.id, Running(instance))
        if running.removed_at is not None:
            raise CannotChangeInstance(f"Instance {instance.id} is being removed.")
        if running.instance != instance and not self._machine.can_change:
            raise CannotChangeInstance(f"Instance {instance.id} cannot be changed while it runs.")
        wanted = {container.hostname: container for container in instance.containers}
        kept = {h: p for h, p in running.processes.items() if wanted.get(h) == p.container}
        running.processes = {h: kept.get(h) or self._make(container) for h, container in wanted.items()}
        running.instance = instance
        await self._follow()

    async def remove(self, instance_id: str) -> None:
        """See `contract.Engine.remove`."""
        running = self._settled().get(instance_id)
        if running is not None and running.removed_at is None:
            running.removed_at = self._machine.clock()
        await self._follow()

    async def observe(self) -> tuple[InstanceState, ...]:
        """See `contract.Engine.observe`."""
        return tuple(running.describe() for running in self._settled().values())

    async def changed(self) -> None:
        """After a verb or a `Machine.kill`, or a moment later: time itself changes things here."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HINT_INTERVAL if self._machine.scripts else _QUIET_INTERVAL):
                await self._changed.wait()
        self._changed.clear()

    async def ping(self, instance_id: str, hostname: str, timeout: float) -> Ping:  # noqa: ARG002 - it never takes time
        """As scripted; nothing goes over the network."""
        process = self._find(instance_id, hostname)
        return process.ping(self._machine.clock()) if process else Ping(error="not running")

    async def explain(self, instance_id: str, hostname: str) -> Diagnosis:
        """As scripted."""
        process = self._find(instance_id, hostname)
        if process is None:
            return Diagnosis()
        return Diagnosis(listening=process.listening(self._machine.clock()), output=process.script.output)

    def _settled(self) -> dict[str, Running]:
        """This home's instances as of now."""
        now, instances = self._machine.clock(), self._machine.homes[self._home]
        for instance_id, running in list(instances.items()):
            running.settle(now)
            if running.gone(now):
                del instances[instance_id]
        return instances

    def _processes(self) -> list[Process]:
        return [process for running in self._settled().values() for process in running.processes.values()]

    def _find(self, instance_id: str, hostname: str) -> Process | None:
        """Only this one lives through what was due: pings are many, and so are instances."""
        now, running = self._machine.clock(), self._machine.homes[self._home].get(instance_id)
        if running is None or running.gone(now):
            return None
        running.settle(now)
        return running.processes.get(hostname)

    def _make(self, container: Container) -> Process:
        return Process(container, self._machine, 0 if self._machine.answers else next(self._machine.ports))

    async def _follow(self) -> None:
        """Has servers for the containers that are there, and for no others."""
        processes = self._processes()
        for process in processes:
            await self._answer(process)
            process.settle(self._machine.clock())
        ports = {process.port for process in processes}
        for port in self._servers.keys() - ports:
            self._servers.pop(port).close()
        self._machine.tell()

    async def _answer(self, process: Process) -> None:
        if self._machine.answers and process.port not in self._servers:
            server = Answering(lambda: process.ping(self._machine.clock()).status)
            process.port = await server.open(HOST, process.port)
            self._servers[process.port] = server
