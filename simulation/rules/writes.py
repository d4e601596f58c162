"""What control may write into a row."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from polyport.control import failure, heal, plan, traffic
from polyport.domain.endpoints import AT_REST, Deployment, Phase, Status, Strategy
from simulation.rules.facts import Write, need

if TYPE_CHECKING:
    pass

#: As users see it, by the reference. Beyond that: what was switched or restarted and then stays broken is `Failed`, for
#: the alternatives are `Updating` for ever, which nobody may delete, and an `InService` that nobody can invoke.
TRANSITIONS = {
    Status.CREATING: {Status.IN_SERVICE, Status.FAILED},
    Status.IN_SERVICE: {Status.UPDATING, Status.SYSTEM_UPDATING, Status.DELETING},
    Status.UPDATING: {Status.IN_SERVICE, Status.ROLLING_BACK, Status.FAILED},
    Status.ROLLING_BACK: {Status.IN_SERVICE, Status.UPDATE_ROLLBACK_FAILED},
    Status.UPDATE_ROLLBACK_FAILED: {Status.UPDATING, Status.DELETING},
    Status.SYSTEM_UPDATING: {Status.IN_SERVICE, Status.FAILED},
    Status.FAILED: {Status.DELETING},
    Status.DELETING: set(),
}

PHASES = {
    Phase.LAUNCHING: {Phase.SHIFTING},
    Phase.SHIFTING: {Phase.BAKING},
    Phase.BAKING: {Phase.LAUNCHING, Phase.SHIFTING},
    Phase.RETURNING: set(),
}


def statuses_follow_the_documented_way(at: Write) -> None:
    """A status changes only to one that may come after it."""
    old, new = at.row.status, replace(at.row, state=at.state).status
    if at.row.wanted.cancelled and at.before.status in AT_REST:
        # An update that is called off before it began ends without a trace, whatever comes next.
        old = at.before.status
    need(old is new or new in TRANSITIONS[old], "%s becomes %s", old, new)


def a_failure_says_why(at: Write) -> None:
    """Failed, RollingBack and UpdateRollbackFailed have a reason; so has InService at another revision than wanted."""
    state = at.state
    failed = state.status in {Status.FAILED, Status.ROLLING_BACK, Status.UPDATE_ROLLBACK_FAILED}
    back = state.status is Status.IN_SERVICE and state.settled == at.row.generation and _is_back(at)
    need(state.failure_reason or not (failed or back), "%s without a reason", state.status)
    need(len(state.failure_reason) <= failure.LIMIT, "a reason of %s characters", len(state.failure_reason))


def _is_back(at: Write) -> bool:
    return at.state.active is not None and at.state.active.revision != at.row.wanted.revision


def nothing_fails_without_a_cause(at: Write) -> None:
    """Crashes of control, of gateways, a slow or absent database, lost news: none of it makes anything fail."""
    fails = at.state.status in {Status.FAILED, Status.ROLLING_BACK, Status.UPDATE_ROLLBACK_FAILED}
    excused = not at.world.history.gentle or at.row.wanted.cancelled
    need(excused or not fails, "%s: %s", at.state.status, at.state.failure_reason)


def one_deployment_at_a_time(at: Write) -> None:
    """Another one begins only after the one before has ended; only what was pending becomes active."""
    before, state = at.before, at.state
    if before.pending and state.pending:
        need(_name(before.pending) == _name(state.pending), "another deployment takes the place of a pending one")
    if state.active and before.active and state.active.revision != before.active.revision:
        need(before.pending and before.pending.revision == state.active.revision, "active is what never was pending")
        need(state.pending is None, "what was pending became active, and something is pending still")


def _name(deployment: Deployment) -> tuple[int, float]:
    return deployment.revision, deployment.started_at


def an_instance_lives_once(at: Write) -> None:
    """An instance belongs to one endpoint, and is never wanted again once it was retired or forgotten."""
    ids = [row.id for row in plan.all_instances(at.state)]
    need(len(ids) == len(set(ids)), "an instance is accounted for twice: %s", ids)
    before = {row.id for row in plan.all_instances(at.before)}
    owners = at.world.store.instances
    for instance in ids:
        need(owners.get(instance, at.row.id) == at.row.id, "%s is another endpoint's", instance)
        need(instance in before or instance not in owners, "%s was forgotten and is back", instance)
    wanted = {row.id for part in (at.state.active, at.state.pending) for row in plan.instances(part)}
    back = wanted & {row.id for row in at.before.retired}
    need(not back, "%s were retired and are back", back)


def there_are_no_more_instances_than_asked_for(at: Write) -> None:
    """A fleet has at most as many instances as its variant, but for those that others are to replace; a scale-out adds
    what is missing, no more."""
    active, pending = at.state.active, at.state.pending
    for part in (active, pending):
        for fleet in part.fleets if part else ():
            sound = heal.sound(fleet.instances)
            need(len(sound) <= fleet.variant.instance_count, "too many instances of %s", fleet.variant.name)
    if active and pending and at.state.is_resizing:
        for old, new in zip(active.fleets, pending.fleets, strict=True):
            most = max(old.variant.instance_count, new.variant.instance_count)
            need(len(old.instances) + len(new.instances) <= most, "too many instances of %s", old.variant.name)


def not_all_are_replaced_at_once(at: Write) -> None:
    """Of a fleet, at most half of the instances are to be replaced at a time, or one."""
    for fleet in at.state.active.fleets if at.state.active else ():
        condemned = len(fleet.instances) - len(heal.sound(fleet.instances))
        most = max(1, fleet.variant.instance_count // 2)
        need(condemned <= most, "%s of %s are to be replaced", condemned, fleet.variant.instance_count)


def a_rollout_goes_forward(at: Write) -> None:
    """Launch, shift, bake, step by step; the way back is never left but at its end."""
    before, after = at.before.rollout, at.state.rollout
    if before is None or after is None or at.before.pending is None or after.phase is Phase.RETURNING:
        return
    need(after.phase is before.phase or after.phase in PHASES[before.phase], "%s after %s", after.phase, before.phase)
    need(before.step <= after.step <= before.step + 1, "step %s after step %s", after.step, before.step)
    moved = after.step != before.step
    need(moved == (after.phase is Phase.SHIFTING and before.phase is not Phase.SHIFTING), "a step that shifts nothing")


def a_step_waits_for_its_instances(at: Write) -> None:
    """Traffic shifts to new instances when as many as the step needs are there and healthy, and the step bakes from
    when every gateway worker sends calls to them."""
    rollout, pending = at.state.rollout, at.state.pending
    if rollout is None or at.before.rollout is None or pending is None or rollout.phase is at.before.rollout.phase:
        return
    for fleet in pending.fleets:
        ids = [row.id for row in fleet.instances]
        takes = traffic.taken(at.state, fleet)
        if rollout.phase is Phase.SHIFTING and at.before.rollout.phase is Phase.LAUNCHING:
            well = [instance for instance in ids if at.world.is_healthy(instance)]
            need(len(well) == len(ids) >= takes, "of %s only %s are healthy, for %s", ids, well, takes)
        for gateway in at.world.gateways if rollout.phase is Phase.BAKING else ():
            live = gateway.live & set(ids)
            need(len(live) >= takes or gateway.table is None, "%s calls %s of %s", gateway.name, len(live), takes)


def a_step_bakes_in_peace(at: Write) -> None:
    """No step comes before the one before has had its time, nor while an alarm that is watched is in ALARM."""
    before, after = at.before.rollout, at.state.rollout
    pending = at.before.pending
    if before is None or pending is None or before.phase is Phase.RETURNING:
        return
    promoted = after is None and at.state.active is not None and at.state.active.revision == pending.revision
    if promoted:
        need(before.phase is Phase.BAKING and before.step == len(before.shares), "the last step was not made")
    if promoted or (before.phase is Phase.BAKING and after is not None and after.phase in PHASES[before.phase]):
        wait = _wait(pending.deployment_config or {}, before.step == len(before.shares))
        need(at.now - before.since >= wait, "baked for %s of %s seconds", at.now - before.since, wait)
        firing = at.world.firing() & _alarms(pending.deployment_config or {})
        need(not firing, "goes on while there is an alarm: %s", firing)


def _wait(config: dict[str, Any], is_last: bool) -> float:
    """As SageMaker words it."""
    if "RollingUpdatePolicy" in config:
        return float(config["RollingUpdatePolicy"]["WaitIntervalInSeconds"])
    policy = config.get("BlueGreenUpdatePolicy", {})
    name, part = (
        ("TerminationWaitInSeconds", policy)
        if is_last
        else ("WaitIntervalInSeconds", policy.get("TrafficRoutingConfiguration", {}))
    )
    return float(part.get(name, 0))


def _alarms(config: dict[str, Any]) -> set[str]:
    return {alarm["AlarmName"] for alarm in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])}


def old_instances_stay_until_new_ones_are_well(at: Write) -> None:
    """Blue/green lets go of nothing before its end; no old instance goes before all new ones are healthy."""
    before, state = at.before, at.state
    if at.row.wanted.deleted or state.status is Status.FAILED or before.active is None or before.pending is None:
        return
    left = {row.id for row in plan.instances(before.active)} - {row.id for row in plan.instances(state.active)}
    if not left or state.status is Status.UPDATE_ROLLBACK_FAILED:
        return
    rollout = before.rollout
    need(before.is_resizing or (rollout and rollout.phase is Phase.BAKING), "%s left at a bad moment", left)
    if rollout is not None and rollout.strategy is not Strategy.ROLLING:
        need(state.pending is None, "%s left before the end of the update", left)
    ill = [row.id for row in plan.instances(before.pending) if not at.world.is_healthy(row.id)]
    need(not ill, "%s left while %s are not healthy", left, ill)


def in_service_means_invocable(at: Write) -> None:
    """InService is written only when every gateway worker's table has all of the active instances, and no retired one
    is left."""
    if at.state.status is not Status.IN_SERVICE or at.before.status is Status.IN_SERVICE:
        return
    need(not at.state.retired and not at.state.pending, "InService with something left to do")
    need(at.state.active, "InService without a deployment")
    fleets = at.state.active.fleets if at.state.active else ()
    counts = [(len(heal.sound(each.instances)), each.variant.instance_count) for each in fleets]
    need(all(has == wanted for has, wanted in counts), "InService with counts %s", counts)
    for gateway in at.world.gateways:
        for row in heal.sound(plan.instances(at.state.active)) if gateway.table else ():
            need(row.id in gateway.live or at.world.is_given_up(row.id), "gateway %s lacks %s", gateway.name, row.id)


def what_is_forgotten_is_used_by_nobody(at: Write) -> None:
    """A row of an instance goes only after every gateway let go of it."""
    left = {row.id for row in plan.all_instances(at.state)}
    for row in plan.all_instances(at.before):
        need(
            row.id in left or not at.world.users_of(row.id),
            "%s is forgotten, and %s uses it",
            row.id,
            at.world.users_of(row.id),
        )


def what_ended_wants_nothing(at: Write) -> None:
    """A failed or deleted endpoint keeps no fleet; the generation that a row answers to only grows."""
    if at.state.status in {Status.FAILED, Status.DELETING}:
        need(at.state.active is None and at.state.pending is None, "%s with fleets", at.state.status)
    need(at.before.settled <= at.state.settled <= at.row.generation, "settled goes to %s", at.state.settled)


WRITE = (
    statuses_follow_the_documented_way,
    a_failure_says_why,
    nothing_fails_without_a_cause,
    one_deployment_at_a_time,
    an_instance_lives_once,
    there_are_no_more_instances_than_asked_for,
    not_all_are_replaced_at_once,
    a_rollout_goes_forward,
    a_step_waits_for_its_instances,
    a_step_bakes_in_peace,
    old_instances_stay_until_new_ones_are_well,
    in_service_means_invocable,
    what_is_forgotten_is_used_by_nobody,
    what_ended_wants_nothing,
)
