"""The planner, in a world that hypothesis plays around it. `test_plan_examples` tells what properties cannot."""

from collections.abc import Iterable
from typing import Any

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec.structs import replace
from simulation.rules.writes import TRANSITIONS

from control.values import endpoint, images, new_id, wanted
from control.world import PROFILE, World, counts, deployment_configs, obey, variant_sets
from polyport.control import failure, heal, plan, routes, traffic
from polyport.control.limits import Limits
from polyport.control.plan import NOTHING, Decision, Seen
from polyport.domain.endpoints import AT_REST, Endpoint, Fleet, InstanceRow, Phase, Status, Strategy, Variant


class PlannerMachine(RuleBasedStateMachine):
    """The API, the engine, images, gateways and crashes in any order; the rules of the house after each step."""

    @initialize(variants=variant_sets)
    def create(self, variants: tuple[Variant, ...]) -> None:
        self.world = World(endpoint(wanted(1, *variants)))

    @precondition(lambda self: self.world.row)
    @rule(moments=st.integers(1, 8), acknowledge=st.booleans())
    def all_goes_well_for_a_while(self, moments: int, acknowledge: bool) -> None:
        """Chance alone would seldom bring an endpoint into service."""
        for _ in range(moments):
            if self.world.row:
                self.step("")
                self.resolve(good=True)
                self.engine_obeys()
                self.containers_get_healthy()
                if acknowledge:
                    self.gateways_acknowledge()
                self.targets_are_healthy_when_published()

    # What the API lets through (reference 4.2)

    @precondition(lambda self: self.world.row and self.world.row.status in AT_REST)
    @rule(variants=variant_sets, config=deployment_configs)
    def update(self, variants: tuple[Variant, ...], config: dict[str, Any]) -> None:
        what = wanted(self.world.endpoint.wanted.revision + 1, *variants)
        self.world.want(replace(what, deployment_config=config))

    @precondition(lambda self: self.world.row and self.world.row.status is Status.IN_SERVICE)
    @rule(data=st.data())
    def scale(self, data: st.DataObject) -> None:
        active = self.world.endpoint.state.active
        assert active
        variants = [
            replace(each.variant, instance_count=data.draw(counts), weight=data.draw(st.floats(0, 2)))
            for each in active.fleets
        ]
        self.world.want(wanted(active.revision, *variants))

    @precondition(lambda self: self.world.row and self.world.row.status in {*AT_REST, Status.FAILED})
    @rule()
    def delete(self) -> None:
        self.world.want(replace(self.world.endpoint.wanted, deleted=True))

    # What the world does

    @precondition(lambda self: self.world.row)
    @rule(good=st.booleans())
    def resolve(self, good: bool) -> None:
        for asked, each in self.world.decision.resolve if self.world.decision else ():
            self.world.resolved[asked.revision, each.variant.name] = images(each.variant) if good else "no such image"

    @precondition(lambda self: self.world.row)
    @rule(data=st.data())
    def engine_changes(self, data: st.DataObject) -> None:
        ids = [row.id for row in self.world.rows()]
        if not ids:
            return
        key = data.draw(st.sampled_from(ids))
        now = self.world.engine.get(key, NOTHING)
        event = data.draw(st.sampled_from(["healthy", "unhealthy", "fails", "hangs", "overdue", "vanishes", "is lost"]))
        if event == "vanishes":
            self.world.engine.pop(key, None)
        elif event == "is lost":
            self.world.engine[key] = Seen(overdue=True, failure="no space left")
        elif now.present and not now.stopping:
            changes = {
                "healthy": {"healthy": True, "overdue": False, "failure": "", "complaint": ""},
                "unhealthy": {"healthy": False},
            }
            changes["hangs"] = {"healthy": False, "complaint": "does not answer"}
            bad = {"healthy": False, "failure": "exited", "overdue": event == "overdue"}
            self.world.engine[key] = replace(now, **changes.get(event, bad))

    @precondition(lambda self: self.world.row and self.world.decision)
    @rule()
    def engine_obeys(self) -> None:
        if self.world.row:
            obey(self.world)

    @rule()
    def containers_get_healthy(self) -> None:
        for key, seen in self.world.engine.items():
            if not seen.stopping:
                self.world.engine[key] = Seen(present=True, healthy=True)

    @rule()
    def gateways_acknowledge(self) -> None:
        self.world.acknowledge()

    @rule()
    def calls_end(self) -> None:
        self.world.calls.clear()

    @rule(firing=st.booleans())
    def alarm_changes(self, firing: bool) -> None:
        self.world.alarms = frozenset({"errors"} if firing else ())

    @rule(connected=st.booleans())
    def gateway_comes_or_goes(self, connected: bool) -> None:
        self.world.connected = connected

    # The step, and what must hold

    @precondition(lambda self: self.world.row)
    @rule(crash=st.sampled_from(["", "", "", "before the write", "after the write"]))
    def step(self, crash: str) -> None:
        before = self.world.endpoint
        seen = {row.id: self.world.see(row.id) for row in self.world.rows()}
        decision = self.world.step(crash)
        after = replace(before, state=decision.state)
        check_transition(before, after)
        check_counts(after)
        check_actions(decision, seen)
        check_forgotten(before, after, seen)
        check_traffic(before, after, seen)
        check_rollout(before, after, seen)
        if crash == "":
            check_rest(after, decision, seen)

    @invariant()
    def targets_are_healthy_when_published(self) -> None:
        if self.world.row and self.world.decision:
            self.world.publish()
            for key in routes.live_ids(self.world.table):
                assert self.world.engine[key].healthy
                assert not self.world.engine[key].stopping
            check_capacity(self.world)


