"""What must hold, always. Each rule is a function that raises `Broken`; its docstring is the rule.

Rules go by what is true of the machine and of the gateways, not by what control believes, wherever that can be said.
Control learns of things a little late: `GRACE` is how much.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec.structs import replace

from polyport.control import failure, plan, routes
from polyport.domain.endpoints import AT_REST, Deployment, Endpoint, EndpointState, InstanceRow, Phase, Status, Strategy
from polyport.domain.routes import EndpointRoute, RouteTable

if TYPE_CHECKING:
    from simulation.world import World

Effect = Callable[[], None]

#: Seconds within which control knows what is so, and its table says it: an engine's view that is late, two pings that are
#: not answered in time with the pauses between, a write, a step.
GRACE = 6.0

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


class Broken(Exception):  # noqa: N818  as the errors of the package
    """A rule does not hold."""


class Write(NamedTuple):
    """Control is about to write this state over that row. Raised to the moment of its decision."""

    world: "World"
    row: Endpoint
    state: EndpointState
    now: float

    @property
    def before(self) -> EndpointState:
        """What it is written over."""
        return self.row.state


class Removal(NamedTuple):
    """Control is about to delete this row."""

    world: "World"
    row: Endpoint


class Order(NamedTuple):
    """Control is about to order something of an instance."""

    world: "World"
    instance: str


class Table(NamedTuple):
    """Control sends this table to its gateways."""

    world: "World"
    table: RouteTable


def need(holds: object, text: str, *values: object) -> None:
    """Raises `Broken` unless it holds."""
    if not holds:
        raise Broken(text % values)


def tell(row: Endpoint) -> str:
    """A row in one line."""
    state = row.state
    rollout = state.rollout
    step = f" {rollout.strategy} {rollout.phase} {rollout.step}/{len(rollout.shares)}" if rollout else ""
    parts = [
        f"{name} {_ids(plan.instances(part))}"
        for name, part in (("active", state.active), ("pending", state.pending))
        if part
    ]
    if state.retired:
        parts.append(f"retired {_ids(state.retired)}")
    return f"{row.name} {row.status} g{row.generation}/{state.settled}{step}: {', '.join(parts)} {state.failure_reason}"


def _ids(rows: Iterable[InstanceRow]) -> str:
    return " ".join(row.id for row in rows) or "-"


# --- what is written


def statuses_follow_the_documented_way(at: Write) -> None:
    """A status changes only to one that may come after it."""
    old, new = at.row.status, replace(at.row, state=at.state).status
    need(old is new or new in TRANSITIONS[old], "%s becomes %s", old, new)


def a_failure_says_why(at: Write) -> None:
    """Failed, RollingBack, UpdateRollbackFailed, and InService at another revision than was asked for, have a reason."""
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
    need(not (at.world.history.gentle and fails), "%s: %s", at.state.status, at.state.failure_reason)


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
    """A fleet has at most as many instances as its variant; a scale-out adds what is missing, no more."""
    active, pending = at.state.active, at.state.pending
    for part in (active, pending):
        for fleet in part.fleets if part else ():
            need(len(fleet.instances) <= fleet.variant.instance_count, "too many instances of %s", fleet.variant.name)
    if active and pending and at.state.is_resizing:
        for old, new in zip(active.fleets, pending.fleets, strict=True):
            most = max(old.variant.instance_count, new.variant.instance_count)
            need(len(old.instances) + len(new.instances) <= most, "too many instances of %s", old.variant.name)


def a_rollout_goes_forward(at: Write) -> None:
    """Launch, shift, bake, step by step; the way back is never left but at its end."""
    before, after = at.before.rollout, at.state.rollout
    if before is None or after is None or at.before.pending is None or after.phase is Phase.RETURNING:
        return
    need(after.phase is before.phase or after.phase in PHASES[before.phase], "%s after %s", after.phase, before.phase)
    need(before.step <= after.step <= before.step + 1, "step %s after step %s", after.step, before.step)
    moved = after.step != before.step
    need(moved == (after.phase is Phase.SHIFTING and before.phase is not Phase.SHIFTING), "a step that shifts nothing")


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
        control = at.world.control
        need(control is None or not control.alarms.told, "goes on while there is an alarm")


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


def old_instances_stay_until_new_ones_are_well(at: Write) -> None:
    """Blue/green lets go of nothing before its end; nothing lets go of an old instance before all new ones are healthy."""
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
    counts = (
        [(len(each.instances), each.variant.instance_count) for each in at.state.active.fleets]
        if at.state.active
        else []
    )
    need(all(has == wanted for has, wanted in counts), "InService with counts %s", counts)
    for gateway in at.world.gateways:
        for row in plan.instances(at.state.active) if gateway.table else ():
            need(row.id in gateway.live or not at.world.is_well(row.id), "gateway %s lacks %s", gateway.name, row.id)


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
    """A failed or deleted endpoint keeps no fleet; the generation it answers to is never from the future, nor the past."""
    if at.state.status in {Status.FAILED, Status.DELETING}:
        need(at.state.active is None and at.state.pending is None, "%s with fleets", at.state.status)
    need(at.before.settled <= at.state.settled <= at.row.generation, "settled goes to %s", at.state.settled)


def a_row_goes_last(at: Removal) -> None:
    """A row is deleted only when it was asked for and no instance is left in it."""
    need(at.row.wanted.deleted, "nobody wanted it deleted")
    need(not plan.all_instances(at.row.state) or _is_done(at), "instances are left")


def _is_done(at: Removal) -> bool:
    return not plan.all_instances(at.world.store.rows[at.row.id].state)


# --- what is ordered


def a_row_is_there_before_its_instance(at: Order) -> None:
    """Nothing is started but what a row wants at that moment."""
    need(at.instance in _wanted(at.world), "%s is started, and no row wants it", at.instance)


def what_a_row_wants_is_not_stopped(at: Order) -> None:
    """Nothing is ended that a row wants."""
    need(at.instance not in _wanted(at.world), "%s is ended, and a row wants it", at.instance)


def what_a_gateway_may_use_is_not_stopped(at: Order) -> None:
    """An instance is ended only when it is in no worker's table and no worker has a call in it."""
    need(
        not at.world.users_of(at.instance),
        "%s is ended, and %s may use it",
        at.instance,
        at.world.users_of(at.instance),
    )


