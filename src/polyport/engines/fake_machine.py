"""The computer of the fake engine, and what "runs" on it: all of it follows from a clock and from scripts."""

import itertools
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from polyport.domain.instances import Container, ContainerPhase, ContainerState, Exit, Instance, InstanceState
from polyport.engines import backoff
from polyport.engines.contract import Ping, Usage

HOST = "127.0.0.1"


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
    #: CPUs that it keeps busy, from each start; bytes of memory that it has, and may have.
    cpus: float = 0.0
    memory: int = 0
    memory_limit: int | None = None


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

    def measure(self, instance_id: str, now: float) -> Usage | None:
        """What it uses; ``None`` while it does not run."""
        script = self.script
        if self._pid is None or self._started_at is None:
            return None
        return Usage(
            instance_id=instance_id,
            hostname=self.container.hostname,
            at=now,
            cpu_seconds=script.cpus * (now - self._started_at),
            memory=script.memory,
            memory_limit=script.memory_limit,
        )

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