def check_transition(before: Endpoint, after: Endpoint) -> None:
    """Statuses change along the documented table alone."""
    if after.status is not before.status:
        assert after.status in TRANSITIONS[before.status], f"{before.status} -> {after.status}"


def check_counts(row: Endpoint) -> None:
    """Never more instances than wanted plus the update's surplus, and those that others are to replace."""
    active, pending = row.state.active, row.state.pending
    for part in (active, pending):
        for each in part.fleets if part else ():
            assert len(heal.sound(each.instances)) <= each.variant.instance_count
            condemned = len(each.instances) - len(heal.sound(each.instances))
            assert condemned <= Limits().replaceable(each.variant.instance_count)
            assert not condemned or row.state.status in {*AT_REST, Status.SYSTEM_UPDATING}
    if active and pending and active.revision == pending.revision:
        for old, new in zip(active.fleets, pending.fleets, strict=True):
            most = max(old.variant.instance_count, new.variant.instance_count)
            assert len(old.instances) + len(new.instances) <= most
    ids = [each.id for each in plan.all_instances(row.state)]
    assert len(ids) == len(set(ids))


def check_actions(decision: Decision, seen: dict[str, Seen]) -> None:
    """Started is what should be, removed is what is drained, and nothing is both."""
    kept = {row.id for row in (*plan.instances(decision.state.active), *plan.instances(decision.state.pending))}
    assert {row.id for _, row in decision.apply} <= kept
    for key in decision.remove:
        assert seen[key].drained
        assert key not in kept
    if decision.gone:
        assert not plan.all_instances(decision.state)
    assert len(decision.state.failure_reason) <= failure.LIMIT


def check_forgotten(before: Endpoint, after: Endpoint, seen: dict[str, Seen]) -> None:
    """An instance is accounted for until nothing is left of it and no gateway uses it."""
    left = {row.id for row in plan.all_instances(after.state)}
    for row in plan.all_instances(before.state):
        assert row.id in left or (not seen[row.id].present and seen[row.id].drained)


def check_traffic(before: Endpoint, after: Endpoint, seen: dict[str, Seen]) -> None:
    """Traffic never empties for want of a step; a failed update leaves the old fleet; InService is invocable."""
    active, status = after.state.active, after.state.status
    if before.state.active and status in {
        Status.UPDATING,
        Status.ROLLING_BACK,
        Status.IN_SERVICE,
        Status.SYSTEM_UPDATING,
    }:
        assert active is not None
        names = {each.variant.name for each in active.fleets if each.variant.instance_count}
        had = {
            row.id
            for row in plan.instances(before.state.active)
            # Whoever takes away a whole variant wants that.
            if seen[row.id].healthy and (row.variant in names or active.revision != before.state.active.revision)
        }
        capacity = sum(each.variant.instance_count for each in active.fleets)
        assert _healthy(plan.instances(active), seen) or not had or not capacity
    if status is Status.ROLLING_BACK:
        assert active is not None
        assert {row.id for row in plan.instances(before.state.active)} <= {row.id for row in plan.instances(active)}
        assert after.state.failure_reason
    if status is Status.IN_SERVICE and before.state.status is not Status.IN_SERVICE:
        assert all(len(heal.sound(each.instances)) == each.variant.instance_count for each in active.fleets)
        assert all(seen[row.id].routed or seen[row.id].overdue for row in heal.sound(plan.instances(active)))
        assert not after.state.retired
    if status is Status.FAILED:
        assert after.state.failure_reason


