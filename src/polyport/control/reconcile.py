"""The loop that makes endpoints what their rows say: one serial worker per endpoint, parallel across endpoints.

Each worker waits for *wake, poll or stop*, reads the row, asks `plan` for the next step, writes it by compare-and-swap
and acts on it. Hints only make it quick; polling makes it correct.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol

import msgspec

from polyport.control import activity, failure, health, plan, routes
from polyport.control.monitor import Monitor
from polyport.control.prepare import Preparer
from polyport.control.publish import Publisher
from polyport.domain.endpoints import Deployment, Endpoint, EndpointState, Fleet, InstanceRow, Status
from polyport.domain.instances import Image, InstanceState
from polyport.domain.routes import Unreachable
from polyport.engines.contract import Engine
from polyport.errors import PolyportError, StaleWrite

log = logging.getLogger(__name__)

#: Seconds between two looks at all rows and all instances, should every hint be lost.
SWEEP_INTERVAL = 5.0
#: Seconds between two looks at an endpoint that is on its way somewhere.
POLL_INTERVAL = 1.0
#: Seconds before something that failed is tried again, by how often it failed.
RETRY = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Rows(Protocol):
    """What the reconciler needs of the store."""

    async def all_endpoints(self) -> list[Endpoint]:
        """Every endpoint of every owner."""

    async def get_endpoint_by_id(self, endpoint_id: str) -> Endpoint | None:
        """One endpoint."""

    async def advance(self, endpoint: Endpoint, state: EndpointState, now: float) -> Endpoint:
        """Write the reconciler's part of the row; `StaleWrite` when it was written since ``endpoint`` was read."""

    async def remove_endpoint(self, endpoint: Endpoint) -> None:
        """Delete the row; `StaleWrite` as above."""


class Trouble(msgspec.Struct, frozen=True):
    """An instance that could not be prepared or applied."""

    reason: str
    since: float
    retry_at: float
    attempts: int = 1


