"""The next step of one endpoint: a pure function of what is wanted, what is so, and the time.

Every step is written to the endpoint's row before anything acts on it, so a crash between the two only means that the
same step is decided again. What is written here is put together from small steps, each from one state to the next:
`rollout` and `retreat` for updates, `resize` for weights and counts, `heal` for what falls ill.
"""

import math
from collections.abc import Callable, Iterable, Mapping

import msgspec
from msgspec.structs import replace

from polyport.control import failure, heal, resize, retreat, rollout, traffic
from polyport.control.limits import Limits
from polyport.control.scene import NOTHING, Resolved, Scene, Seen, all_instances, instances
from polyport.domain.endpoints import (
    AT_REST,
    Deployment,
    Endpoint,
    EndpointState,
    Fleet,
    InstanceRow,
    Status,
    Variant,
    Wanted,
)

__all__ = ["NOTHING", "Decision", "Resolved", "Seen", "all_instances", "instances", "plan", "wanted_count"]


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
    #: When time alone may lead to another decision, in epoch seconds.
    again_at: float = math.inf


def plan(
    endpoint: Endpoint,
    seen: Mapping[str, Seen],
    resolved: Resolved,
    now: float,
    new_id: Callable[[], str],
    alarms: frozenset[str] = frozenset(),
    limits: Limits | None = None,
) -> Decision:
    """Decide the endpoint's next state and the actions that follow from it. ``now`` is in epoch seconds; ``alarms``
    are those of `rollout.watched` that are in ALARM."""
    at = Scene(endpoint, seen, resolved, now, new_id, alarms, limits or Limits())
    state = endpoint.state
    if endpoint.wanted.deleted:
        state = _retire_everything(replace(state, status=Status.DELETING))
    else:
        for step in (_begin, rollout.begin, _fill, retreat.refill, _move):
            state = step(at, state)
    state = _forget(at, state)
    return _decision(at, state)


def _move(at: Scene, state: EndpointState) -> EndpointState:
    """At most one step of what is under way; what is moved in it is in no gateway's table before the next."""
    for step in (_give_up, _first_switch, resize.advance, rollout.advance, heal.advance):
        moved = step(at, state)
        if moved is not state:
            return moved
    return _settle(at, state)


def wanted_count(state: EndpointState, deployment: Deployment, fleet: Fleet) -> int:
    """How many instances of this pending fleet there should be; for a scale-out, how many beside the active ones."""
    if state.active is not None and state.is_resizing and deployment is state.pending:
        return resize.due(state.active, fleet)
    return traffic.due(state, fleet)


def _begin(at: Scene, state: EndpointState) -> EndpointState:
    """Take note of a new generation: what it asks for becomes the pending deployment."""
    settled = at.endpoint.generation <= state.settled or state.pending is not None
    if settled or state.status not in {Status.CREATING, *AT_REST}:
        return state
    wanted = at.endpoint.wanted
    if state.status is Status.CREATING and state.active is not None:
        return state
    if wanted.cancelled:
        return _never_begin(at, state)
    state = heal.stop(at, state)
    pending = Deployment(
        revision=wanted.revision,
        config_name=wanted.config_name,
        started_at=at.now,
        fleets=tuple(_fleet_for(state.active, wanted, variant) for variant in wanted.variants),
        deployment_config=wanted.restart or wanted.deployment_config,
    )
    status = Status.CREATING if state.active is None else Status.UPDATING
    return replace(state, status=status, pending=pending, failure_reason="")


def _never_begin(at: Scene, state: EndpointState) -> EndpointState:
    """It was called off before anything was done for it."""
    reason, generation = at.endpoint.wanted.cancelled, at.endpoint.generation
    status = Status.FAILED if state.active is None else state.status
    return replace(state, status=status, settled=generation, failure_reason=reason)


def _fleet_for(active: Deployment | None, wanted: Wanted, variant: Variant) -> Fleet:
    """A scale-out and a restart run the images of the fleet that there is."""
    if active and (active.revision == wanted.revision or wanted.restart):
        return Fleet(variant=variant, images=resize.fleet_of(active, variant.name).images)
    return Fleet(variant=variant)


def _fill(at: Scene, state: EndpointState) -> EndpointState:
    """Write down the resolved images of pending fleets, and the instances that are missing."""
    pending = state.pending
    if pending is None:
        return state
    fleets = []
    for fleet in pending.fleets:
        images = at.resolved.get((pending.revision, fleet.variant.name), ())
        if not fleet.images and images and not isinstance(images, str):
            fleet = replace(fleet, images=images)  # noqa: PLW2901  the fleet as it is from here on
        missing = wanted_count(state, pending, fleet) - len(fleet.instances) if fleet.images else 0
        fleets.append(replace(fleet, instances=fleet.instances + at.rows(fleet.variant.name, missing)))
    return replace(state, pending=replace(pending, fleets=tuple(fleets)))


