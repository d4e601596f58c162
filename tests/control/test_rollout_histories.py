"""Updates of every kind in a world where things go wrong at bad moments. `test_plan` has the rules for each step."""

from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from msgspec.structs import replace

from control.test_plan import (
    check_actions,
    check_capacity,
    check_forgotten,
    check_rollout,
    check_traffic,
    check_transition,
)
from control.values import deployment, endpoint, fleet, images, new_ids, wanted
from control.world import PROFILE, World, deployment_configs, obey, variant_sets
from polyport.control import plan, routes
from polyport.control.plan import Seen
from polyport.domain.endpoints import AT_REST, EndpointState, Phase, Status, Variant

WELL = Seen(present=True, healthy=True)
#: What may befall the world in one moment; most moments are quiet.
EVENTS = [
    "new falls ill",
    "new fails",
    "old falls ill",
    "old is lost",
    "old cannot come back",
    "alarm",
    "calm",
    "no acknowledgement",
    "gateway away",
    "crash before",
    "crash after",
    "engine sleeps",
    "calls go on",
]
histories = st.lists(st.just("") | st.just("") | st.sampled_from(EVENTS), max_size=40)


def start(*old: Variant) -> World:
    """An endpoint in service."""
    active = deployment(1, *(fleet(each, *new_ids(each.instance_count)) for each in old))
    row = endpoint(wanted(1, *old), EndpointState(status=Status.IN_SERVICE, settled=1, active=active))
    return World(row, {each.id: WELL for each in plan.instances(active)})


def live_moment(world: World, event: str = "", checks: bool = True) -> None:
    """One step of the planner, then everything around it does what it should, but for the event."""
    befall(world, event)
    before = world.endpoint
    seen = {row.id: world.see(row.id) for row in world.rows()}
    decision = world.step({"crash before": "before the write", "crash after": "after the write"}.get(event, ""))
    after = replace(before, state=decision.state)
    if checks:
        check_transition(before, after)
        check_actions(decision, seen)
        check_forgotten(before, after, seen)
        check_traffic(before, after, seen)
        check_rollout(before, after, seen)
    for asked, each in decision.resolve:
        world.resolved[asked.revision, each.variant.name] = images(each.variant)
    if event != "engine sleeps" and world.decision is decision:
        obey(world)
        for key, known in world.engine.items():
            if not known.stopping and not known.failure and not known.healthy and event != "new falls ill":
                world.engine[key] = WELL
    known_rows = {row.id for row in world.rows()}
    for key in [key for key, each in world.engine.items() if not each.present and key not in known_rows]:
        del world.engine[key]
    if event != "no acknowledgement":
        world.acknowledge()
    if event != "calls go on":
        world.calls.clear()
    world.publish()
    check_capacity(world)


def befall(world: World, event: str) -> None:
    """The event, if there is somebody for it to happen to."""
    state = world.endpoint.state
    new = [row.id for row in plan.instances(state.pending) if row.id in world.engine]
    old = [row.id for row in plan.instances(state.active)]
    world.connected = event != "gateway away"
    if event in {"alarm", "calm"}:
        world.alarms = frozenset({"errors"} if event == "alarm" else ())
    elif event == "new falls ill" and new:
        world.engine[new[0]] = Seen(present=True)
    elif event == "new fails" and new:
        world.engine[new[-1]] = Seen(present=True, failure="exited with code 1")
    elif event == "old falls ill" and old:
        world.engine[old[0]] = Seen(present=True)
    elif event == "old is lost" and old:
        world.engine.pop(old[-1], None)
    elif event == "old cannot come back" and old and old[-1] not in routes.live_ids(world.served):
        world.engine[old[-1]] = Seen(overdue=True, failure="no space left")
    world.publish()


def heal(world: World) -> None:
    """Nothing is wrong any more."""
    world.alarms = frozenset()
    for key, seen in world.engine.items():
        if not seen.stopping:
            world.engine[key] = WELL


def settle(world: World) -> None:
    """Quiet moments until the endpoint rests; there is an end to them."""
    for _ in range(120):
        heal(world)
        live_moment(world)
        state = world.endpoint.state
        healing = any(row.condemned for row in plan.instances(state.active))
        if world.endpoint.status in {*AT_REST, Status.FAILED} and not state.retired and not healing:
            return
    raise AssertionError(f"it does not come to rest: {world.endpoint.state}")


