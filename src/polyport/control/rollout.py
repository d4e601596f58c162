"""An update to new fleets, step by step: start, shift traffic, bake, let go of the old. Pure functions of the row.

Blue/green starts the whole of the new fleets first and lets go of the old ones last; in between only shares of the
traffic move. Rolling does all of it batch by batch. `retreat` is the way back.
"""

import math

from msgspec.structs import replace

from polyport.control import failure, retreat, strategy, traffic
from polyport.control.scene import Scene, instances, without
from polyport.domain.endpoints import Deployment, EndpointState, Fleet, Phase, Rollout, Strategy

#: Seconds between two looks at the alarms that are watched.
ALARM_INTERVAL = 0.5


def begin(scene: Scene, state: EndpointState) -> EndpointState:
    """An update that has no steps yet gets them; also one that an older version has begun."""
    if state.active is None or state.pending is None or state.is_resizing or state.rollout is not None:
        return state
    config = state.pending.deployment_config
    rollout = Rollout(
        strategy=strategy.kind(config),
        phase=Phase.LAUNCHING,
        since=scene.now,
        shares=strategy.shares(config, state.active, state.pending),
    )
    return replace(state, rollout=rollout)


def give_up(scene: Scene, state: EndpointState, reason: str) -> EndpointState:
    """Roll back for ``reason`` (of an instance or an image), for lack of time, or for an alarm while it bakes."""
    if state.rollout is None or state.rollout.phase is Phase.RETURNING or state.pending is None:
        return state
    reason = reason or _overtime(scene, state.pending) or _alarm(scene, state)
    return retreat.begin(scene, state, reason) if reason else state


def advance(scene: Scene, state: EndpointState) -> EndpointState:
    """The next step, if it is time for it. At most one: what it changes is in no gateway's table before the next."""
    rollout, pending = state.rollout, state.pending
    if rollout is None or pending is None:
        return state
    if scene.now < rollout.since:
        # The clock was put back. What it said before is worth nothing.
        return _enter(scene, state, rollout.phase)
    match rollout.phase:
        case Phase.LAUNCHING:
            return _shift(scene, state) if _is_launched(scene, state) else state
        case Phase.SHIFTING:
            return _enter(scene, state, Phase.BAKING) if _is_shifted(scene, state) else state
        case Phase.BAKING:
            is_done = scene.now >= bakes_until(state) and scene.are_healthy(instances(pending))
            return _finish_step(scene, state) if is_done else state
        case Phase.RETURNING:
            return retreat.advance(scene, state)


def bakes_until(state: EndpointState) -> float:
    """When the step has baked, in epoch seconds; infinite when it does not bake."""
    rollout = state.rollout
    if rollout is None or state.pending is None or rollout.phase is not Phase.BAKING:
        return math.inf
    is_last = rollout.step == len(rollout.shares)
    return rollout.since + strategy.wait(state.pending.deployment_config, is_last=is_last)


def watched(state: EndpointState) -> frozenset[str]:
    """The alarms that matter now."""
    if state.rollout is None or state.pending is None or state.rollout.phase is not Phase.BAKING:
        return frozenset()
    return strategy.alarms(state.pending.deployment_config)


def again_at(state: EndpointState, now: float) -> float:
    """When time alone may change what is decided, in epoch seconds; infinite when it may not."""
    rollout, pending = state.rollout, state.pending
    if rollout is None or pending is None or rollout.phase is Phase.RETURNING:
        return math.inf
    moments = [bakes_until(state), pending.started_at + strategy.timeout(pending.deployment_config)]
    if watched(state):
        moments.append(now + ALARM_INTERVAL)
    return min((moment for moment in moments if moment > now), default=math.inf)


def promote(state: EndpointState) -> EndpointState:
    """What was pending takes all of the traffic; what was active goes."""
    retired = state.retired + instances(state.active)
    return replace(state, active=state.pending, pending=None, rollout=None, retired=retired)


def _enter(scene: Scene, state: EndpointState, phase: Phase, step: int | None = None) -> EndpointState:
    assert state.rollout is not None, "there is a phase to leave"
    step = state.rollout.step if step is None else step
    return replace(state, rollout=replace(state.rollout, phase=phase, since=scene.now, step=step))


def _shift(scene: Scene, state: EndpointState) -> EndpointState:
    assert state.rollout is not None, "it has a next step"
    return _enter(scene, state, Phase.SHIFTING, state.rollout.step + 1)


def _is_launched(scene: Scene, state: EndpointState) -> bool:
    """Whether every instance that is due is there and healthy."""
    fleets = state.pending.fleets if state.pending else ()
    complete = all(fleet.images and len(fleet.instances) >= traffic.due(state, fleet) for fleet in fleets)
    return complete and scene.are_healthy(instances(state.pending))


def _is_shifted(scene: Scene, state: EndpointState) -> bool:
    """Whether every gateway worker goes by the shares of this step: it has a table with all who are to take traffic."""
    fleets = state.pending.fleets if state.pending else ()
    return all(sum(scene.see(row).routed for row in fleet.instances) >= traffic.taken(state, fleet) for fleet in fleets)


def _finish_step(scene: Scene, state: EndpointState) -> EndpointState:
    rollout, active = state.rollout, state.active
    assert rollout is not None, "a step bakes"
    assert active is not None, "an update has something to update"
    if rollout.step == len(rollout.shares):
        return promote(state)
    if rollout.strategy is not Strategy.ROLLING:
        return _shift(scene, state)
    fleets = tuple(_shrink(scene, fleet, traffic.kept(state, fleet)) for fleet in active.fleets)
    left = replace(active, fleets=fleets)
    gone = without(instances(active), instances(left))
    return _enter(scene, replace(state, active=left, retired=state.retired + gone), Phase.LAUNCHING)


def _shrink(scene: Scene, fleet: Fleet, count: int) -> Fleet:
    best = {row.id for row in scene.best(fleet.instances, count)}
    return replace(fleet, instances=tuple(row for row in fleet.instances if row.id in best))


def _overtime(scene: Scene, pending: Deployment) -> str:
    limit = strategy.timeout(pending.deployment_config)
    if scene.now - pending.started_at <= limit:
        return ""
    return f"The update took longer than {limit:g} seconds (MaximumExecutionTimeoutInSeconds)."


def _alarm(scene: Scene, state: EndpointState) -> str:
    firing = sorted(scene.alarms & watched(state))
    if not firing or state.rollout is None:
        return ""
    noun, verb = ("alarms", "were") if len(firing) > 1 else ("alarm", "was")
    text = f"The {noun} {', '.join(firing)} {verb} in ALARM while step {state.rollout.step} of "
    return (text + f"{len(state.rollout.shares)} of the update baked.")[: failure.LIMIT]