def _give_up(at: Scene, state: EndpointState) -> EndpointState:
    """A new fleet that cannot get healthy goes away; the old one, if there is one, goes on."""
    if state.pending is None:
        return _call_off(at, state)
    reasons = [
        images
        for fleet in state.pending.fleets
        if not fleet.images and isinstance(images := at.resolved.get((state.pending.revision, fleet.variant.name)), str)
    ]
    # One that falls ill again is not replaced meanwhile: an update that needs that is no good.
    reasons += [at.see(row).failure or at.see(row).complaint for row in instances(state.pending)]
    reason = failure.join([at.endpoint.wanted.cancelled, *reasons])
    if state.active is not None:
        return rollout.give_up(at, resize.give_up(state, reason), reason)
    return _fail(at, state, reason) if reason else state


def _call_off(at: Scene, state: EndpointState) -> EndpointState:
    """A create that is cancelled when only the gateways are waited for."""
    reason = at.endpoint.wanted.cancelled
    is_creating = state.status is Status.CREATING and state.active is not None
    return _fail(at, state, reason) if reason and is_creating else state


def _fail(at: Scene, state: EndpointState, reason: str) -> EndpointState:
    state = _retire_everything(replace(state, failure_reason=reason))
    return replace(state, status=Status.FAILED, settled=at.endpoint.generation)


def _first_switch(at: Scene, state: EndpointState) -> EndpointState:
    """Once every instance of a new endpoint is healthy, the traffic is theirs."""
    pending = state.pending
    if pending is None or state.active is not None or not all(fleet.images for fleet in pending.fleets):
        return state
    complete = all(len(fleet.instances) >= fleet.variant.instance_count for fleet in pending.fleets)
    return rollout.promote(state) if complete and at.are_healthy(instances(pending)) else state


def _settle(at: Scene, state: EndpointState) -> EndpointState:
    """InService means invocable; whatever is under way ends there, or in Failed."""
    if state.pending is not None or state.active is None:
        return state
    if state.status in {Status.FAILED, Status.UPDATE_ROLLBACK_FAILED}:
        return state
    if state.status is Status.IN_SERVICE:
        return replace(state, status=Status.SYSTEM_UPDATING) if any(_lost(at, state.active)) else state
    rows = [at.see(row) for row in heal.sound(instances(state.active))]
    if state.status is not Status.ROLLING_BACK and rows and all(row.overdue for row in rows):
        return _fail(at, state, failure.join(row.failure for row in rows))
    if state.retired or not all(row.routed or row.overdue for row in rows):
        return state
    # Back at what an earlier rollback left behind is no more in service than before.
    status = Status.UPDATE_ROLLBACK_FAILED if state.active.mixed else Status.IN_SERVICE
    return replace(state, status=status, settled=at.endpoint.generation)


def _lost(at: Scene, active: Deployment) -> Iterable[bool]:
    """Only a stop of the whole server or of the machine takes instances away without a row that says so. One that
    cannot be brought back in time does not hold the endpoint in SystemUpdating, where nobody may change it."""
    for fleet in active.fleets:
        for row in heal.sound(fleet.instances):
            yield not at.see(row).present and not at.see(row).overdue and not heal.is_successor(row, fleet)


def _retire_everything(state: EndpointState) -> EndpointState:
    rows = state.retired + instances(state.pending) + instances(state.active)
    return replace(state, active=None, pending=None, rollout=None, retired=rows)


def _forget(at: Scene, state: EndpointState) -> EndpointState:
    """A retired instance is forgotten once no gateway uses it and nothing of it is left; also when the engine does not
    get rid of it in time: then it is an orphan, and what is left of it is removed when that can be done."""
    left = tuple(row for row in state.retired if not _is_over(at, row))
    return replace(state, retired=left) if len(left) != len(state.retired) else state


def _is_over(at: Scene, row: InstanceRow) -> bool:
    seen = at.see(row)
    return _is_drained(at, row) and (not seen.present or seen.stuck)


def _is_drained(at: Scene, row: InstanceRow) -> bool:
    """No call takes longer than that; whoever still has one will not tell."""
    return at.see(row).drained or at.see(row).lingers


def _decision(at: Scene, state: EndpointState) -> Decision:
    pending = state.pending
    return Decision(
        state=state,
        resolve=tuple((pending, fleet) for fleet in pending.fleets if not fleet.images) if pending else (),
        apply=tuple(_absent(at, state)),
        remove=tuple(row.id for row in state.retired if _may_go(at, row)),
        gone=at.endpoint.wanted.deleted and not all_instances(state),
        again_at=min(rollout.again_at(state, at.now), heal.again_at(at, state)),
    )


def _absent(at: Scene, state: EndpointState) -> Iterable[tuple[Fleet, InstanceRow]]:
    for deployment in (state.active, state.pending):
        for fleet in deployment.fleets if deployment else ():
            for row in heal.sound(fleet.instances):
                if not at.see(row).present:
                    yield fleet, row


def _may_go(at: Scene, row: InstanceRow) -> bool:
    seen = at.see(row)
    return seen.present and not seen.stopping and _is_drained(at, row)
