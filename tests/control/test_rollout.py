"""Updates step by step, by example: what the row says, and what gateways are told. `test_strategy` has the numbers."""

from typing import Any

import pytest
from msgspec.structs import replace

from control.test_rollout_histories import live_moment, settle, start
from control.test_strategy import blue_green, percent, rolling, size
from control.values import variant, wanted
from control.world import World
from polyport.control import plan, rollout
from polyport.control.plan import Seen
from polyport.domain.endpoints import Phase, Status, Variant
from polyport.domain.routes import VariantRoute

ALARMED = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}, {"AlarmName": "slow"}]}}


def begin(old: tuple[Variant, ...], new: tuple[Variant, ...], config: dict[str, Any]) -> World:
    """An update of an endpoint in service."""
    world = start(*old)
    world.want(replace(wanted(2, *new), deployment_config=config))
    return world


def reach(world: World, phase: Phase, step: int) -> None:
    """Live until the rollout is there."""
    for _ in range(40):
        state = world.endpoint.state.rollout
        if state and (state.phase, state.step) == (phase, step):
            return
        live_moment(world)
    raise AssertionError(f"never {phase} in step {step}")


def table(world: World) -> list[tuple[str, int, float, float]]:
    """Each entry that gateways serve by: variant, instances, weight, share."""
    assert world.table is not None
    return [_shown(entry) for entry in world.table.variants]


def _shown(entry: VariantRoute) -> tuple[str, int, float, float]:
    return entry.name, len(entry.instances), round(entry.weight, 3), round(entry.share, 3)


def test_a_canary_takes_its_part_and_then_all() -> None:
    """One of four new instances takes a quarter, beside all of the old; then the new fleet alone is in the table, and
    the old one stands by until TerminationWaitInSeconds is over."""
    config = blue_green("CANARY", 5, CanarySize=size(1), TerminationWaitInSeconds=4)
    world = begin((variant("A", 2),), (variant("A", 4),), config)
    reach(world, Phase.SHIFTING, 1)
    assert table(world) == [("A", 2, 0.75, 0.75), ("A", 1, 0.25, 0.25)]
    reach(world, Phase.BAKING, 1)
    since = world.now
    reach(world, Phase.SHIFTING, 2)
    assert world.now == since + 5
    assert table(world) == [("A", 4, 1.0, 1.0)]
    reach(world, Phase.BAKING, 2)
    since = world.now
    assert len(plan.instances(world.endpoint.state.active)) == 2
    assert world.endpoint.state.retired == ()
    while world.endpoint.state.rollout:
        live_moment(world)
    assert world.now == since + 4
    settle(world)
    assert world.endpoint.status is Status.IN_SERVICE


def test_linear_steps_give_and_take_equal_parts() -> None:
    """With each step a third of the new fleet enters the table and a third of the old one leaves it; nothing of the
    old one is stopped."""
    world = begin((variant("A", 3),), (variant("A", 3),), blue_green("LINEAR", 0, LinearStepSize=size(1)))
    reach(world, Phase.SHIFTING, 1)
    assert table(world) == [("A", 2, 0.667, 0.667), ("A", 1, 0.333, 0.333)]
    reach(world, Phase.SHIFTING, 2)
    assert table(world) == [("A", 1, 0.333, 0.333), ("A", 2, 0.667, 0.667)]
    assert len(plan.instances(world.endpoint.state.active)) == 3
    reach(world, Phase.SHIFTING, 3)
    assert table(world) == [("A", 3, 1.0, 1.0)]


def test_one_instance_can_have_a_canary() -> None:
    """Its share of the traffic is what was asked for, though the capacity is whole."""
    world = begin((variant("A"),), (variant("A"),), blue_green("CANARY", 9, CanarySize=percent(10)))
    reach(world, Phase.BAKING, 1)
    assert table(world) == [("A", 1, 0.9, 0.9), ("A", 1, 0.1, 0.1)]


def test_weights_of_two_configurations_are_made_comparable() -> None:
    """Each side's weights add up to its share, whatever scale they are on; a variant of one side only keeps all of the
    calls that name it."""
    old = (variant("A", 1, weight=30), variant("B", 1, weight=10))
    new = (variant("A", 2, weight=1), variant("C", 2, weight=3))
    world = begin(old, new, blue_green("CANARY", 9, CanarySize=percent(20)))
    reach(world, Phase.BAKING, 1)
    assert table(world) == [("A", 1, 0.6, 0.8), ("B", 1, 0.2, 1.0), ("A", 1, 0.05, 0.2), ("C", 1, 0.15, 1.0)]


def test_weights_that_are_all_zero_are_equal_ones() -> None:
    """As they are when nothing is updated."""
    old, new = (variant("A", weight=0), variant("B", weight=0)), (variant("A", weight=0),)
    world = begin(old, new, blue_green("CANARY", 9, CanarySize=percent(50)))
    reach(world, Phase.BAKING, 1)
    assert table(world) == [("A", 1, 0.25, 0.5), ("B", 1, 0.25, 1.0), ("A", 1, 0.5, 0.5)]


