"""The loop that makes endpoints what their rows say: one serial worker per endpoint, parallel across endpoints.

Each worker waits for *wake, poll or stop*, reads the row, asks `plan` for the next step, writes it by compare-and-swap
and acts on it. Hints only make it quick; polling makes it correct.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

import msgspec

from polyport.control import activity, attempts, health, plan, resize, rollout, routes
from polyport.control.actions import Actions
from polyport.control.alarms import Alarms, NoAlarms
from polyport.control.jobs import Jobs
from polyport.control.monitor import Monitor
from polyport.control.prepare import Preparer
from polyport.control.publish import Publisher
from polyport.control.rows import Rows
from polyport.domain.access import AccessTable
from polyport.domain.endpoints import AT_REST, Endpoint, EndpointState, Fleet, Phase, Status
from polyport.domain.instances import InstanceState
from polyport.domain.routes import Unreachable
from polyport.engines.contract import Engine
from polyport.errors import EngineError, StaleWrite

log = logging.getLogger(__name__)

#: Seconds between two looks at all rows and all instances, should every hint be lost.
SWEEP_INTERVAL = 5.0
#: Seconds between two looks at an endpoint that is on its way somewhere.
POLL_INTERVAL = 1.0


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
        alarms: Alarms | None = None,
        new_id: Callable[[], str] | None = None,
    ) -> None:
        self._rows = rows
        self._alarms = alarms or NoAlarms()
        self._engine = engine
        self._preparer = preparer
        self._rules = rules
        self._clock = clock
        self._new_id = new_id or new_instance_id
        self.publisher = Publisher(workers, self._wake_waiting, self._take_report, clock)
        self.monitor = Monitor(engine, ping_timeout, self._wake_owner, clock)
        self._states: dict[str, InstanceState] = {}
        self._wakes: dict[str, asyncio.Event] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._owners: dict[str, str] = {}
        self._jobs = Jobs()
        self._actions = Actions(engine, preparer, self._jobs, self, self._refresh, clock)
        self._looks = self._latest_look = 0
        #: Until all is known that was, no step is taken and nothing published.
        self._is_started = False
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
        self._is_started = True
        for endpoint in endpoints:
            self.wake(endpoint.id)
        self._jobs.start("watch the engine", self._watch_engine())
        self._jobs.start("sweep", self._sweep_for_ever())

    async def stop(self) -> None:
        """Let go of everything. Instances and gateways go on; the next `start` takes over."""
        await self._jobs.close()
        await self.monitor.close()
        await self.publisher.close()
        await self._engine.close()

    async def stop_instances(self, patience: float) -> None:
        """End every instance and wait until they are gone, at most ``patience`` seconds. The rows stay: the next start
        brings the endpoints back. To be called once the gateways are gone, in place of further reconciling."""
        await self._jobs.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while not await self._is_engine_empty():
                    with suppress(TimeoutError, EngineError):
                        async with asyncio.timeout(POLL_INTERVAL):
                            await self._engine.changed()

    async def _is_engine_empty(self) -> bool:
        """Whether nothing is left; begins to end what is."""
        states = await self._engine.observe()
        for state in states:
            if not state.stopping:
                try:
                    await self._engine.remove(state.id)
                except EngineError:
                    # The others are to end all the same; this one is tried again.
                    log.exception("instance %s could not be removed", state.id)
        return not states

    def wake(self, endpoint_id: str) -> None:
        """Look at this endpoint now. Safe to call for any reason, any number of times."""
        if not self._is_started:
            return  # the first sweep looks at every row
        if endpoint_id not in self._wakes:
            self._wakes[endpoint_id] = asyncio.Event()
            # A key of its own each time: the worker before it may not be quite gone.
            self._jobs.start(self._wakes[endpoint_id], self._drive(endpoint_id))
        self._wakes[endpoint_id].set()

    def knows(self, endpoint_id: str) -> bool:
        """Whether there is such an endpoint, as far as is known."""
        return endpoint_id in self._endpoints

    def take_access(self, access: AccessTable) -> None:
        """Tell the gateways who may call. Before the start it waits for the endpoints: no table lacks what there is."""
        self.publisher.put_access(access)
        if self._is_started:
            self._flush_soon()

    # --- what others may know (DescribeEndpoint, /healthz)

    def healthy_counts(self, endpoint_id: str) -> dict[str, int]:
        """How many instances of each active variant can take calls, with those that a scale-out has added."""
        endpoint = self._endpoints.get(endpoint_id)
        counts: dict[str, int] = {}
        for fleet in resize.joined(endpoint.state) if endpoint else ():
            healthy = sum(self.monitor.is_healthy(row.id) for row in fleet.instances)
            counts[fleet.variant.name] = counts.get(fleet.variant.name, 0) + healthy
        return counts

    def activity(self, endpoint_id: str) -> dict[str, list[tuple[str, str, float]]]:
        """``VariantStatus`` by variant: status, message, start (epoch seconds)."""
        endpoint = self._endpoints.get(endpoint_id)
        if endpoint is None:
            return {}
        sources = activity.Sources(self.monitor.is_healthy, self._hints, self._preparer.hints)
        return activity.describe(endpoint, sources)

    def _hints(self, instance: str) -> list[str]:
        reason = self._actions.attempt(instance).reason
        return [reason] if reason else self.monitor.hints(instance)

    # --- hints

    def _wake_owner(self, instance: str) -> None:
        if owner := self._owners.get(instance):
            self.wake(owner)

    def _wake_waiting(self) -> None:
        for endpoint in tuple(self._endpoints.values()):
            if _awaits_gateways(endpoint.state):
                self.wake(endpoint.id)

    def _take_report(self, report: Unreachable) -> None:
        log.info("a gateway could not reach %s of %s: %s", report.hostname, report.instance, report.reason)
        self.monitor.kick(report.instance)

    # --- loops

    async def _watch_engine(self) -> None:
        """Keep the view of the engine fresh."""
        while True:
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(POLL_INTERVAL):
                        await self._engine.changed()
                await self._refresh()
            except Exception:
                # The engine may be away for a while (a daemon restarts); what is known stays known.
                log.exception("the engine could not be asked")
                await asyncio.sleep(POLL_INTERVAL)

    async def _refresh(self) -> None:
        self._looks += 1
        look = self._looks
        states = {state.id: state for state in await self._engine.observe()}
        if look < self._latest_look:
            return  # a later look came back earlier
        self._latest_look = look
        before, self._states = self._states, states
        self.monitor.update(states)
        for instance in before | states:
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
        present = list(self._states)
        rows = {endpoint.id: endpoint for endpoint in await self._rows.all_endpoints()}
        wanted = {row.id for endpoint in rows.values() for row in plan.all_instances(endpoint.state)}
        for instance in present:
            if instance not in wanted:
                self._remove_orphan(instance)
        for endpoint_id in rows | self._endpoints:
            row, known = rows.get(endpoint_id), self._endpoints.get(endpoint_id)
            if row is None or known is None or row.version != known.version:
                self.wake(endpoint_id)

    def _remove_orphan(self, instance: str) -> None:
        state = self._states.get(instance)
        # A gateway may still have it from a table that is no more.
        if state and not state.stopping and self.publisher.is_drained(instance):
            log.warning("instance %s belongs to no endpoint and is removed", instance)
            self._actions.remove(instance)

    async def _drive(self, endpoint_id: str) -> None:
        wake = self._wakes[endpoint_id]
        failures = 0
        while True:
            wake.clear()
            try:
                decision = await self._step(endpoint_id)
                failures = 0
            except StaleWrite:
                continue
            except Exception:
                log.exception("endpoint %s: a step failed and is tried again", endpoint_id)
                await asyncio.sleep(attempts.pause(failures))
                failures += 1
                continue
            if decision is None:
                break
            with suppress(TimeoutError):
                async with asyncio.timeout(self._pause(endpoint_id, decision)):
                    await wake.wait()
        del self._wakes[endpoint_id]

    def _pause(self, endpoint_id: str, decision: plan.Decision) -> float | None:
        """Seconds until the next look, unless there is news. ``None``: nothing is left to be done for the endpoint, so
        that only news can change that."""
        settled = self._endpoints[endpoint_id].status in {*AT_REST, Status.FAILED}
        if settled and not (decision.resolve or decision.apply or decision.state.retired):
            return None
        return max(0.0, min(POLL_INTERVAL, decision.again_at - self._clock()))

    # --- one step of one endpoint

    async def _step(self, endpoint_id: str) -> plan.Decision | None:
        """Decide, write, act. Returns what was decided; ``None`` once the endpoint is gone."""
        endpoint = await self._rows.get_endpoint_by_id(endpoint_id)
        if endpoint is None:
            self._drop(endpoint_id)
            return None
        now = self._clock()
        watched = rollout.watched(endpoint.state)
        firing = await self._alarms.firing(endpoint.owner, watched) if watched else frozenset()
        seen = {row.id: self._see(row.id) for row in plan.all_instances(endpoint.state)}
        decision = plan.plan(endpoint, seen, self._actions.resolved(endpoint_id), now, self._new_id, firing)
        if decision.state != endpoint.state:
            endpoint = await self._rows.advance(endpoint, decision.state, now)
            self._wakes[endpoint_id].set()
            _report(endpoint)
        self._note(endpoint)
        self._publish(endpoint)
        if decision.gone:
            await self._rows.remove_endpoint(endpoint)
            self._drop(endpoint_id)
            return None
        self._actions.start(endpoint, decision)
        return decision

    def _see(self, instance: str) -> plan.Seen:
        state = self._states.get(instance)
        attempt = self._actions.attempt(instance)
        failing_too_long = self._clock() - attempt.since > self._rules.startup_timeout
        return plan.Seen(
            present=state is not None,
            stopping=state is not None and state.stopping,
            healthy=state is not None and not state.stopping and self.monitor.is_healthy(instance),
            failure=attempt.reason or self.monitor.failure(instance),
            overdue=failing_too_long if attempt.reason else self.monitor.is_overdue(instance),
            routed=self.publisher.is_routed(instance),
            drained=self.publisher.is_drained(instance),
        )

    def _note(self, endpoint: Endpoint) -> None:
        """Keep the in-memory view in step with the row: which instances are whose, and watched."""
        before = self._endpoints.get(endpoint.id, endpoint)
        self._endpoints[endpoint.id] = endpoint
        if endpoint.state.pending is None:
            self._actions.forget_images(endpoint.id)
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
        self._actions.forget(instance)
        self.monitor.forget(instance)
        self.publisher.forget(instance)

    def _drop(self, endpoint_id: str) -> None:
        endpoint = self._endpoints.pop(endpoint_id, None)
        self._actions.forget_images(endpoint_id)
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


def _awaits_gateways(state: EndpointState) -> bool:
    """Whether its next step may be one that waits for acknowledgements."""
    if state.rollout is not None:
        return state.rollout.phase in {Phase.SHIFTING, Phase.RETURNING} or bool(state.retired)
    settling = state.active is not None and state.pending is None and state.status not in AT_REST
    return settling or bool(state.retired)


def _report(endpoint: Endpoint) -> None:
    state = endpoint.state
    log.info(
        "endpoint %s is %s%s", endpoint.name, state.status, f": {state.failure_reason}" * bool(state.failure_reason)
    )


def new_instance_id() -> str:
    """As EC2 writes instance ids: ``i-`` and 17 hexadecimal digits."""
    return "i-" + secrets.token_hex(9)[:17]
