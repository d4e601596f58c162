"""The next step of one endpoint: a pure function of what is wanted, what is so, and the time.

Every step is written to the endpoint's row before anything acts on it, so a crash between the two only means that the
same step is decided again.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import msgspec
from msgspec.structs import replace

from polyport.control import failure
from polyport.domain.endpoints import Deployment, Endpoint, EndpointState, Fleet, InstanceRow, Status, Variant
from polyport.domain.instances import Image


class Seen(msgspec.Struct, frozen=True):
    """One instance as it is now."""

    #: The engine has it (perhaps only what is left of it).
    present: bool = False
    #: The engine is ending it.
    stopping: bool = False
    #: Every container answers /ping with 200.
    healthy: bool = False
    #: Why it is given up, when it is: what a new endpoint or an update fails with.
    failure: str = ""
    #: It has been unhealthy for longer than its start-up time allows.
    overdue: bool = False
    #: Every gateway worker serves by a table that holds it.
    routed: bool = False
    #: Every gateway worker serves by a table without it and has no call left in it.
    drained: bool = True


NOTHING = Seen()

#: What is known of a fleet's images, by (revision, variant): the images, or why they cannot be had.
Resolved = Mapping[tuple[int, str], tuple[Image, ...] | str]


class Decision(msgspec.Struct, frozen=True):
    """What to write, and what to do once it is written."""

    state: EndpointState
    #: Fleets whose images are to be resolved.
    resolve: tuple[tuple[Deployment, Fleet], ...] = ()
    #: Instances that the engine should have and has not.
    apply: tuple[tuple[Fleet, InstanceRow], ...] = ()
    #: Instances that the engine has and should not.
    remove: tuple[str, ...] = ()
    #: Nothing of the endpoint is left: its row may go.
    gone: bool = False


def plan(
    endpoint: Endpoint, seen: Mapping[str, Seen], resolved: Resolved, now: float, new_id: Callable[[], str]
) -> Decision:
    """Decide the endpoint's next state and the actions that follow from it. ``now`` is in epoch seconds."""
    state = endpoint.state
    if endpoint.wanted.deleted:
        state = _retire_everything(replace(state, status=Status.DELETING))
    else:
        state = _begin(endpoint, state, now)
        state = _fill(state, resolved, now, new_id)
        state = _give_up(endpoint, state, seen, resolved)
        switched = _switch(state, seen)
        # What is switched in this step is in no gateway's table before the next.
        state = _settle(endpoint, state, seen) if switched is state else switched
    state = _forget(state, seen)
    return _decision(endpoint, state, seen)


def instances(deployment: Deployment | None) -> tuple[InstanceRow, ...]:
    """All instances of a deployment."""
    return tuple(chain.from_iterable(fleet.instances for fleet in deployment.fleets)) if deployment else ()


def all_instances(state: EndpointState) -> tuple[InstanceRow, ...]:
    """All instances that an endpoint accounts for, whatever becomes of them."""
    return (*instances(state.active), *instances(state.pending), *state.retired)


def wanted_count(state: EndpointState, deployment: Deployment, fleet: Fleet) -> int:
    """How many instances of this fleet there should be; for a scale-out, how many beside the active ones."""
    if deployment is state.pending and state.active and state.active.revision == deployment.revision:
        return max(0, fleet.variant.instance_count - len(_fleet_of(state.active, fleet.variant.name).instances))
    return fleet.variant.instance_count


def _fleet_of(deployment: Deployment, variant: str) -> Fleet:
    return next(fleet for fleet in deployment.fleets if fleet.variant.name == variant)


def _begin(endpoint: Endpoint, state: EndpointState, now: float) -> EndpointState:
    """Take note of a new generation: what it asks for becomes the pending deployment."""
    settled = endpoint.generation <= state.settled or state.pending is not None
    if settled or state.status not in {Status.CREATING, Status.IN_SERVICE}:
        return state
    wanted = endpoint.wanted
    if state.status is Status.CREATING and state.active is not None:
        return state
    pending = Deployment(
        revision=wanted.revision,
        config_name=wanted.config_name,
        started_at=now,
        fleets=tuple(_fleet_for(state.active, wanted.revision, variant) for variant in wanted.variants),
        deployment_config=wanted.deployment_config,
    )
    status = Status.CREATING if state.active is None else Status.UPDATING
    return replace(state, status=status, pending=pending, failure_reason="")


def _fleet_for(active: Deployment | None, revision: int, variant: Variant) -> Fleet:
    """A scale-out runs the images of the fleet that it adds to."""
    if active and active.revision == revision:
        return Fleet(variant=variant, images=_fleet_of(active, variant.name).images)
    return Fleet(variant=variant)


def _fill(state: EndpointState, resolved: Resolved, now: float, new_id: Callable[[], str]) -> EndpointState:
    """Write down the resolved images of pending fleets, and the instances that are missing."""
    pending = state.pending
    if pending is None:
        return state
    fleets = []
    for fleet in pending.fleets:
        images = resolved.get((pending.revision, fleet.variant.name), ())
        if not fleet.images and images and not isinstance(images, str):
            fleet = replace(fleet, images=images)  # noqa: PLW2901  the fleet as it is from here on
        missing = wanted_count(state, pending, fleet) - len(fleet.instances) if fleet.images else 0
        added = tuple(InstanceRow(id=new_id(), created_at=now, variant=fleet.variant.name) for _ in range(missing))
        fleets.append(replace(fleet, instances=fleet.instances + added))
    return replace(state, pending=replace(pending, fleets=tuple(fleets)))