def test_rolling_goes_batch_by_batch() -> None:
    """A batch is started, takes its part of the traffic, bakes; only then as many old ones are stopped, and the next
    batch is started. Never are there fewer in the table than before."""
    world = begin((variant("A", 3),), (variant("A", 3),), rolling(size(1)))
    seen = []
    for step in (1, 2, 3):
        reach(world, Phase.SHIFTING, step)
        state = world.endpoint.state
        running = (len(plan.instances(state.active)), len(plan.instances(state.pending)))
        seen.append((running, [entry[1] for entry in table(world)]))
    assert seen == [((3, 1), [2, 1]), ((2, 2), [1, 2]), ((1, 3), [3])]
    settle(world)
    assert world.endpoint.status is Status.IN_SERVICE


def test_rolling_with_other_counts_and_variants() -> None:
    """What is new comes whole with the first batch, what is to go stays whole until the last; in between a variant's
    traffic is shared as its instances are."""
    old = (variant("A", 2), variant("gone", 2))
    world = begin(old, (variant("A", 4), variant("new", 1)), rolling(size(2)))
    reach(world, Phase.SHIFTING, 1)
    assert [entry[:2] for entry in table(world)] == [("A", 1), ("gone", 2), ("A", 2), ("new", 1)]
    assert [entry[3] for entry in table(world)] == [0.333, 1.0, 0.667, 1.0]
    reach(world, Phase.SHIFTING, 2)
    assert [entry[:2] for entry in table(world)] == [("A", 4), ("new", 1)]


def test_old_instances_stand_in_for_new_ones_that_are_ill() -> None:
    """As long as they are there: the table never has less than the step asks for."""
    config = blue_green("ALL_AT_ONCE", TerminationWaitInSeconds=60)
    world = begin((variant("A", 2),), (variant("A", 2),), config)
    reach(world, Phase.BAKING, 1)
    new = [row.id for row in plan.instances(world.endpoint.state.pending)]
    world.engine[new[0]] = Seen(present=True)
    world.publish()
    assert table(world) == [("A", 1, 0.5, 0.5), ("A", 1, 0.5, 0.5)]
    world.engine[new[1]] = Seen(present=True)
    world.publish()
    assert table(world) == [("A", 2, 1.0, 1.0)]


@pytest.mark.parametrize("step", [1, 2])
def test_an_alarm_in_a_bake_gives_all_traffic_back_at_once(step: int) -> None:
    """In one write and one table; the reason names the alarm and the step."""
    config = blue_green("CANARY", 5, CanarySize=size(1), TerminationWaitInSeconds=5) | ALARMED
    world = begin((variant("A", 2),), (variant("A", 2),), config)
    reach(world, Phase.BAKING, step)
    world.alarms = frozenset({"errors", "other"})
    live_moment(world)
    assert world.endpoint.status is Status.ROLLING_BACK
    assert table(world) == [("A", 2, 1.0, 1.0)]
    settle(world)
    state = world.endpoint.state
    assert state.failure_reason == f"The alarm errors was in ALARM while step {step} of 2 of the update baked."
    assert state.active is not None
    assert (world.endpoint.status, state.active.revision) == (Status.IN_SERVICE, 1)


def test_alarms_matter_only_while_something_bakes() -> None:
    """Not while new instances start. One that fires from the beginning ends the update with its first bake, though
    that takes no time at all."""
    world = begin((variant("A"),), (variant("A"),), ALARMED)
    world.alarms = frozenset({"errors"})
    reach(world, Phase.SHIFTING, 1)
    assert rollout.watched(world.endpoint.state) == frozenset()
    reach(world, Phase.BAKING, 1)
    assert rollout.watched(world.endpoint.state) == {"errors", "slow"}
    live_moment(world)
    assert world.endpoint.status is Status.ROLLING_BACK


def test_an_update_that_takes_too_long_is_rolled_back() -> None:
    """Also when nothing happens any more: the planner says when it has to be asked again."""
    config = blue_green("ALL_AT_ONCE", MaximumExecutionTimeoutInSeconds=600)
    world = begin((variant("A"),), (variant("A"),), config)
    live_moment(world, "engine sleeps")
    started = world.now
    assert world.decision is not None
    assert world.decision.again_at == started + 600
    world.now = started + 599.5
    live_moment(world, "engine sleeps")
    assert world.endpoint.status is Status.ROLLING_BACK
    assert world.endpoint.state.failure_reason == (
        "The update took longer than 600 seconds (MaximumExecutionTimeoutInSeconds)."
    )


def test_the_planner_says_when_a_bake_ends() -> None:
    """And looks at alarms in between."""
    world = begin((variant("A"),), (variant("A"),), blue_green("CANARY", 60, CanarySize=size(1)))
    reach(world, Phase.BAKING, 1)
    state = world.endpoint.state
    assert state.rollout is not None
    assert rollout.again_at(state, world.now) == rollout.bakes_until(state) == state.rollout.since + 60
    assert state.pending is not None
    watching = replace(state, pending=replace(state.pending, deployment_config=ALARMED))
    assert rollout.again_at(watching, 100.0) == 100.0 + rollout.ALARM_INTERVAL