class Reconciler:
    """Drives all endpoints of one store on one engine."""

    def __init__(
        self,
        rows: Rows,
        engine: Engine,
        preparer: Preparer,
        rules: health.Rules,
        workers: int,
        ping_timeout: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rows = rows
        self._engine = engine
        self._preparer = preparer
        self._rules = rules
        self._clock = clock
        self.publisher = Publisher(workers, self._wake_unsettled, self._take_report)
        self.monitor = Monitor(engine, ping_timeout, self._wake_owner, clock)
        self._states: dict[str, InstanceState] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._owners: dict[str, str] = {}
        self._resolved: dict[str, dict[tuple[int, str], tuple[Image, ...] | str]] = {}
        self._troubles: dict[str, Trouble] = {}
        self._jobs: dict[object, asyncio.Task[None]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._flush_due = False

    # --- life

    async def start(self) -> None:
        """Find out what is, then publish it: no target leaves the tables because control was restarted."""
        await self._engine.open()
        await self._refresh()
        endpoints = await self._rows.all_endpoints()
        for endpoint in endpoints:
            self._note(endpoint)
        await self.monitor.first_verdicts()
        for endpoint in endpoints:
            self._publish(endpoint)
        self.publisher.flush()
        for endpoint in endpoints:
            self.wake(endpoint.id)
        self._spawn(self._watch_engine())
        self._spawn(self._sweep_for_ever())

    async def stop(self) -> None:
        """Let go of everything. Instances and gateways go on; the next `start` takes over."""
        tasks = [*self._tasks, *self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.monitor.close()
        await self.publisher.close()
        await self._engine.close()

    async def stop_instances(self, patience: float) -> None:
        """End every instance and wait until they are gone, at most ``patience`` seconds. The rows stay: the next start
        brings the endpoints back. To be called once the gateways are gone, in place of further reconciling."""
        tasks = [*self._tasks, *self._jobs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while states := await self._engine.observe():
                    for state in states:
                        if not state.stopping:
                            await self._engine.remove(state.id)
                    with suppress(TimeoutError):
                        async with asyncio.timeout(POLL_INTERVAL):
                            await self._engine.changed()

    def wake(self, endpoint_id: str) -> None:
        """Look at this endpoint now. Safe to call for any reason, any number of times."""
        if endpoint_id not in self._wakes:
            self._wakes[endpoint_id] = asyncio.Event()
            self._spawn(self._drive(endpoint_id))
        self._wakes[endpoint_id].set()

    # --- what others may know (DescribeEndpoint, /healthz)

    def healthy_counts(self, endpoint_id: str) -> dict[str, int]:
        """How many instances of each active variant can take calls."""
        endpoint = self._endpoints.get(endpoint_id)
        active = endpoint.state.active if endpoint else None
        return {
            fleet.variant.name: sum(self.monitor.is_healthy(row.id) for row in fleet.instances)
            for fleet in (active.fleets if active else ())
        }

    def activity(self, endpoint_id: str) -> dict[str, list[tuple[str, str, float]]]:
        """``VariantStatus`` by variant: status, message, start (epoch seconds)."""
        endpoint = self._endpoints.get(endpoint_id)
        return activity.describe(endpoint, self.monitor.is_healthy, self._hints) if endpoint else {}

    def _hints(self, instance: str) -> list[str]:
        trouble = self._troubles.get(instance)
        return [trouble.reason] if trouble else self.monitor.hints(instance)

    # --- hints

    def _wake_owner(self, instance: str) -> None:
        if owner := self._owners.get(instance):
            self.wake(owner)

    def _wake_unsettled(self) -> None:
        for endpoint in tuple(self._endpoints.values()):
            if not _is_settled(endpoint):
                self.wake(endpoint.id)

    def _take_report(self, report: Unreachable) -> None:
        log.info("a gateway could not reach %s of %s: %s", report.hostname, report.instance, report.reason)
        self.monitor.kick(report.instance)

    # --- loops

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch_engine(self) -> None:
        """Keep the view of the engine fresh."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_INTERVAL):
                    await self._engine.changed()
            try:
                await self._refresh()
            except Exception:
                # The engine may be away for a while (a daemon restarts); what is known stays known.
                log.exception("the engine could not be asked")
                await asyncio.sleep(POLL_INTERVAL)

    async def _refresh(self) -> None:
        states = {state.id: state for state in await self._engine.observe()}
        before, self._states = self._states, states
        self.monitor.update(states)
        for instance in before.keys() | states.keys():
            if before.get(instance) != states.get(instance):
                self._wake_owner(instance)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self._sweep()
            except Exception:
                log.exception("the rows could not be swept")
            await asyncio.sleep(SWEEP_INTERVAL)

    async def _sweep(self) -> None:
        """Find rows that no hint told of, and instances that no row wants."""
        # Looked at before the rows are read: whatever runs by then had its row written earlier.
        present = set(self._states)
        endpoints = await self._rows.all_endpoints()
        wanted = {row.id for endpoint in endpoints for row in plan.all_instances(endpoint.state)}
        for instance in present - wanted:
            if not self._states.get(instance, InstanceState(instance)).stopping:
                log.warning("instance %s belongs to no endpoint and is removed", instance)
                await self._engine.remove(instance)
        for endpoint in endpoints:
            known = self._endpoints.get(endpoint.id)
            if known is None or known.version != endpoint.version:
                self.wake(endpoint.id)

    async def _drive(self, endpoint_id: str) -> None:
        wake = self._wakes[endpoint_id]
        failures = 0
        while True:
            wake.clear()
            try:
                if not await self._step(endpoint_id):
                    break
                failures = 0
            except StaleWrite:
                continue
            except Exception:
                log.exception("endpoint %s: a step failed and is tried again", endpoint_id)
                await asyncio.sleep(RETRY[min(failures, len(RETRY) - 1)])
                failures += 1
                continue
            settled = _is_settled(self._endpoints[endpoint_id])
            with suppress(TimeoutError):
                async with asyncio.timeout(None if settled else POLL_INTERVAL):
                    await wake.wait()
        del self._wakes[endpoint_id]

    # --- one step of one endpoint

    async def _step(self, endpoint_id: str) -> bool:
        """Decide, write, act. Returns False once the endpoint is gone."""
        endpoint = await self._rows.get_endpoint_by_id(endpoint_id)
        if endpoint is None:
            self._drop(endpoint_id)
            return False
        now = self._clock()
        seen = {row.id: self._see(row.id) for row in plan.all_instances(endpoint.state)}
        resolved = self._resolved.setdefault(endpoint_id, {})
        decision = plan.plan(endpoint, seen, resolved, now, new_instance_id)
        if decision.state != endpoint.state:
            endpoint = await self._rows.advance(endpoint, decision.state, now)
            self._wakes[endpoint_id].set()
            _report(endpoint)
        self._note(endpoint)
        self._publish(endpoint)
        if decision.gone:
            await self._rows.remove_endpoint(endpoint)
            self._drop(endpoint_id)
            return False
        self._act(endpoint, decision)
        return True

    def _see(self, instance: str) -> plan.Seen:
        state = self._states.get(instance)
        trouble = self._troubles.get(instance)
        return plan.Seen(
            present=state is not None,
            stopping=state is not None and state.stopping,
            healthy=state is not None and not state.stopping and self.monitor.is_healthy(instance),
            failure=trouble.reason if trouble else self.monitor.failure(instance),
            overdue=self._clock() - trouble.since > self._rules.startup_timeout
            if trouble
            else self.monitor.is_overdue(instance),
            routed=self.publisher.is_routed(instance),
            drained=self.publisher.is_drained(instance),
        )

    def _note(self, endpoint: Endpoint) -> None:
        """Keep the in-memory view in step with the row: which instances are whose, and watched."""
        before = self._endpoints.get(endpoint.id, endpoint)
        self._endpoints[endpoint.id] = endpoint
        live = {}
        for deployment in (endpoint.state.active, endpoint.state.pending):
            for fleet in deployment.fleets if deployment else ():
                live.update({row.id: fleet for row in fleet.instances})
        for instance, fleet in live.items():
            if instance in self._states:
                self.monitor.watch(instance, fleet.variant, self._rules_for(fleet))
        mine = {row.id for row in plan.all_instances(endpoint.state)}
        for row in plan.all_instances(before.state):
            if row.id not in mine:
                self._forget(row.id)
        for instance in mine:
            self._owners[instance] = endpoint.id
            if instance not in live:
                self.monitor.forget(instance)

    def _rules_for(self, fleet: Fleet) -> health.Rules:
        timeout = fleet.variant.startup_timeout
        return msgspec.structs.replace(self._rules, startup_timeout=timeout) if timeout else self._rules

    def _forget(self, instance: str) -> None:
        self._owners.pop(instance, None)
        self._troubles.pop(instance, None)
        self.monitor.forget(instance)
        self.publisher.forget(instance)

    def _drop(self, endpoint_id: str) -> None:
        endpoint = self._endpoints.pop(endpoint_id, None)
        self._resolved.pop(endpoint_id, None)
        for row in plan.all_instances(endpoint.state) if endpoint else ():
            self._forget(row.id)
        self.publisher.put(endpoint_id, None, None)
        self._flush_soon()

    def _publish(self, endpoint: Endpoint) -> None:
        route = routes.route(endpoint, self._states, self.monitor.is_healthy)
        self.publisher.put(endpoint.id, route, None if route else routes.unavailable(endpoint))
        self._flush_soon()

    def _flush_soon(self) -> None:
        """Push once for all that changes within one turn of the event loop."""
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self.publisher.flush()

    # --- actions: each may be repeated

    def _act(self, endpoint: Endpoint, decision: plan.Decision) -> None:
        for deployment, fleet in decision.resolve:
            self._job(
                (endpoint.id, deployment.revision, fleet.variant.name), self._resolve(endpoint, deployment, fleet)
            )
        due = {row.id for _, row in decision.apply}
        for fleet, row in decision.apply:
            trouble = self._troubles.get(row.id)
            if trouble is None or trouble.retry_at <= self._clock():
                self._job(row.id, self._apply(endpoint, fleet, row))
        for instance in plan.all_instances(endpoint.state):
            if instance.id not in due and (job := self._jobs.get(instance.id)):
                job.cancel()
        for instance_id in decision.remove:
            self._job(("remove", instance_id), self._engine.remove(instance_id))

    def _job(self, key: object, work: Coroutine[Any, Any, None]) -> None:
        """Run one action in the background, at most once at a time for each key."""
        if key in self._jobs:
            work.close()
            return
        task = asyncio.create_task(work)
        self._jobs[key] = task

        def done(task: asyncio.Task[None]) -> None:
            del self._jobs[key]
            if not task.cancelled() and (error := task.exception()):
                log.error("an action failed and is tried again: %s", error, exc_info=error)

        task.add_done_callback(done)

    async def _resolve(self, endpoint: Endpoint, deployment: Deployment, fleet: Fleet) -> None:
        key = (deployment.revision, fleet.variant.name)
        try:
            self._resolved[endpoint.id][key] = await self._preparer.resolve(fleet.variant)
        except Exception as error:  # noqa: BLE001  whatever it is, the endpoint must not hang on it
            self._resolved[endpoint.id][key] = _reason(error)
        self.wake(endpoint.id)

    async def _apply(self, endpoint: Endpoint, fleet: Fleet, row: InstanceRow) -> None:
        try:
            instance = await self._preparer.prepare(endpoint, fleet, row)
            await self._engine.apply(instance)
        except Exception as error:  # noqa: BLE001  whatever it is, the endpoint must not hang on it
            before = self._troubles.get(row.id)
            attempts = before.attempts + 1 if before else 1
            now = self._clock()
            self._troubles[row.id] = Trouble(
                reason=_reason(error),
                since=before.since if before else now,
                retry_at=now + RETRY[min(attempts - 1, len(RETRY) - 1)],
                attempts=attempts,
            )
            self.wake(endpoint.id)
            return
        self._troubles.pop(row.id, None)
        await self._refresh()
        self.wake(endpoint.id)


def _is_settled(endpoint: Endpoint) -> bool:
    settled = endpoint.status in {Status.IN_SERVICE, Status.FAILED} and endpoint.generation <= endpoint.state.settled
    return settled and not endpoint.state.retired


def _report(endpoint: Endpoint) -> None:
    state = endpoint.state
    log.info(
        "endpoint %s is %s%s", endpoint.name, state.status, f": {state.failure_reason}" * bool(state.failure_reason)
    )


def _reason(error: Exception) -> str:
    """What is told of an action that failed: our own errors speak for themselves, a bug must not hang the endpoint."""
    if isinstance(error, PolyportError):
        return failure.clip(str(error), ())
    log.error("an action failed", exc_info=error)
    return failure.clip(f"Internal error: {type(error).__name__}: {error}", ())


def new_instance_id() -> str:
    """As EC2 writes instance ids: ``i-`` and 17 hexadecimal digits."""
    return "i-" + secrets.token_hex(9)[:17]
