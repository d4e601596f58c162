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

from polyport.domain.instances import Container, Instance, InstanceState
from polyport.engines.contract import Diagnosis, Ping, Usage
from polyport.engines.fake_http import Answering
from polyport.engines.fake_machine import HOST, Machine, Process, Running, Script
from polyport.errors import CannotChangeInstance
from polyport.settings import Settings

__all__ = ["FakeEngine", "Machine", "Script"]

#: Real seconds after which `FakeEngine.changed` returns anyway: the clock alone may have changed things.
_HINT_INTERVAL = 0.1
#: The same where nothing has a script: only what ended by a signal is started again later.
_QUIET_INTERVAL = 1.0

_shared = Machine(answers=True)


class FakeEngine:
    """The eight verbs on a `Machine`, and `contract.Measuring`."""

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

    async def measure(self) -> tuple[Usage, ...]:
        """As scripted. See `contract.Measuring`."""
        now, instances = self._machine.clock(), self._settled()
        seen = (p.measure(key, now) for key, running in instances.items() for p in running.processes.values())
        return tuple(usage for usage in seen if usage is not None)

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