def test_a_clock_that_was_put_back_does_not_hold_up_an_update() -> None:
    """The step bakes anew, by the clock as it is now."""
    world = begin((variant("A"),), (variant("A"),), blue_green("CANARY", 5, CanarySize=size(1)))
    reach(world, Phase.BAKING, 1)
    world.now -= 1e6
    settle(world)
    assert world.endpoint.status is Status.IN_SERVICE
    assert world.now < 100


def test_a_rolling_update_goes_back_by_batches() -> None:
    """Old instances are started again, and new ones go only when these take traffic."""
    config = rolling(size(1), RollbackMaximumBatchSize=size(2)) | ALARMED
    world = begin((variant("A", 4),), (variant("A", 4),), config)
    reach(world, Phase.BAKING, 3)
    world.alarms = frozenset({"errors"})
    sizes = []
    for _ in range(12):
        live_moment(world)
        sizes.append([entry[1] for entry in table(world)])
    assert [each for each, after in zip(sizes, [*sizes[1:], []], strict=True) if each != after] == [
        [2, 3],
        [2, 2],
        [4, 2],
        [4],
    ]
    settle(world)
    assert world.endpoint.status is Status.IN_SERVICE


def test_a_rolling_update_of_which_nothing_was_let_go_goes_back_at_once() -> None:
    """In its first batch the old fleet is whole."""
    world = begin((variant("A", 4),), (variant("A", 4),), rolling(size(1)) | ALARMED)
    reach(world, Phase.BAKING, 1)
    world.alarms = frozenset({"slow"})
    live_moment(world)
    assert table(world) == [("A", 4, 1.0, 1.0)]


def test_a_mix_shares_a_variants_calls_as_its_instances_are_shared() -> None:
    """After a rollback that failed: two entries of one name, together with the weight of one."""
    world = begin((variant("A", 3, weight=2),), (variant("A", 3, weight=2),), rolling(size(1)) | ALARMED)
    reach(world, Phase.BAKING, 2)
    first = {row.id for row in plan.instances(world.endpoint.state.active)}
    world.alarms = frozenset({"errors"})
    while world.endpoint.status is not Status.UPDATE_ROLLBACK_FAILED:
        live_moment(world)
        for row in plan.instances(world.endpoint.state.active) if world.endpoint.state.rollout else ():
            if row.id not in first:
                world.engine[row.id] = Seen(overdue=True, failure="no space left")
    world.publish()
    assert table(world) == [("A", 2, 1.0, 0.5), ("A", 2, 1.0, 0.5)]


def test_shadows_are_started_like_others_and_get_copies_alone() -> None:
    """They have no part in weights; while traffic shifts, each side's shadow gets its part of the copies."""
    shadow = replace(variant("S", 1, weight=0.5), shadow=True)
    world = begin((variant("A"), shadow), (variant("A"), shadow), blue_green("CANARY", 9, CanarySize=percent(20)))
    assert world.table is not None
    assert [(each.variant.name, each.share) for each in world.table.shadows] == [("S", 0.5)]
    assert table(world) == [("A", 1, 1.0, 1.0)]
    reach(world, Phase.BAKING, 1)
    assert [round(each.share, 3) for each in world.table.shadows] == [0.4, 0.1]
    assert table(world) == [("A", 1, 0.8, 0.8), ("A", 1, 0.2, 0.2)]
    settle(world)
    assert world.endpoint.status is Status.IN_SERVICE


def test_new_weights_do_not_wait_for_new_instances() -> None:
    """What a scale-out adds joins one by one; the weights are in the table from the first moment."""
    world = start(variant("A", 1, weight=1), variant("B", 1, weight=1))
    world.want(wanted(1, variant("A", 3, weight=9), variant("B", 1, weight=0)))
    live_moment(world, "engine sleeps")
    assert table(world) == [("A", 1, 9.0, 1.0), ("B", 1, 0.0, 1.0)]
    live_moment(world, "new falls ill")
    added = [row.id for row in plan.instances(world.endpoint.state.pending)]
    world.engine[added[0]] = Seen(present=True, healthy=True)
    world.publish()
    assert table(world) == [("A", 2, 9.0, 1.0), ("B", 1, 0.0, 1.0)]
    settle(world)
    assert table(world) == [("A", 3, 9.0, 1.0), ("B", 1, 0.0, 1.0)]


def test_an_update_that_an_older_version_began_goes_on() -> None:
    """Its row has no steps yet."""
    world = begin((variant("A"),), (variant("A"),), {})
    live_moment(world)
    world.row = replace(world.endpoint, state=replace(world.endpoint.state, rollout=None))
    settle(world)
    state = world.endpoint.state
    assert state.active is not None
    assert (world.endpoint.status, state.active.revision) == (Status.IN_SERVICE, 2)