@given(variant_sets, variant_sets, deployment_configs, histories)
@settings(PROFILE, max_examples=400)
def test_an_update_ends_with_one_side_whole_whatever_happens(
    old: tuple[Variant, ...], new: tuple[Variant, ...], config: dict[str, Any], history: list[str]
) -> None:
    """All of the new, or all of the old with the reason, or, when a rolling update's way back fails too, a mix that the
    next update replaces. Every rule of the planner holds at every step on the way."""
    world = start(*old)
    world.want(replace(wanted(2, *new), deployment_config=config))
    for event in history:
        live_moment(world, event)
    settle(world)
    if world.endpoint.status is Status.FAILED:
        # The old fleet was let go, and then all of the new one was lost for good.
        assert "old cannot come back" in history
        return
    check_end(world)
    if world.endpoint.status is Status.UPDATE_ROLLBACK_FAILED:
        world.want(wanted(3, *new))
        settle(world)
        assert world.endpoint.status is Status.IN_SERVICE
        check_end(world)


def check_end(world: World) -> None:
    """What runs is what the row says, and all of it takes traffic."""
    state = world.endpoint.state
    assert state.active is not None
    assert state.pending is None
    assert state.rollout is None
    if world.endpoint.status is Status.UPDATE_ROLLBACK_FAILED:
        assert state.active.mixed
    elif state.active.revision != world.endpoint.wanted.revision:
        assert state.failure_reason
    assert all(len(each.instances) == each.variant.instance_count for each in state.active.fleets)
    rows = {row.id for row in plan.instances(state.active)}
    assert set(world.engine) == rows
    assert routes.live_ids(world.served) == rows


@given(variant_sets, variant_sets, deployment_configs)
@settings(PROFILE, max_examples=200)
def test_an_update_in_a_kind_world_succeeds(
    old: tuple[Variant, ...], new: tuple[Variant, ...], config: dict[str, Any]
) -> None:
    """Whatever is added, removed and resized in it; but for one that was given less time than its waits add up to."""
    world = start(*old)
    patient = {
        kind: {name: value for name, value in members.items() if name != "MaximumExecutionTimeoutInSeconds"}
        for kind, members in config.items()
    }
    world.want(replace(wanted(2, *new), deployment_config=patient))
    settle(world)
    state = world.endpoint.state
    assert state.active is not None
    assert (world.endpoint.status, state.active.revision, state.failure_reason) == (Status.IN_SERVICE, 2, "")


rolling = st.builds(
    lambda value, back: {
        "RollingUpdatePolicy": {
            "MaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": value},
            "WaitIntervalInSeconds": 1,
            **({"RollbackMaximumBatchSize": {"Type": "INSTANCE_COUNT", "Value": back}} if back else {}),
        },
        "AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "errors"}]},
    },
    st.integers(1, 2),
    st.integers(0, 2),
)


@given(variant_sets, variant_sets, rolling, st.integers(1, 30), st.booleans())
@settings(PROFILE, max_examples=300)
def test_a_rolling_update_whose_way_back_is_closed_leaves_a_mix_that_serves(
    old: tuple[Variant, ...], new: tuple[Variant, ...], config: dict[str, Any], alarm_after: int, closed: bool
) -> None:
    """An alarm after some batches; old instances that were let go get healthy again, or never do."""
    world = start(*old)
    world.want(replace(wanted(2, *new), deployment_config=config))
    first = {row.id for row in world.rows()}
    for moment in range(60):
        if moment >= alarm_after:
            world.alarms = frozenset({"errors"})
        live_moment(world)
        state = world.endpoint.state
        for row in plan.instances(state.active):
            if closed and state.rollout and state.rollout.phase is Phase.RETURNING and row.id not in first:
                world.engine[row.id] = Seen(overdue=True, failure="no space left")
        world.publish()
    state = world.endpoint.state
    assert state.active is not None
    assert routes.live_ids(world.served) == {row.id for row in plan.instances(state.active)} == set(world.engine)
    if world.endpoint.status is Status.UPDATE_ROLLBACK_FAILED:
        assert closed
        assert "The rollback failed too: no space left" in state.failure_reason
        world.alarms = frozenset()
        world.want(replace(wanted(3, *new), deployment_config=config))
        settle(world)
    assert world.endpoint.status is Status.IN_SERVICE
    check_end(world)