def _wanted(world: "World") -> set[str]:
    states = [row.state for row in world.store.rows.values()]
    return {row.id for state in states for part in (state.active, state.pending) for row in plan.instances(part)}


# --- what is published


def _entries(at: Table) -> Iterable[tuple[EndpointRoute, EndpointState]]:
    """The routes, each with the state that control knew when it made the table."""
    rows = {row.name: row for row in at.world.store.rows.values()}
    for entry in at.table.endpoints:
        row = rows.get(entry.name)
        known = at.world.known(row.id) if row else None
        if known is not None:
            yield entry, known


def only_what_is_wanted_is_published(at: Table) -> None:
    """A target is an instance of an active fleet, or of a pending one to which traffic is being shifted."""
    for entry, state in _entries(at):
        active = {row.id for row in plan.instances(state.active)}
        pending = {row.id for row in plan.instances(state.pending)}
        strangers = routes.live_ids(entry) - active - pending
        need(not strangers, "%s are targets and belong to no fleet", strangers)
        rollout = state.rollout
        takes = state.is_resizing or (rollout and (rollout.step or rollout.phase is Phase.RETURNING))
        early = routes.live_ids(entry) & pending
        need(takes or not early, "%s are targets before the traffic is shifted", early)


def only_what_is_well_is_published(at: Table) -> None:
    """A target has answered its pings, but for the time that it takes to notice."""
    if at.world.is_blind():
        return
    for entry, _ in _entries(at):
        for instance in routes.live_ids(entry):
            need(not at.world.is_ill(instance), "%s is a target, and it is ill", instance)


def what_is_well_is_published(at: Table) -> None:
    """A healthy instance of an active fleet that is not being let go of is a target, also right after a start of control.
    While traffic is shifted there are as many targets as the smaller of both fleets has instances."""
    if at.world.is_blind():
        return
    live = set().union(*(routes.live_ids(entry) for entry in at.table.endpoints))
    for row in at.world.store.rows.values():
        state = at.world.known(row.id)
        if row.wanted.deleted or state is None or state.active is None:
            continue
        if state.rollout is None:
            lacking = {each.id for each in plan.instances(state.active) if at.world.is_well(each.id)} - live
            need(not lacking, "%s are well and no targets", lacking)
        else:
            _keeps_the_floor(at.world, state, live)


def _keeps_the_floor(world: "World", state: EndpointState, live: set[str]) -> None:
    for old in state.active.fleets if state.active and not state.active.mixed else ():
        for new in state.pending.fleets if state.pending else ():
            if old.variant.name == new.variant.name:
                floor = min(old.variant.instance_count, new.variant.instance_count)
                both = [row.id for row in (*old.instances, *new.instances)]
                well = [row.id for row in old.instances if world.is_well(row.id)]
                least = min(floor, len(well))
                have = sum(each in live for each in both)
                need(have >= least, "%s has %s targets, and %s are well", old.variant.name, have, least)


