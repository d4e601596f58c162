"""What control knows at this moment, in memory: what the engine runs, the rows as they were last seen, and which
instance is whose. All of it can be found out again; nothing here decides anything.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from polyport.control import activity, attempts, heal, health, memory, plan, resize, routes
from polyport.control.actions import Actions
from polyport.control.chronicle import Chronicle
from polyport.control.limits import Limits
from polyport.control.monitor import Monitor
from polyport.control.prepare import Preparer
from polyport.control.publish import Publisher
from polyport.domain import events
from polyport.domain.endpoints import AT_REST, Endpoint, EndpointState, Fleet, InstanceRow, Phase
from polyport.domain.events import Event, Kind
from polyport.domain.instances import InstanceState
from polyport.engines.contract import Usage


class View:
    """Kept by `reconcile`, which has the parts that it joins."""

    def __init__(
        self,
        monitor: Monitor,
        publisher: Publisher,
        actions: Actions,
        preparer: Preparer,
        rules: health.Rules,
        limits: Limits,
        clock: Callable[[], float],
        chronicle: Chronicle | None = None,
    ) -> None:
        self._monitor = monitor
        self._publisher = publisher
        self._actions = actions
        self._preparer = preparer
        self._rules = rules
        self._limits = limits
        self._clock = clock
        self._chronicle = chronicle or Chronicle()
        self.states: Mapping[str, InstanceState] = {}
        self.endpoints: dict[str, Endpoint] = {}
        self.owners: dict[str, str] = {}
        #: Since when retired instances are waited for, on the clock of the event loop.
        self._draining: dict[str, float] = {}
        self._flush_due = False
        self._peaks: dict[tuple[str, str], memory.Peak] = {}

    # --- what is known

    def see(self, fleet: Fleet | None, row: InstanceRow) -> plan.Seen:
        """One instance as it is now; ``fleet``: of those that have one."""
        instance, now = row.id, self._clock()
        state = self.states.get(instance)
        attempt = self._actions.attempt(instance)
        patience = self._limits.start(fleet.variant) if fleet else self._limits.startup
        why = attempts.why_absent(attempt, now, patience) if state is None else attempt.reason
        failing_too_long = now - attempt.since > patience
        return plan.Seen(
            present=state is not None,
            stopping=state is not None and state.stopping,
            healthy=self.is_healthy(instance),
            failure=why or self._monitor.failure(instance),
            overdue=failing_too_long if why else self._monitor.is_overdue(instance),
            complaint=self._monitor.complaint(instance) if state is not None else "",
            routed=self._publisher.is_routed(instance),
            drained=self._publisher.is_drained(instance),
            stuck=self._actions.removing_for(instance) > self._limits.remove,
        )

    def see_all(self, state: EndpointState) -> dict[str, plan.Seen]:
        """All instances of an endpoint."""
        seen = {row.id: self.see(fleet, row) for fleet in _fleets(state) for row in fleet.instances}
        return seen | {row.id: self._see_retired(row) for row in state.retired}

    def _see_retired(self, row: InstanceRow) -> plan.Seen:
        # Not by the clock on the wall: a jump must cost no call. A restart of control begins anew.
        now = asyncio.get_running_loop().time()
        since = self._draining.setdefault(row.id, now)
        lingers = now - since > self._limits.drain
        return msgspec.structs.replace(self.see(None, row), lingers=lingers)

    def healthy_counts(self, endpoint_id: str) -> dict[str, int]:
        """How many instances of each active variant can take calls, with those that a scale-out has added."""
        endpoint = self.endpoints.get(endpoint_id)
        counts: dict[str, int] = {}
        for fleet in resize.joined(endpoint.state) if endpoint else ():
            healthy = sum(self._monitor.is_healthy(row.id) for row in fleet.instances)
            counts[fleet.variant.name] = counts.get(fleet.variant.name, 0) + healthy
        return counts

    def activity(self, endpoint_id: str) -> dict[str, list[tuple[str, str, float]]]:
        """``VariantStatus`` by variant: status, message, start (epoch seconds)."""
        endpoint = self.endpoints.get(endpoint_id)
        if endpoint is None:
            return {}
        return activity.describe(
            endpoint,
            activity.Sources(self._monitor.is_healthy, self._monitor.ill_since, self._hints, self._preparer.hints),
        )

    def waiting(self) -> list[str]:
        """The endpoints whose next step may be one that waits for acknowledgements."""
        return [endpoint.id for endpoint in self.endpoints.values() if _awaits_gateways(endpoint.state)]

    def instances(self) -> set[str]:
        """All that the rows account for."""
        return {row.id for endpoint in self.endpoints.values() for row in plan.all_instances(endpoint.state)}

    def is_healthy(self, instance: str) -> bool:
        """Whether it can take calls, as far as pings tell."""
        state = self.states.get(instance)
        return state is not None and not state.stopping and self._monitor.is_healthy(instance)

    def _hints(self, instance: str) -> list[str]:
        reason = self._actions.attempt(instance).reason
        return [reason] if reason else self._monitor.hints(instance)

    # --- news

    def take(self, states: Mapping[str, InstanceState]) -> list[str]:
        """The engine's latest view. Returns the endpoints for which it is news."""
        before, self.states = self.states, states
        for instance, state in states.items():
            if state is not before.get(instance):
                self._note_news(instance, before.get(instance), state)
        self._monitor.update(states)
        # Also of one that was there before: the engine may show it before it says that it took it.
        for instance in states:
            self._actions.note_present(instance)
        changed = (each for each in {**before, **states} if before.get(each) != states.get(each))
        return list(dict.fromkeys(self.owners[each] for each in changed if each in self.owners))

    def note_usage(self, usages: Iterable[Usage]) -> None:
        """What the containers that run use now: all of them."""
        peaks, self._peaks = self._peaks, {}
        for usage in usages:
            key = usage.instance_id, usage.hostname
            self._peaks[key], news = memory.observe(peaks.get(key), usage)
            if news:
                self._chronicle.note(usage.instance_id, Event(usage.at, Kind.MEMORY, news, usage.hostname))

    def note(self, endpoint: Endpoint) -> None:
        """A row as it is now: its instances are its own, and those in use are watched."""
        before = self.endpoints.get(endpoint.id, endpoint)
        self.endpoints[endpoint.id] = endpoint
        if endpoint.state.pending is None:
            self._actions.forget_images(endpoint.id)
        self._open_chronicles(endpoint)
        live = {row.id: fleet for fleet in _fleets(endpoint.state) for row in fleet.instances}
        for instance, fleet in live.items():
            if instance in self.states:
                self._monitor.watch(instance, fleet.variant, self._rules_for(fleet))
        mine = {row.id for row in plan.all_instances(endpoint.state)}
        for row in plan.all_instances(before.state):
            if row.id not in mine:
                self._forget(row.id)
        for instance in mine:
            self.owners[instance] = endpoint.id
            if instance not in live:
                self._monitor.forget(instance)

    def vouch(self) -> None:
        """After a start: what is in service has been healthy, or it would not be."""
        for endpoint in self.endpoints.values():
            active = endpoint.state.active if endpoint.state.status in AT_REST else None
            for fleet in active.fleets if active else ():
                for row in heal.sound(fleet.instances):
                    if not heal.is_successor(row, fleet):
                        self._monitor.vouch(row.id)

    def drop(self, endpoint_id: str) -> None:
        """There is no such row any more."""
        endpoint = self.endpoints.pop(endpoint_id, None)
        self._actions.forget_images(endpoint_id)
        for row in plan.all_instances(endpoint.state) if endpoint else ():
            self._forget(row.id)
        self._publisher.put(endpoint_id, None, None)
        self.flush_soon()

    def _rules_for(self, fleet: Fleet) -> health.Rules:
        timeout = fleet.variant.startup_timeout
        return msgspec.structs.replace(self._rules, startup_timeout=timeout) if timeout else self._rules

    def _forget(self, instance: str) -> None:
        self.owners.pop(instance, None)
        self._draining.pop(instance, None)
        self._actions.forget(instance)
        self._monitor.forget(instance)
        self._publisher.forget(instance)
        self._chronicle.note(instance, Event(self._clock(), Kind.REMOVED, "gone"))
        self._chronicle.close(instance)

    def _open_chronicles(self, endpoint: Endpoint) -> None:
        for row in plan.all_instances(endpoint.state):
            if row.id not in self.owners:
                self._chronicle.open(row.id, endpoint, row.variant)
                self._chronicle.note(row.id, Event(row.created_at, Kind.CREATED, f"instance of variant {row.variant}"))
                if state := self.states.get(row.id):
                    self._note_news(row.id, None, state)

    def _note_news(self, instance: str, before: InstanceState | None, after: InstanceState) -> None:
        known = {container.hostname: container for container in before.containers} if before else {}
        for container in after.containers:
            self._chronicle.note(instance, *events.of_container(known.get(container.hostname), container))

    # --- what gateways are told

    def publish(self, endpoint: Endpoint) -> None:
        """Put the endpoint as it is now into the table."""
        route = routes.route(endpoint, self.states, self._monitor.is_healthy, self._monitor.is_slow)
        self._publisher.put(endpoint.id, route, None if route else routes.unavailable(endpoint))
        self.flush_soon()

    def flush_soon(self) -> None:
        """Push once for all that changes within one turn of the event loop."""
        if not self._flush_due:
            self._flush_due = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_due = False
        self._publisher.flush()


def _fleets(state: EndpointState) -> Iterator[Fleet]:
    for deployment in (state.active, state.pending):
        yield from deployment.fleets if deployment else ()


def _awaits_gateways(state: EndpointState) -> bool:
    if state.rollout is not None:
        return state.rollout.phase in {Phase.SHIFTING, Phase.RETURNING} or bool(state.retired)
    settling = state.active is not None and state.pending is None and state.status not in AT_REST
    return settling or bool(state.retired) or _is_healing(state)


def _is_healing(state: EndpointState) -> bool:
    return state.active is not None and any(row.condemned for each in state.active.fleets for row in each.instances)
