"""The way back from an update that must not go on. Pure functions of the row.

As long as nothing of the old fleets was let go, they take all of the traffic again at once. Else, in a rolling update,
old instances are started again batch by batch (``RollbackMaximumBatchSize``), and new ones go as these get healthy.
When that fails too, what there is of both stays: ``UpdateRollbackFailed``.
"""

from msgspec.structs import replace

from polyport.control import failure, strategy, traffic
from polyport.control.scene import Scene, instances, without
from polyport.domain.endpoints import Deployment, EndpointState, Fleet, InstanceRow, Phase, Rollout, Status, Strategy


def begin(scene: Scene, state: EndpointState, reason: str) -> EndpointState:
    """Turn back, for ``reason``."""
    active, pending = state.active, state.pending
    assert active is not None, "there is something to go back to"
    assert pending is not None, "there is something to come back from"
    assert state.rollout is not None, "it has come some way"
    is_rolling = state.rollout.strategy is Strategy.ROLLING
    state = replace(state, status=Status.ROLLING_BACK, failure_reason=reason)
    whole = all(len(fleet.instances) >= fleet.variant.instance_count for fleet in active.fleets)
    if whole or not is_rolling:
        return _end(state)
    shares = strategy.shares_back(pending.deployment_config, active, traffic.share(state.rollout))
    state = _let_go(scene, state, [traffic.taken(state, fleet) for fleet in pending.fleets])
    return replace(state, rollout=Rollout(Strategy.ROLLING, Phase.RETURNING, since=scene.now, shares=shares))


def refill(scene: Scene, state: EndpointState) -> EndpointState:
    """Write down the old instances that the next batch needs."""
    active = state.active
    if active is None or state.rollout is None or state.rollout.phase is not Phase.RETURNING:
        return state
    fleets = []
    for fleet in active.fleets:
        missing = traffic.due_back(state, fleet) - len(fleet.instances)
        fleets.append(replace(fleet, instances=fleet.instances + scene.rows(fleet.variant.name, missing)))
    return replace(state, active=replace(active, fleets=tuple(fleets)))


def advance(scene: Scene, state: EndpointState) -> EndpointState:
    """Once the old instances of this batch take traffic, as many new ones go."""
    rollout, active, pending = state.rollout, state.active, state.pending
    assert rollout is not None, "it has steps"
    assert active is not None, "there is something to go back to"
    assert pending is not None, "there is something to come back from"
    rows = instances(active)
    # Whatever fails is tried again for as long as a start may take: there is nothing better to go to. Those that were
    # ill all the time are what they were.
    failed = [row for row in rows if scene.see(row).overdue and row.created_at >= pending.started_at]
    if failed:
        return _stay(scene, state, failed)
    complete = all(len(fleet.instances) >= traffic.due_back(state, fleet) for fleet in active.fleets)
    if not complete or not all(_serves(scene, row) or scene.see(row).overdue for row in rows):
        return state
    share = rollout.shares[rollout.step]
    if share <= 0:
        return _end(state)
    counts = [traffic.part(fleet.variant.instance_count, share) for fleet in pending.fleets]
    state = _let_go(scene, state, counts)
    return replace(state, rollout=replace(rollout, step=rollout.step + 1, since=scene.now))


def _serves(scene: Scene, row: InstanceRow) -> bool:
    return scene.see(row).healthy and scene.see(row).routed


def _end(state: EndpointState) -> EndpointState:
    """The old fleets are whole again."""
    return replace(state, pending=None, rollout=None, retired=state.retired + instances(state.pending))


def _let_go(scene: Scene, state: EndpointState, counts: list[int]) -> EndpointState:
    """Keep only so many instances of each new fleet."""
    pending = state.pending
    assert pending is not None, "there is something to let go of"
    fleets = tuple(
        replace(fleet, instances=scene.best(fleet.instances, count))
        for fleet, count in zip(pending.fleets, counts, strict=True)
    )
    left = replace(pending, fleets=fleets)
    return replace(state, pending=left, retired=state.retired + without(instances(pending), instances(left)))


def _stay(scene: Scene, state: EndpointState, failed: list[InstanceRow]) -> EndpointState:
    """The rollback failed: what there is of old and new serves on, as one deployment of fleets as large as they are."""
    active = state.active
    assert active is not None, "there are old instances that failed"
    why = failure.join(scene.see(row).failure for row in failed) or "an instance did not get healthy in time."
    reason = f"{state.failure_reason}\nThe rollback failed too: {why}"[: failure.LIMIT]
    fleets = [_as_it_is(fleet, without(fleet.instances, failed)) for fleet in _fleets(active, state.pending)]
    # A variant of which nothing is left is still one.
    served = {fleet.variant.name for fleet in fleets if fleet.instances}
    kept = [fleet for fleet in fleets if fleet.instances or fleet.variant.name not in served]
    unique = tuple({(fleet.variant.name, fleet.instances): fleet for fleet in kept}.values())
    return replace(
        state,
        status=Status.UPDATE_ROLLBACK_FAILED,
        settled=scene.endpoint.generation,
        failure_reason=reason,
        active=replace(active, fleets=unique, mixed=True),
        pending=None,
        rollout=None,
        retired=state.retired + tuple(failed),
    )


def _fleets(active: Deployment, pending: Deployment | None) -> tuple[Fleet, ...]:
    return active.fleets + (pending.fleets if pending else ())


def _as_it_is(fleet: Fleet, rows: tuple[InstanceRow, ...]) -> Fleet:
    return replace(fleet, variant=replace(fleet.variant, instance_count=len(rows)), instances=rows)