def _give_up(endpoint: Endpoint, state: EndpointState, seen: Mapping[str, Seen], resolved: Resolved) -> EndpointState:
    """A new fleet that cannot get healthy goes away; the old one, if there is one, goes on."""
    if state.pending is None:
        return state
    reasons = [
        images
        for fleet in state.pending.fleets
        if not fleet.images and isinstance(images := resolved.get((state.pending.revision, fleet.variant.name)), str)
    ]
    reasons += [seen.get(row.id, NOTHING).failure for row in instances(state.pending)]
    reason = failure.join(reasons)
    if not reason:
        return state
    retired = state.retired + instances(state.pending)
    state = replace(state, pending=None, retired=retired, failure_reason=reason)
    if state.active is None:
        return replace(state, status=Status.FAILED, settled=endpoint.generation)
    return replace(state, status=Status.ROLLING_BACK)


def _switch(state: EndpointState, seen: Mapping[str, Seen]) -> EndpointState:
    """Once every pending instance is healthy, the traffic is theirs."""
    pending, active = state.pending, state.active
    if pending is None or not all(fleet.images for fleet in pending.fleets):
        return state
    if not all(seen.get(row.id, NOTHING).healthy for row in instances(pending)):
        return state
    if active is None or active.revision != pending.revision:
        return replace(state, active=pending, pending=None, retired=state.retired + instances(active))
    return _merge(state, active, pending, seen)


def _merge(state: EndpointState, active: Deployment, pending: Deployment, seen: Mapping[str, Seen]) -> EndpointState:
    """A change of weights and counts: what was added joins, what is too many leaves, unhealthy and young ones first."""
    fleets, surplus = [], state.retired
    for fleet in pending.fleets:
        rows = _fleet_of(active, fleet.variant.name).instances + fleet.instances
        rows = tuple(sorted(rows, key=lambda row: (not seen.get(row.id, NOTHING).healthy, row.created_at)))
        count = fleet.variant.instance_count
        fleets.append(replace(fleet, instances=rows[:count]))
        surplus += rows[count:]
    return replace(state, active=replace(active, fleets=tuple(fleets)), pending=None, retired=surplus)


def _settle(endpoint: Endpoint, state: EndpointState, seen: Mapping[str, Seen]) -> EndpointState:
    """InService means invocable; whatever is under way ends there, or in Failed."""
    if state.pending is not None or state.active is None or state.status is Status.FAILED:
        return state
    rows = [seen.get(row.id, NOTHING) for row in instances(state.active)]
    if state.status is Status.IN_SERVICE:
        # Only a stop of the whole server or of the machine takes instances away without a row that says so. One that
        # cannot be brought back in time does not hold the endpoint in SystemUpdating, where nobody may change it.
        lost = any(not row.present and not row.overdue for row in rows)
        return replace(state, status=Status.SYSTEM_UPDATING) if lost else state
    rolling_back = state.status is Status.ROLLING_BACK
    if not rolling_back and rows and all(row.overdue for row in rows):
        reason = failure.join(row.failure for row in rows)
        failed = replace(state, status=Status.FAILED, settled=endpoint.generation, failure_reason=reason)
        return _retire_everything(failed)
    if state.retired or not all(row.routed or row.overdue for row in rows):
        return state
    reason = state.failure_reason if rolling_back else ""
    return replace(state, status=Status.IN_SERVICE, settled=endpoint.generation, failure_reason=reason)


def _retire_everything(state: EndpointState) -> EndpointState:
    rows = state.retired + instances(state.pending) + instances(state.active)
    return replace(state, active=None, pending=None, retired=rows)


def _forget(state: EndpointState, seen: Mapping[str, Seen]) -> EndpointState:
    """A retired instance is forgotten once no gateway uses it and nothing of it is left."""
    left = tuple(row for row in state.retired if _in_use(seen.get(row.id, NOTHING)))
    return replace(state, retired=left) if len(left) != len(state.retired) else state


def _in_use(seen: Seen) -> bool:
    return seen.present or not seen.drained


def _decision(endpoint: Endpoint, state: EndpointState, seen: Mapping[str, Seen]) -> Decision:
    pending = state.pending
    return Decision(
        state=state,
        resolve=tuple((pending, fleet) for fleet in pending.fleets if not fleet.images) if pending else (),
        apply=tuple(_absent(state, seen)),
        remove=tuple(row.id for row in state.retired if _may_go(seen.get(row.id, NOTHING))),
        gone=endpoint.wanted.deleted and not all_instances(state),
    )


def _absent(state: EndpointState, seen: Mapping[str, Seen]) -> Iterable[tuple[Fleet, InstanceRow]]:
    for deployment in (state.active, state.pending):
        for fleet in deployment.fleets if deployment else ():
            for row in fleet.instances:
                if not seen.get(row.id, NOTHING).present:
                    yield fleet, row


def _may_go(seen: Seen) -> bool:
    return seen.present and seen.drained and not seen.stopping
