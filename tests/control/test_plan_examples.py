"""The planner, by example."""

from msgspec.structs import replace

from control.values import deployment, endpoint, fleet, images, new_id, new_ids, variant, wanted
from polyport.control import failure, plan
from polyport.control.plan import Seen
from polyport.domain.endpoints import Endpoint, EndpointState, Status, Variant


def _settled(*variants: Variant) -> Endpoint:
    active = deployment(1, *(fleet(each, *new_ids(each.instance_count)) for each in variants))
    return endpoint(wanted(1, *variants), EndpointState(status=Status.IN_SERVICE, settled=1, active=active))


def _see(row: Endpoint, **seen: object) -> dict[str, Seen]:
    return {
        each.id: replace(Seen(present=True, healthy=True, routed=True, drained=False), **seen)
        for each in plan.all_instances(row.state)
    }


def test_new_weights_are_in_service_only_once_gateways_have_them() -> None:
    """The step that changes weights does not end the update: the table with them was not acknowledged yet."""
    row = _settled(variant(weight=1.0))
    row = replace(row, wanted=wanted(1, variant(weight=5.0)), generation=2)
    decision = plan.plan(row, _see(row), {}, 1.0, new_id)
    assert decision.state.status is Status.UPDATING
    assert decision.state.active is not None
    assert decision.state.active.fleets[0].variant.weight == 5.0
    row = replace(row, state=decision.state)
    assert plan.plan(row, _see(row, routed=False), {}, 1.0, new_id).state.status is Status.UPDATING
    assert plan.plan(row, _see(row), {}, 1.0, new_id).state.status is Status.IN_SERVICE


def test_an_instance_that_cannot_come_back_does_not_make_the_status_swing() -> None:
    """An absent instance means SystemUpdating until it is overdue; then the others serve and the status rests."""
    row = _settled(variant(instances=2))
    first, second = (each.id for each in plan.all_instances(row.state))
    seen = _see(row) | {second: Seen()}
    row = replace(row, state=plan.plan(row, seen, {}, 1.0, new_id).state)
    assert row.status is Status.SYSTEM_UPDATING
    seen[second] = Seen(overdue=True, failure="no space left")
    for _ in range(3):
        decision = plan.plan(row, seen, {}, 1.0, new_id)
        row = replace(row, state=decision.state)
        assert row.status is Status.IN_SERVICE
        assert [each.id for _, each in decision.apply] == [second]
    assert first in {each.id for each in plan.all_instances(row.state)}


def test_a_rolled_back_endpoint_is_in_service_only_when_invocable() -> None:
    """RollingBack ends once the old fleet is routed by all, and tells why the update failed."""
    row = _settled(variant())
    row = replace(row, generation=2, state=replace(row.state, status=Status.ROLLING_BACK, failure_reason="because"))
    waiting = plan.plan(row, _see(row, routed=False), {}, 1.0, new_id)
    assert waiting.state.status is Status.ROLLING_BACK
    done = plan.plan(row, _see(row), {}, 1.0, new_id).state
    assert (done.status, done.failure_reason, done.settled) == (Status.IN_SERVICE, "because", 2)


def test_a_scale_in_lets_the_unhealthy_and_the_youngest_go() -> None:
    """What is too many leaves: unhealthy instances first, then those that came last."""
    row = _settled(variant(instances=3))
    old = [each.id for each in plan.all_instances(row.state)]
    row = replace(row, wanted=wanted(1, variant(instances=1)), generation=2)
    seen = _see(row) | {old[0]: Seen(present=True, drained=False)}
    state = plan.plan(row, seen, {}, 1.0, new_id).state
    assert [each.id for each in plan.instances(state.active)] == [old[1]]
    assert {each.id for each in state.retired} == {old[0], old[2]}


def test_an_image_that_cannot_be_had_fails_the_endpoint_with_the_reason() -> None:
    """Creating ends in Failed, and nothing was started."""
    row = endpoint(wanted(1, variant("A"), variant("B")))
    row = replace(row, state=plan.plan(row, {}, {}, 1.0, new_id).state)
    decision = plan.plan(row, {}, {(1, "A"): images(variant("A")), (1, "B"): "no image b"}, 2.0, new_id)
    assert decision.state.status is Status.FAILED
    assert decision.state.failure_reason == "no image b"
    assert decision.state.settled == 1
    assert not decision.apply
    assert not decision.resolve


def test_reasons_of_many_instances_fit_into_the_failure_reason() -> None:
    """Each reason is told once, and all together are cut at SageMaker's limit."""
    row = endpoint(wanted(1, variant(instances=3)))
    row = replace(row, state=plan.plan(row, {}, {}, 1.0, new_id).state)
    row = replace(row, state=plan.plan(row, {}, {(1, "A"): images(variant())}, 1.0, new_id).state)
    ids = [each.id for each in plan.all_instances(row.state)]
    seen = {key: Seen(present=True, failure=text * 700) for key, text in zip(ids, "xxy", strict=True)}
    reason = plan.plan(row, seen, {}, 2.0, new_id).state.failure_reason
    assert reason == "x" * 700 + "\n" + "y" * (failure.LIMIT - 701)