def check_rollout(before: Endpoint, after: Endpoint, seen: dict[str, Seen]) -> None:
    """Old instances go only after as many new ones are healthy and have baked; in blue/green all at the very end. As it
    begins, those go that are too many: instances that were being replaced, or their successors."""
    state = after.state
    if state.rollout is None:
        return
    assert state.active is not None
    assert state.pending is not None
    assert not state.is_resizing
    assert state.rollout.step <= len(state.rollout.shares)
    old, new = state.active.fleets, state.pending.fleets
    begins = before.state.rollout is None
    if begins or state.rollout.strategy is not Strategy.ROLLING:
        assert begins or state.active == before.state.active
        assert all(len(each.instances) == each.variant.instance_count for each in old)
    left = {row.id for row in plan.instances(before.state.active)} - {row.id for row in plan.instances(state.active)}
    if left and before.state.rollout is not None:
        assert before.state.rollout.phase is Phase.BAKING
        assert _healthy(plan.instances(before.state.pending), seen) == {
            row.id for row in plan.instances(before.state.pending)
        }
    for name in {each.variant.name for each in old} & {each.variant.name for each in new}:
        before_count, after_count = (_count(fleets, name) for fleets in (old, new))
        if state.rollout.phase is not Phase.RETURNING:
            planned = sum(traffic.kept(state, each) for each in old if each.variant.name == name)
            planned += sum(traffic.taken(state, each) for each in new if each.variant.name == name)
            assert planned >= min(before_count, after_count)


def check_capacity(world: World) -> None:
    """The table has as many instances as the step asks for; old ones stand in for new ones that are ill."""
    state, live = world.endpoint.state, routes.live_ids(world.table)
    if state.rollout is None or state.pending is None or state.active is None or world.endpoint.wanted.deleted:
        return
    for new in state.pending.fleets:
        count = traffic.taken(state, new)
        healthy = _healthy(new.instances, world.engine)
        routed = {row.id for row in new.instances} & live
        assert len(routed) == min(count, len(healthy))
        same = [each for each in state.active.fleets if each.variant.name == new.variant.name]
        for old in same if len(same) == 1 else ():
            wanted_count = traffic.kept(state, old) + count - len(routed)
            assert len({row.id for row in old.instances} & live) >= min(
                wanted_count, len(_healthy(old.instances, world.engine))
            )
    assert world.table is not None
    shares: dict[str, float] = {}
    for entry in world.table.variants:
        shares[entry.name] = shares.get(entry.name, 0.0) + entry.share
        assert entry.weight >= 0
    assert all(abs(share - 1) < 1e-9 for share in shares.values()), shares


def _count(fleets: Iterable[Fleet], name: str) -> int:
    return sum(each.variant.instance_count for each in fleets if each.variant.name == name)


def check_rest(after: Endpoint, decision: Decision, seen: dict[str, Seen]) -> None:
    """The same world gives the same decision: no step is taken for nothing, nothing goes back and forth."""
    seen = {row.id: seen.get(row.id, NOTHING) for row in plan.all_instances(after.state)}
    state, states = after.state, []
    # An update may still have many steps to make that wait for nothing but time.
    for moment in range(50):
        state = plan.plan(replace(after, state=state), seen, {}, (moment + 1) * 1e6, new_id).state
        states.append(state)
    assert states[-1] == states[-2]


def _healthy(rows: Iterable[InstanceRow], seen: dict[str, Seen]) -> set[str]:
    return {row.id for row in rows if seen.get(row.id, NOTHING).healthy}


TestPlanner = PlannerMachine.TestCase
TestPlanner.settings = settings(PROFILE, max_examples=150, stateful_step_count=40)
