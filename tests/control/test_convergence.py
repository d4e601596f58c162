"""The planner comes to what is wanted from any mixture of desired and observed."""

import hypothesis.strategies as st
from hypothesis import given, settings
from msgspec.structs import replace

from control.values import deployment, endpoint, fleet, images, new_ids, wanted
from control.world import PROFILE, World, counts, obey, variant_sets
from polyport.control import plan, routes
from polyport.control.plan import Seen
from polyport.domain.endpoints import Endpoint, EndpointState, InstanceRow, Status, Variant, Wanted


@st.composite
def mixtures(draw: st.DrawFn) -> tuple[Endpoint, dict[str, Seen]]:
    """Any row that the reconciler may have written, and anything seen of its instances."""
    status = draw(st.sampled_from(sorted(set(Status) - {Status.UPDATE_ROLLBACK_FAILED})))
    old, new = draw(variant_sets), draw(variant_sets)
    settled = 0 if status is Status.CREATING else 1
    what, state = wanted(1, *old), EndpointState(status=status, settled=settled)
    active = deployment(1, *(fleet(each, *new_ids(each.instance_count)) for each in old))
    if status is Status.CREATING:
        part = draw(st.sampled_from(["nothing", "pending", "active"]))
        state = replace(state, active=active if part == "active" else None)
        state = replace(state, pending=_partly(draw, active) if part == "pending" else None)
    elif status in {Status.IN_SERVICE, Status.SYSTEM_UPDATING, Status.ROLLING_BACK}:
        state = replace(state, active=active)
        if status is Status.IN_SERVICE and draw(st.booleans()):
            what = wanted(2, *new)
    elif status is Status.UPDATING:
        what, state = _updating(draw, state, old, new)
    elif status is Status.DELETING or draw(st.booleans()):
        what = replace(what, deleted=True)
    generation = settled + (
        what.revision > 1 or what.deleted or settled == 0 or status in {Status.UPDATING, Status.ROLLING_BACK}
    )
    if status is not Status.FAILED or what.deleted:
        leaving = tuple(InstanceRow(key, 1.0, "A") for key in new_ids(draw(counts)))
        state = replace(state, retired=leaving)
    if status is Status.FAILED or status is Status.ROLLING_BACK:
        state = replace(state, failure_reason="it did not do")
    row = endpoint(what, state, generation=generation)
    return row, {each.id: draw(sights) for each in plan.all_instances(state)}


def _updating(
    draw: st.DrawFn, state: EndpointState, old: tuple[Variant, ...], new: tuple[Variant, ...]
) -> tuple[Wanted, EndpointState]:
    """Mid-way in an update: to new fleets or to other counts, before or after the switch."""
    active = deployment(1, *(fleet(each, *new_ids(each.instance_count)) for each in old))
    if draw(st.booleans()):
        pending = deployment(2, *(fleet(each, *new_ids(each.instance_count)) for each in new))
        if draw(st.booleans()):
            return wanted(2, *new), replace(state, active=pending)
        return wanted(2, *new), replace(state, active=active, pending=_partly(draw, pending))
    scaled = tuple(replace(each, instance_count=draw(counts)) for each in old)
    more = [max(0, now.instance_count - before.instance_count) for before, now in zip(old, scaled, strict=True)]
    pending = deployment(1, *(fleet(each, *new_ids(extra)) for each, extra in zip(scaled, more, strict=True)))
    return wanted(1, *scaled), replace(state, active=active, pending=pending)


def _partly(draw: st.DrawFn, whole: plan.Deployment) -> plan.Deployment:
    """A pending deployment that may not have its images or instances yet."""
    if draw(st.booleans()):
        return whole
    return replace(whole, fleets=tuple(replace(each, images=(), instances=()) for each in whole.fleets))


sights = st.builds(
    Seen,
    present=st.booleans(),
    stopping=st.booleans(),
    healthy=st.booleans(),
    failure=st.sampled_from(["", "", "exited with code 3"]),
    overdue=st.booleans(),
).map(
    lambda seen: replace(
        seen,
        stopping=seen.stopping and seen.present,
        healthy=seen.healthy and seen.present and not seen.stopping,
        failure=seen.failure or "too late" * seen.overdue,
    )
)


def converge(world: World, becomes: Seen) -> list[Status]:
    """Let the world be kind, but for what new containers become. Returns the statuses on the way."""
    statuses = []
    kept = set(world.engine)
    for _ in range(12):
        if world.row is None:
            return statuses
        decision = world.step()
        statuses.append(world.row.status if world.row else Status.DELETING)
        for asked, each in decision.resolve:
            world.resolved[asked.revision, each.variant.name] = images(each.variant)
        if world.row is not None:
            obey(world)
        old = {row.id for row in plan.instances(world.row.state.active)} if world.row else set()
        for key, seen in world.engine.items():
            if not seen.stopping:
                world.engine[key] = Seen(present=True, healthy=True) if key in kept or key in old else becomes
        world.acknowledge()
        world.calls.clear()
    return statuses


@given(mixtures())
@settings(PROFILE, max_examples=400)
def test_from_any_mixture_a_kind_world_comes_to_what_is_wanted(mixture: tuple[Endpoint, dict[str, Seen]]) -> None:
    """Engine obeys, containers get healthy, gateways acknowledge: InService with exact counts, or gone, or Failed for
    a reason that was there before, within a bounded number of steps."""
    row, seen = mixture
    world = World(row, seen)
    converge(world, Seen(present=True, healthy=True))
    if row.wanted.deleted:
        assert world.row is None
        assert not world.engine
        return
    end = world.endpoint
    if end.status is Status.FAILED:
        assert row.state.status is Status.FAILED or any(each.failure for each in seen.values())
        assert not world.engine
        return
    assert end.status is Status.IN_SERVICE
    assert end.state.settled == end.generation
    active = end.state.active
    assert active is not None
    if not end.state.failure_reason:
        assert {each.variant.name: len(each.instances) for each in active.fleets} == {
            each.name: each.instance_count for each in row.wanted.variants
        }
        assert active.revision == row.wanted.revision
    assert all(len(each.instances) == each.variant.instance_count for each in active.fleets)
    assert set(world.engine) == {each.id for each in plan.instances(active)}
    assert routes.live_ids(world.served) == set(world.engine)


@given(mixtures())
@settings(PROFILE, max_examples=400)
def test_when_new_containers_always_fail_the_old_fleet_stays_or_the_endpoint_fails(
    mixture: tuple[Endpoint, dict[str, Seen]],
) -> None:
    """A world whose new containers never get healthy ends in Failed, or back at the old fleet, never in between."""
    row, seen = mixture
    world = World(row, seen)
    statuses = converge(world, Seen(present=True, failure="exited with code 1", overdue=True))
    if world.row is None:
        assert row.wanted.deleted
        return
    end = world.endpoint
    assert end.status in {Status.IN_SERVICE, Status.FAILED}
    assert end.state.pending is None
    assert not end.state.retired
    if row.state.status in {Status.IN_SERVICE, Status.ROLLING_BACK}:
        assert Status.FAILED not in statuses
    if row.state.pending is not None and row.state.active is None:
        ready = all(seen[each.id].present for each in plan.instances(row.state.pending))
        assert end.status is Status.FAILED or (ready and plan.instances(row.state.pending))
