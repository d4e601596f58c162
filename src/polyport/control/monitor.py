"""Asks every container how it is, and remembers the answers. `health` judges them."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from polyport.control import failure, health
from polyport.control.chronicle import Chronicle
from polyport.control.watch import Watch
from polyport.domain import diagnosis as diagnoses
from polyport.domain.endpoints import Variant
from polyport.domain.events import Event, Kind
from polyport.domain.instances import ContainerPhase, ContainerState, InstanceState
from polyport.engines.contract import Diagnosis, Engine, Ping
from polyport.errors import EngineError

log = logging.getLogger(__name__)

#: Seconds at most between two pings of a container that a start of control waits for.
IMPATIENT = 0.5
#: Seconds that an engine may take for a ping on top of the ping's own limit, and for an explanation.
ENGINE_TIME = 10.0


class Monitor:
    """Pings the containers of the instances that it is told to `watch`.

    ``on_change`` is called with the id of an instance whose verdict (`watch.Verdict`) changed.
    """

    def __init__(
        self,
        engine: Engine,
        ping_timeout: float,
        on_change: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        chronicle: Chronicle | None = None,
    ) -> None:
        self._engine = engine
        self._ping_timeout = ping_timeout
        self._on_change = on_change
        self._clock = clock
        self._chronicle = chronicle or Chronicle()
        self._states: Mapping[str, InstanceState] = {}
        self._watches: dict[str, dict[str, Watch]] = {}
        self._tasks: dict[str, list[asyncio.Task[None]]] = {}

    # --- what is known

    def is_healthy(self, instance: str) -> bool:
        """Whether every container of the instance is healthy."""
        watches = self._watches.get(instance, {})
        return bool(watches) and all(watch.is_healthy for watch in watches.values())

    def failure(self, instance: str) -> str:
        """Why the instance is given up: all its failing containers, then what they printed. Empty: it is not."""
        failed = [watch for watch in self._watches.get(instance, {}).values() if watch.failure]
        reason = failure.join(watch.failure for watch in failed)
        return failure.clip(reason, tuple(line for watch in failed for line in watch.output)) if failed else ""

    def is_overdue(self, instance: str) -> bool:
        """Whether a container of it has been unhealthy for longer than its start-up time allows."""
        return any(watch.overdue for watch in self._watches.get(instance, {}).values())

    def complaint(self, instance: str) -> str:
        """Why another instance should take its place though it had been healthy; empty: none should."""
        return failure.join(watch.complaint for watch in self._watches.get(instance, {}).values())

    def is_slow(self, instance: str) -> bool:
        """Whether nothing is wrong with it but that containers of it do not answer pings in time."""
        watches = self._watches.get(instance, {})
        return bool(watches) and all(watch.is_healthy or watch.slow for watch in watches.values())

    def ill_since(self, instance: str) -> float:
        """When the first container of it that is not healthy began to be so, in epoch seconds; now, when none is."""
        healths = (watch.health for watch in self._watches.get(instance, {}).values())
        return min((each.since for each in healths if each and not each.healthy), default=self._clock())

    def hints(self, instance: str) -> list[str]:
        """What unhealthy containers are waited for, one sentence each."""
        return [
            f"{hostname}: {_hint(watch, self._container(instance, hostname))}"
            for hostname, watch in self._watches.get(instance, {}).items()
            if not watch.is_healthy
        ]

    # --- what to watch

    def update(self, states: Mapping[str, InstanceState]) -> None:
        """Take note of the engine's latest view. A container that ended is unhealthy from here on, without being asked;
        those that changed are asked at once."""
        before, self._states = self._states, states
        for instance, watches in self._watches.items():
            if before.get(instance) == states.get(instance):
                continue
            for hostname, watch in watches.items():
                watch.observe(self._container(instance, hostname), self._clock())
                self._tell(instance, watch)
                watch.kick.set()

    def watch(self, instance: str, variant: Variant, rules: health.Rules) -> None:
        """Begin to ask the containers of an instance; does nothing when it is watched."""
        if instance in self._watches:
            return
        self._watches[instance] = {
            spec.hostname: Watch(spec.hostname, variant, rules, self._clock()) for spec in variant.containers
        }
        self._tasks[instance] = [
            asyncio.create_task(self._ask_for_ever(instance, hostname, watch))
            for hostname, watch in self._watches[instance].items()
        ]

    def forget(self, instance: str) -> None:
        """Stop asking."""
        self._watches.pop(instance, None)
        for task in self._tasks.pop(instance, ()):
            task.cancel()

    def suspect(self, instance: str, hostname: str) -> None:
        """A gateway could not reach a container: ask the instance's containers now, and take it seriously."""
        for name, watch in self._watches.get(instance, {}).items():
            if name == hostname and watch.health is not None:
                watch.health = health.suspect(watch.health)
            watch.kick.set()

    def vouch(self, instance: str) -> None:
        """It had been healthy before anybody here asked it. That holds for containers that were never started again."""
        for hostname, watch in self._watches.get(instance, {}).items():
            container = self._container(instance, hostname)
            if container is not None and watch.health is not None and container.restarts == 0:
                watch.health = health.vouch(watch.health)
                watch.slow = not watch.is_healthy and health.is_slow(watch.health, container)

    async def first_verdicts(self) -> None:
        """Wait until every watched container is known to be healthy or not. A start of control waits for this, so that
        no target leaves the tables only because it was busy when it was asked."""
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
        if state is None:
            return None
        # An engine may show an instance before it shows its containers: their time is running already.
        starting = ContainerState(hostname, ContainerPhase.STARTING)
        return next((container for container in state.containers if container.hostname == hostname), starting)

    async def _ask_for_ever(self, instance: str, hostname: str, watch: Watch) -> None:
        while True:
            watch.kick.clear()
            wait = watch.rules.ping_interval
            try:
                await self._ask(instance, hostname, watch)
                if watch.health:
                    wait = health.pause(watch.health, watch.rules, self._clock())
            except Exception:
                log.exception("container %s of %s could not be asked", hostname, instance)
            if watch.is_known:
                watch.known.set()
            elif not watch.known.is_set():
                wait = min(wait, IMPATIENT)
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await watch.kick.wait()

    async def _ask(self, instance: str, hostname: str, watch: Watch) -> None:
        container = self._container(instance, hostname)
        current = watch.observe(container, self._clock())
        self._tell(instance, watch)
        if container and current and container.phase is ContainerPhase.RUNNING and container.port:
            ping = await self._ping(instance, hostname)
            latest = self._container(instance, hostname)
            if latest is None or not _is_same_start(container, latest):
                # The answer is of a process that is no more.
                watch.kick.set()
                return
            container = latest
            self._note_ping(instance, hostname, watch.health or current, ping)
            watch.health = current = health.judge(watch.health or current, ping, latest, watch.rules, self._clock())
        if container and current:
            await self._judge(instance, watch, current, container)
        self._tell(instance, watch)

    def _tell(self, instance: str, watch: Watch) -> None:
        """Also of what may be over soon: whoever looked in between would never hear that it is."""
        if watch.verdict != watch.told:
            self._note_verdict(instance, watch)
            watch.told = watch.verdict
            self._on_change(instance)

    def _note_ping(self, instance: str, hostname: str, before: health.Health, ping: Ping) -> None:
        if ping != before.last or before.failures + before.successes == 0:
            self._chronicle.note(instance, Event(self._clock(), Kind.PING, _answer(ping), hostname))

    def _note_verdict(self, instance: str, watch: Watch) -> None:
        now, told, verdict = self._clock(), watch.told, watch.verdict
        if verdict.healthy != told.healthy:
            text = "healthy: it takes calls" if verdict.healthy else "not healthy: it takes no calls"
            self._chronicle.note(instance, Event(now, Kind.HEALTH, text, watch.hostname))
        given_up = verdict.failure or verdict.complaint
        if given_up and given_up != (told.failure or told.complaint):
            self._chronicle.note(instance, Event(now, Kind.GIVEN_UP, given_up, watch.hostname))

    async def _judge(self, instance: str, watch: Watch, current: health.Health, container: ContainerState) -> None:
        if current.healthy:
            watch.forgive()
            return
        now = self._clock()
        overdue = health.is_overdue(current, watch.rules, now)
        gives_up = not watch.failure and (overdue or health.is_crashing(current, container, watch.rules))
        if watch.look_is_due(container, now) or gives_up:
            diagnosis = await self._explain(instance, container.hostname)
            lived = watch.lived(container)
            evidence = failure.evidence(
                container, current, watch.rules, diagnosis, lived=lived, overdue=overdue or gives_up
            )
            self._note_finding(instance, watch, diagnoses.find(evidence), diagnosis)
            if gives_up:
                watch.failure = failure.ping_failed(watch.variant, container, watch.finding)
                watch.output = diagnosis.output
        # Only now: who sees that it is overdue also sees why.
        watch.overdue = overdue
        watch.slow = health.is_slow(current, container)
        # The first one stays: how long it has been ill by now is no news.
        watch.complaint = watch.complaint or health.complaint(current, container, watch.rules, now)

    def _note_finding(
        self, instance: str, watch: Watch, finding: diagnoses.Finding | None, diagnosis: Diagnosis
    ) -> None:
        watch.finding = finding
        if finding is not None:
            noted = Event(
                self._clock(),
                Kind.FINDING,
                finding.cause,
                watch.hostname,
                cause=finding.name,
                fix=finding.fix,
                output=diagnosis.output,
            )
            self._chronicle.note(instance, noted)

    async def _ping(self, instance: str, hostname: str) -> Ping:
        try:
            async with asyncio.timeout(self._ping_timeout + ENGINE_TIME):
                return await self._engine.ping(instance, hostname, self._ping_timeout)
        except TimeoutError:
            return Ping(error="the engine gave no answer")
        except EngineError as error:
            return Ping(error=str(error))

    async def _explain(self, instance: str, hostname: str) -> Diagnosis:
        try:
            async with asyncio.timeout(ENGINE_TIME):
                return await self._engine.explain(instance, hostname)
        except TimeoutError:
            return Diagnosis()
        except EngineError as error:
            return Diagnosis(output=(str(error),))


def _is_same_start(container: ContainerState, latest: ContainerState) -> bool:
    return latest.phase is container.phase and latest.started_at == container.started_at


def _hint(watch: Watch, container: ContainerState | None) -> str:
    if container is None:
        return "being prepared"
    if watch.finding is not None:
        return watch.finding.text
    if container.phase is not ContainerPhase.RUNNING:
        return diagnoses.describe_end(container.last_exit) if container.last_exit else str(container.phase)
    last = watch.health.last if watch.health else None
    if last is None or (last.status is None and not last.error):
        return "starting"
    return _answer(last)


def _answer(ping: Ping) -> str:
    return f"/ping answered {ping.status}" if ping.status is not None else f"/ping: {ping.error}"
