"""``VariantStatus``: the documented messages, and what is waited for."""

from msgspec.structs import replace

from control.values import deployment, endpoint, fleet, variant, wanted
from polyport.control import activity
from polyport.domain.endpoints import EndpointState, Fleet, InstanceRow, Status

ONE, TWO = variant("A", 1), variant("A", 2)
OLD = deployment(1, fleet(ONE, "i-1"))


def describe(
    state: EndpointState, healthy: tuple[str, ...] = (), hints: tuple[str, ...] = (), fetching: tuple[str, ...] = ()
) -> dict[str, list[activity.Activity]]:
    row = endpoint(wanted(1, ONE), state)
    sources = activity.Sources(lambda each: each in healthy, lambda each: list(hints), lambda _: list(fetching))
    return activity.describe(row, sources)


def test_nothing_is_told_of_an_endpoint_at_rest() -> None:
    """In service, with or without a container that is just ill."""
    assert describe(EndpointState(status=Status.IN_SERVICE, active=OLD), ("i-1",)) == {}
    assert describe(EndpointState(status=Status.IN_SERVICE, active=OLD)) == {}


def test_an_instance_that_is_replaced_is_told_of_with_the_reason() -> None:
    """Since when, and why, though the endpoint is InService."""
    row = InstanceRow("i-1", 1.0, "A", condemned="container one fell ill 5 times.", condemned_at=7.0)
    active = replace(OLD, fleets=(Fleet(ONE, (row, InstanceRow("i-2", 7.0, "A"))),))
    state = EndpointState(status=Status.IN_SERVICE, active=active)
    message = "Replacing 1 instance(s): container one fell ill 5 times."
    assert describe(state, ("i-1",)) == {"A": [("Updating", message, 7.0)]}


def test_a_new_endpoint_launches_its_instances() -> None:
    """How many are missing, from the first moment, when not even the images are known."""
    unresolved = deployment(1, Fleet(TWO))
    assert describe(EndpointState(pending=unresolved)) == {"A": [("Creating", "Launching 2 instance(s).", 1.0)]}
    half = EndpointState(pending=deployment(1, fleet(TWO, "i-1", "i-2")))
    assert describe(half, ("i-1",)) == {"A": [("Creating", "Launching 1 instance(s).", 1.0)]}
    assert describe(half, ("i-1", "i-2")) == {}


def test_what_is_waited_for_stands_behind_the_message() -> None:
    """Nobody has to guess why it takes so long; and it is cut at SageMaker's limit."""
    state = EndpointState(pending=deployment(1, fleet(ONE, "i-1")))
    assert describe(state, hints=("one: /ping answered 500", "two: starting"))["A"][0][1] == (
        "Launching 1 instance(s). one: /ping answered 500; two: starting"
    )
    assert len(describe(state, hints=("x" * 5000,))["A"][0][1]) == activity.LIMIT


def test_what_is_fetched_is_told_before_there_is_an_instance() -> None:
    """An image of gigabytes takes minutes: the message says how far it is. At rest nothing is told of it."""
    unresolved = EndpointState(pending=deployment(1, Fleet(ONE)))
    pulling = ("Pulling big:1: 3.0 of 9.0 MB",)
    message = "Launching 1 instance(s). Pulling big:1: 3.0 of 9.0 MB"
    assert describe(unresolved, fetching=pulling) == {"A": [("Creating", message, 1.0)]}
    assert describe(EndpointState(status=Status.IN_SERVICE, active=OLD), ("i-1",), fetching=pulling) == {}


def test_an_update_launches_beside_the_old_fleet() -> None:
    """Updating, not Creating, once there is an active fleet."""
    state = EndpointState(status=Status.UPDATING, active=OLD, pending=deployment(2, fleet(TWO, "i-2", "i-3")))
    assert describe(state, ("i-1",)) == {"A": [("Updating", "Launching 2 instance(s).", 1.0)]}


def test_a_change_of_counts_scales_out() -> None:
    """The documented message names the count that is wanted in the end."""
    state = EndpointState(status=Status.UPDATING, active=OLD, pending=deployment(1, fleet(TWO, "i-2")))
    assert describe(state, ("i-1",)) == {"A": [("Updating", "Scaling out desired instance count to 2.", 1.0)]}


def test_a_change_of_weights_launches_nothing() -> None:
    """Nor does a scale-in."""
    state = EndpointState(status=Status.UPDATING, active=OLD, pending=deployment(1, fleet(ONE)))
    assert describe(state, ("i-1",)) == {}


def test_retired_instances_are_terminating() -> None:
    """Counted by variant, beside what else goes on there."""
    leaving = tuple(InstanceRow(f"i-{number}", 1.0, "A") for number in range(3))
    state = EndpointState(status=Status.UPDATING, active=OLD, retired=leaving)
    assert describe(state, ("i-1",)) == {"A": [("Deleting", "Terminating 3 instance(s).", 1.0)]}
    state = replace(state, pending=deployment(2, fleet(ONE, "i-9")))
    assert [each[0] for each in describe(state, ("i-1",))["A"]] == ["Updating", "Deleting"]


def test_after_a_restart_of_the_machine_what_is_missing_is_launched() -> None:
    """SystemUpdating says what it waits for, too."""
    state = EndpointState(status=Status.SYSTEM_UPDATING, active=OLD)
    assert describe(state, hints=("being prepared",)) == {
        "A": [("Updating", "Launching 1 instance(s). being prepared", 1.0)]
    }


def test_a_variant_without_instances_launches_none() -> None:
    """A count of zero is no work."""
    assert describe(EndpointState(pending=deployment(1, Fleet(variant("A", 0))))) == {}
