"""The loop that makes endpoints what their rows say: one serial worker per endpoint, parallel across endpoints.

Each worker waits for *wake, poll or stop*, reads the row, asks `plan` for the next step, writes it by compare-and-swap
and acts on it. Hints only make it quick; polling makes it correct.
"""

import asyncio
import logging
import math
import secrets
import time
from collections.abc import Callable
from contextlib import suppress

from polyport.control import attempts, heal, health, plan, rollout
from polyport.control.actions import Actions
from polyport.control.alarms import Alarms, NoAlarms
from polyport.control.chronicle import Chronicle
from polyport.control.jobs import Jobs
from polyport.control.limits import Limits
from polyport.control.monitor import Monitor
from polyport.control.prepare import Preparer
from polyport.control.publish import Publisher
from polyport.control.rows import Rows
from polyport.control.steps import Steps
from polyport.control.view import View
from polyport.control.workers import NoWorkers, Workers
from polyport.domain.access import AccessTable
from polyport.domain.endpoints import AT_REST, Endpoint, InstanceRow, Status
from polyport.domain.routes import Unreachable
from polyport.engines.contract import Engine
from polyport.errors import EngineError, StaleWrite

log = logging.getLogger(__name__)

#: Seconds between two looks for rows that others have written, for orphans, and for workers that do not answer.
SWEEP_INTERVAL = 1.0
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
        limits: Limits | None = None,
        gateways: Workers | None = None,
        new_id: Callable[[], str] | None = None,
        chronicle: Chronicle | None = None,
    ) -> None:
        self._rows = rows
        self._alarms = alarms or NoAlarms()
        self._engine = engine
        self._clock = clock
        self._limits = limits or Limits()
        self._gateways = gateways or NoWorkers()
        self._new_id = new_id or new_instance_id
        self.publisher = Publisher(workers, self._wake_waiting, self._take_report, clock)
        chronicle = chronicle or Chronicle()
        self.monitor = Monitor(engine, ping_timeout, self._wake_owner, clock, chronicle)
        self.steps = Steps()
        self._jobs = Jobs()
        self._actions = Actions(engine, preparer, self._jobs, self, self._refresh, clock, self._limits, chronicle)
        self.view = View(self.monitor, self.publisher, self._actions, preparer, rules, self._limits, clock, chronicle)
        self._wakes: dict[str, asyncio.Event] = {}
        self._looks = self._latest_look = 0
        #: Until all is known that was, no step is taken and nothing published.
        self._is_started = False

    # --- life

    async def start(self) -> None:
        """Find out what is, then publish it: no target leaves the tables because control was restarted."""
        await self._engine.open()
        await self._refresh()
        endpoints = await self._rows.all_endpoints()
        for endpoint in endpoints:
            self.view.note(endpoint)
        await self.monitor.first_verdicts()
        self.view.vouch()
        for endpoint in endpoints:
            self.view.publish(endpoint)
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
        return endpoint_id in self.view.endpoints

    @property
    def jobs(self) -> int:
        """How much work is under way in the background."""
        return len(self._jobs)

    def take_access(self, access: AccessTable) -> None:
        """Tell the gateways who may call. Before the start it waits for the endpoints: no table lacks what there is."""
        self.publisher.put_access(access)
        if self._is_started:
            self.view.flush_soon()

    # --- hints

    def _wake_owner(self, instance: str) -> None:
        if owner := self.view.owners.get(instance):
            self.wake(owner)

    def _wake_waiting(self) -> None:
        for endpoint_id in self.view.waiting():
            self.wake(endpoint_id)

    def _take_report(self, report: Unreachable) -> None:
        log.info("a gateway could not reach %s of %s: %s", report.hostname, report.instance, report.reason)
        self.monitor.suspect(report.instance, report.hostname)

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
        try:
            async with asyncio.timeout(self._limits.engine):
                states = {state.id: state for state in await self._engine.observe()}
        except TimeoutError as error:
            raise EngineError(f"The engine gave no answer within {self._limits.engine:g} seconds.") from error
        if look < self._latest_look:
            return  # a later look came back earlier
        self._latest_look = look
        for endpoint_id in self.view.take(states):
            self.wake(endpoint_id)

    async def _sweep_for_ever(self) -> None:
        while True:
            try:
                await self._sweep()
            except Exception:
                log.exception("the rows could not be swept")
            await asyncio.sleep(SWEEP_INTERVAL)

    async def _sweep(self) -> None:
        """Find rows that no hint told of, instances that no row wants, and workers that are stuck."""
        self._end_mute_workers()
        # Looked at before the rows are read: whatever runs by then had its row written earlier.
        present = list(self.view.states)
        versions = await self._rows.versions()
        known = {endpoint.id: endpoint.version for endpoint in self.view.endpoints.values()}
        wanted = self.view.instances()
        if versions != known:
            wanted = {row.id for row in await self._all_rows()}
        for instance in present:
            if instance not in wanted:
                self._remove_orphan(instance)
        for endpoint_id in versions | known:
            if versions.get(endpoint_id) != known.get(endpoint_id):
                self.wake(endpoint_id)

    async def _all_rows(self) -> list[InstanceRow]:
        endpoints = await self._rows.all_endpoints()
        return [row for endpoint in endpoints for row in plan.all_instances(endpoint.state)]

    def _remove_orphan(self, instance: str) -> None:
        state = self.view.states.get(instance)
        # A gateway may still have it from a table that is no more.
        if state and not state.stopping and self.publisher.is_drained(instance):
            log.warning("instance %s belongs to no endpoint and is removed", instance)
            self._actions.remove(instance)

    def _end_mute_workers(self) -> None:
        patience = self._limits.gateway
        for worker in self.publisher.cut_off_mute(patience, SWEEP_INTERVAL):
            log.warning("%r has not answered for %g seconds and is ended", worker, patience)
            self._gateways.end(worker.hello.pid)
        if self.publisher.is_one_away(patience, SWEEP_INTERVAL):
            log.warning("a gateway worker has been away for %g seconds and is ended", patience)
            self._gateways.end_others([worker.hello.pid for worker in self.publisher.workers])

    async def _drive(self, endpoint_id: str) -> None:
        wake = self._wakes[endpoint_id]
        failures = 0
        while True:
            wake.clear()
            began = time.perf_counter()
            try:
                decision = await self._step(endpoint_id)
                self.steps.add(time.perf_counter() - began)
                failures = 0
            except StaleWrite:
                continue
            except Exception:
                self.steps.failures += 1
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
        settled = self.view.endpoints[endpoint_id].status in {*AT_REST, Status.FAILED}
        rests = settled and not (decision.resolve or decision.apply or decision.state.retired)
        if rests and math.isinf(decision.again_at):
            return None
        wait = decision.again_at - self._clock()
        return max(0.0, wait if rests else min(POLL_INTERVAL, wait))

    # --- one step of one endpoint

    async def _step(self, endpoint_id: str) -> plan.Decision | None:
        """Decide, write, act. Returns what was decided; ``None`` once the endpoint is gone."""
        endpoint = await self._rows.get_endpoint_by_id(endpoint_id)
        if endpoint is None:
            self.view.drop(endpoint_id)
            return None
        now = self._clock()
        watched = rollout.watched(endpoint.state)
        firing = await self._alarms.firing(endpoint.owner, watched) if watched else frozenset()
        seen, resolved = self.view.see_all(endpoint.state), self._actions.resolved(endpoint_id)
        decision = plan.plan(endpoint, seen, resolved, now, self._new_id, firing, self._limits)
        if decision.state != endpoint.state:
            before, endpoint = endpoint, await self._rows.advance(endpoint, decision.state, now)
            self._wakes[endpoint_id].set()
            _report(before, endpoint)
        self.view.note(endpoint)
        self.view.publish(endpoint)
        if decision.gone:
            await self._rows.remove_endpoint(endpoint)
            self.view.drop(endpoint_id)
            return None
        self._actions.start(endpoint, decision)
        return decision


def _report(before: Endpoint, after: Endpoint) -> None:
    state = after.state
    log.info("endpoint %s is %s%s", after.name, state.status, f": {state.failure_reason}" * bool(state.failure_reason))
    for line in heal.tell(before.state, state):
        log.warning("endpoint %s: %s", after.name, line)


def new_instance_id() -> str:
    """As EC2 writes instance ids: ``i-`` and 17 hexadecimal digits."""
    return "i-" + secrets.token_hex(9)[:17]
