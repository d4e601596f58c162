"""Asks every container how it is, and remembers the answers. `health` judges them."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from polyport.control import failure, health
from polyport.domain.endpoints import Variant
from polyport.domain.instances import ContainerPhase, ContainerState, InstanceState
from polyport.engines.contract import Engine


class _Watch:
    """One container that is being asked."""

    def __init__(self, variant: Variant, rules: health.Rules) -> None:
        self.variant = variant
        self.rules = rules
        self.health: health.Health | None = None
        self.failure = ""
        self.overdue = False
        #: Set to ask again without waiting for the pause to end.
        self.kick = asyncio.Event()
        #: Set once there is a first verdict.
        self.known = asyncio.Event()


class Monitor:
    """Pings the containers of the instances that it is told to `watch`.

    ``on_change`` is called with the id of an instance whose health, failure or overdue verdict changed.
    """

    def __init__(
        self,
        engine: Engine,
        ping_timeout: float,
        on_change: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._engine = engine
        self._ping_timeout = ping_timeout
        self._on_change = on_change
        self._clock = clock
        self._states: Mapping[str, InstanceState] = {}
        self._watches: dict[str, dict[str, _Watch]] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    # --- what is known

    def is_healthy(self, instance: str) -> bool:
        """Whether every container of the instance is healthy."""
        watches = self._watches.get(instance)
        return bool(watches) and all(watch.health and watch.health.healthy for watch in (watches or {}).values())

    def failure(self, instance: str) -> str:
        """Why the instance is given up; one sentence per failing container. Empty: it is not."""
        return "\n".join(watch.failure for watch in self._watches.get(instance, {}).values() if watch.failure)

    def is_overdue(self, instance: str) -> bool:
        """Whether a container of it has been unhealthy for longer than its start-up time allows."""
        return any(watch.overdue for watch in self._watches.get(instance, {}).values())

    def hints(self, instance: str) -> list[str]:
        """What unhealthy containers are waited for, one sentence each."""
        return [
            f"{hostname}: {_hint(watch, self._container(instance, hostname))}"
            for hostname, watch in self._watches.get(instance, {}).items()
            if not (watch.health and watch.health.healthy)
        ]

    # --- what to watch

    def update(self, states: Mapping[str, InstanceState]) -> None:
        """Take note of the engine's latest view; containers that changed are asked at once."""
        before, self._states = self._states, states
        for instance in self._watches:
            if before.get(instance) != states.get(instance):
                self.kick(instance)

    def watch(self, instance: str, variant: Variant, rules: health.Rules) -> None:
        """Begin to ask the containers of an instance; does nothing when it is watched."""
        if instance in self._watches:
            return
        self._watches[instance] = {spec.hostname: _Watch(variant, rules) for spec in variant.containers}
        self._tasks[instance] = [
            asyncio.create_task(self._ask_for_ever(instance, hostname, watch))
            for hostname, watch in self._watches[instance].items()
        ]

    def forget(self, instance: str) -> None:
        """Stop asking."""
        self._watches.pop(instance, None)
        for task in self._tasks.pop(instance, ()):
            task.cancel()

    def kick(self, instance: str) -> None:
        """Ask the instance's containers now: somebody saw something."""
        for watch in self._watches.get(instance, {}).values():
            watch.kick.set()

    async def first_verdicts(self) -> None:
        """Wait until every watched container that runs has been asked once."""
        for watches in tuple(self._watches.values()):
            for watch in watches.values():
                await watch.known.wait()

    async def close(self) -> None:
        """Stop asking anybody."""
        tasks = [task for tasks in self._tasks.values() for task in tasks]
        for instance in tuple(self._watches):
            self.forget(instance)
        await asyncio.gather(*tasks, return_exceptions=True)

    # --- asking

    def _container(self, instance: str, hostname: str) -> ContainerState | None:
        state = self._states.get(instance)
        return next((c for c in state.containers if c.hostname == hostname), None) if state else None

    async def _ask_for_ever(self, instance: str, hostname: str, watch: _Watch) -> None:
        while True:
            watch.kick.clear()
            await self._ask(instance, hostname, watch)
            watch.known.set()
            wait = health.pause(watch.health, watch.rules, self._clock()) if watch.health else watch.rules.ping_interval
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await watch.kick.wait()

    async def _ask(self, instance: str, hostname: str, watch: _Watch) -> None:
        container = self._container(instance, hostname)
        if container is None:
            # It went away without being retired: the reconciler starts it again, and it begins anew.
            if watch.health is not None:
                watch.health = None
                self._on_change(instance)
            return
        before = (watch.health and watch.health.healthy, watch.failure, watch.overdue)
        watch.health = health.observe(watch.health, container, self._clock())
        if container.phase is ContainerPhase.RUNNING and container.port:
            ping = await self._engine.ping(instance, hostname, self._ping_timeout)
            latest = self._container(instance, hostname)
            if latest is None or latest.started_at != container.started_at:
                watch.kick.set()
                return
            watch.health = health.judge(watch.health, ping, latest, watch.rules, self._clock())
            container = latest
        await self._verdict(instance, watch, watch.health, container)
        if before != (watch.health.healthy, watch.failure, watch.overdue):
            self._on_change(instance)

    async def _verdict(self, instance: str, watch: _Watch, current: health.Health, container: ContainerState) -> None:
        if current.healthy:
            watch.failure, watch.overdue = "", False
            return
        watch.overdue = health.is_overdue(current, watch.rules, self._clock())
        if not watch.failure and (watch.overdue or health.is_crashing(current, container, watch.rules)):
            diagnosis = await self._engine.explain(instance, container.hostname)
            watch.failure = failure.ping_failed(watch.variant, container, current, watch.rules, diagnosis)


def _hint(watch: _Watch, container: ContainerState | None) -> str:
    if container is None:
        return "being prepared"
    if container.phase is not ContainerPhase.RUNNING:
        return failure.describe_exit(container.last_exit) if container.last_exit else str(container.phase)
    last = watch.health.last if watch.health else None
    if last is None or (last.status is None and not last.error):
        return "starting"
    return f"/ping answered {last.status}" if last.status is not None else f"/ping: {last.error}"