def shares_add_up(at: Table) -> None:
    """The entries of one variant share all of its calls; no weight is negative; blue/green shifts exactly its share."""
    for entry, state in _entries(at):
        sums: dict[str, float] = {}
        for variant in entry.variants:
            need(variant.weight >= 0, "a negative weight")
            sums[variant.name] = sums.get(variant.name, 0.0) + variant.share
        need(all(abs(total - 1) < 1e-9 for total in sums.values()), "shares of %s", sums)
        _shifts_its_share(entry, state)


def _shifts_its_share(entry: EndpointRoute, state: EndpointState) -> None:
    rollout = state.rollout
    if rollout is None or rollout.strategy is Strategy.ROLLING or not rollout.step or state.pending is None:
        return
    names = [{fleet.variant.name for fleet in part.fleets} for part in (state.active, state.pending) if part]
    ids = {row.id for row in plan.instances(state.pending)}
    total = sum(variant.weight for variant in entry.variants)
    # Ill instances leave their part to others.
    if names[0] != names[1] or any(not variant.instances for variant in entry.variants) or not total:
        return
    new = sum(each.weight for each in entry.variants if {one.id for one in each.instances} <= ids)
    share = rollout.shares[rollout.step - 1]
    sides = len(entry.variants) == 2 * len(names[0])
    need(not sides or abs(new / total - share) < 1e-9, "%s of the traffic is shifted, not %s", new / total, share)


# --- where it ends


def everything_comes_to_rest(world: "World") -> None:
    """Once faults stop, every endpoint comes to rest within a bounded time, and so does everything around it."""
    for row in world.store.rows.values():
        need(row.status in {*AT_REST, Status.FAILED}, "still under way: %s", tell(row))
        need(not row.state.retired, "instances are left over: %s", tell(row))
    need(world.control is not None and world.control.is_up, "control is not up")
    for instance, running in world.machine.running.items():
        need(all(each.listens for each in running.containers), "%s has a container that does not run", instance)


def what_runs_is_what_rows_want(world: "World") -> None:
    """No instance is left over, none is missing, no orphan; every gateway sends calls to exactly these."""
    wanted, running = _wanted(world), set(world.machine.running)
    need(wanted == running, "wanted are %s, running are %s", sorted(wanted), sorted(running))
    for gateway in world.gateways:
        need(gateway.live == wanted, "%s serves %s, wanted are %s", gateway.name, sorted(gateway.live), sorted(wanted))


def every_endpoint_is_as_last_wanted(world: "World") -> None:
    """InService as it was last asked for, or with the reason why not; Failed with nothing left; deleted if it was
    asked for."""
    for row in world.store.rows.values():
        state = row.state
        need(not row.wanted.deleted, "%s should be gone", row.name)
        need(state.pending is None and state.rollout is None, "something is pending: %s", tell(row))
        if row.status is Status.FAILED:
            continue
        need(state.active is not None and state.settled == row.generation, "not settled: %s", tell(row))
        fleets = state.active.fleets if state.active else ()
        need(all(len(each.instances) == each.variant.instance_count for each in fleets), "counts: %s", tell(row))
        counts = sorted((each.name, each.instance_count) for each in row.wanted.variants)
        as_asked = state.active and state.active.revision == row.wanted.revision
        as_asked = as_asked and counts == sorted((each.variant.name, each.variant.instance_count) for each in fleets)
        need(as_asked or state.failure_reason, "not as it was asked for, and no reason: %s", tell(row))


def no_error_is_lost(world: "World") -> None:
    """Nothing raises what nobody expects."""
    need(not world.errors, "%s", "\n".join(world.errors))


WRITE = (
    statuses_follow_the_documented_way,
    a_failure_says_why,
    nothing_fails_without_a_cause,
    one_deployment_at_a_time,
    an_instance_lives_once,
    there_are_no_more_instances_than_asked_for,
    a_rollout_goes_forward,
    a_step_bakes_in_peace,
    old_instances_stay_until_new_ones_are_well,
    in_service_means_invocable,
    what_is_forgotten_is_used_by_nobody,
    what_ended_wants_nothing,
)
REMOVAL = (a_row_goes_last,)
ORDER = (a_row_is_there_before_its_instance,)
ENDING = (what_a_row_wants_is_not_stopped, what_a_gateway_may_use_is_not_stopped)
ENDED = (what_a_gateway_may_use_is_not_stopped,)
TABLE = (only_what_is_wanted_is_published, only_what_is_well_is_published, what_is_well_is_published, shares_add_up)
END = (everything_comes_to_rest, what_runs_is_what_rows_want, every_endpoint_is_as_last_wanted, no_error_is_lost)
