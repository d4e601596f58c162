"""``VariantStatus``: the documented messages, and what is waited for."""

from typing import Any

import pytest
from msgspec.structs import replace

from control.test_strategy import blue_green, rolling, size
from control.values import deployment, endpoint, fleet, variant, wanted
from polyport.control import activity, strategy
from polyport.domain.endpoints import EndpointState, Fleet, InstanceRow, Phase, Rollout, Status

ONE, TWO = variant("A", 1), variant("A", 2)
OLD = deployment(1, fleet(ONE, "i-1"))


def describe(
    state: EndpointState, healthy: tuple[str, ...] = (), hints: tuple[str, ...] = (), fetching: tuple[str, ...] = ()
) -> dict[str, list[activity.Activity]]:
    row = endpoint(wanted(1, ONE), state)
    sources = activity.Sources(
        lambda each: each in healthy, lambda each: 5.0, lambda each: list(hints), lambda _: list(fetching)
    )
    return activity.describe(row, sources)


def test_nothing_is_told_of_an_endpoint_at_rest() -> None:
    """In service, and well."""
    assert describe(EndpointState(status=Status.IN_SERVICE, active=OLD), ("i-1",)) == {}


def test_who_is_ill_is_told_with_the_cause_though_the_endpoint_is_in_service() -> None:
    """From the moment on that it takes no calls, long before anybody decides to replace it."""
    state = EndpointState(status=Status.IN_SERVICE, active=deployment(1, fleet(TWO, "i-1", "i-2")))
    message = "1 instance(s) take no calls. one: It exited with code 1."
    assert describe(state, ("i-1",), hints=("one: It exited with code 1.",)) == {"A": [("Updating", message, 5.0)]}


def test_a_successor_that_does_not_run_yet_is_not_ill() -> None:
    """It is part of the replacement, which is told of."""
    rows = (InstanceRow("i-1", 1.0, "A", condemned="it hangs.", condemned_at=7.0), InstanceRow("i-2", 7.0, "A"))
    state = EndpointState(status=Status.IN_SERVICE, active=replace(OLD, fleets=(Fleet(ONE, rows),)))
    assert describe(state) == {"A": [("Updating", "Replacing 1 instance(s): it hangs.", 7.0)]}


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


BAKES = {
    "canary": (
        blue_green("CANARY", 60, CanarySize=size(1), TerminationWaitInSeconds=9),
        (1, "Baking for 60 seconds (WaitIntervalInSeconds) with traffic enabled on canary capacity of 1 instance(s)."),
        (
            2,
            "Baking for 9 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity of 4 instance(s).",
        ),
    ),
    "linear": (
        blue_green("LINEAR", 60, LinearStepSize=size(2)),
        (1, "Baking for 60 seconds (WaitIntervalInSeconds) with traffic enabled on partial capacity of 2 instance(s)."),
        (
            2,
            "Baking for 0 seconds (TerminationWaitInSeconds) with traffic enabled on full capacity of 4 instance(s).",
        ),
    ),
    "rolling": (
        rolling(size(2)),
        (1, "Baking for 7 seconds (WaitIntervalInSeconds) with traffic enabled on partial capacity of 2 instance(s)."),
        (2, "Baking for 7 seconds (WaitIntervalInSeconds) with traffic enabled on full capacity of 4 instance(s)."),
    ),
}


def stepping(phase: Phase, step: int, config: dict[str, Any]) -> EndpointState:
    """In the middle of an update of four instances to four."""
    four = replace(
        deployment(2, fleet(variant("A", 4), "i-2", "i-3", "i-4", "i-5")), started_at=5.0, deployment_config=config
    )
    old = deployment(1, fleet(variant("A", 4), "i-1", "i-6", "i-7", "i-8"))
    rollout = Rollout(strategy.kind(config), phase, 8.0, strategy.shares(config, old, four), step)
    return EndpointState(status=Status.UPDATING, active=old, pending=four, rollout=rollout)


@pytest.mark.parametrize("kind", BAKES)
def test_a_step_says_what_it_bakes_and_for_how_long(kind: str) -> None:
    """SageMaker's messages; the full capacity of blue/green bakes TerminationWaitInSeconds."""
    config, *steps = BAKES[kind]
    for step, message in steps:
        state = stepping(Phase.BAKING, step, config)
        assert describe(state, ("i-2", "i-3", "i-4", "i-5")) == {"A": [("Baking", message, 8.0)]}


def test_a_step_says_what_it_activates() -> None:
    """Until every gateway worker goes by it."""
    config = BAKES["canary"][0]
    healthy = ("i-2", "i-3", "i-4", "i-5")
    for step, capacity in ((1, "canary capacity of 1"), (2, "full capacity of 4")):
        message = f"Activating traffic on {capacity} instance(s)."
        assert describe(stepping(Phase.SHIFTING, step, config), healthy) == {"A": [("ActivatingTraffic", message, 8.0)]}


def test_a_bake_says_which_alarms_are_watched() -> None:
    """In the order of the alphabet; nothing without alarms."""
    alarms = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "slow"}, {"AlarmName": "errors"}]}}
    state = stepping(Phase.BAKING, 1, BAKES["canary"][0] | alarms)
    [(_, message, _)] = describe(state, ("i-2", "i-3", "i-4", "i-5"))["A"]
    assert message.endswith("instance(s). Watching alarms: errors, slow.")


def test_a_new_instance_that_falls_ill_in_a_bake_is_told_beside_it() -> None:
    """The bake does not end without it."""
    state = stepping(Phase.BAKING, 1, BAKES["canary"][0])
    told = describe(state, ("i-2", "i-3", "i-4"), hints=("one: /ping answered 500",))["A"]
    assert [status for status, _, _ in told] == ["Updating", "Baking"]
    assert told[0][1] == "Launching 1 instance(s). one: /ping answered 500"


def test_the_way_back_of_a_rolling_update_launches_old_instances() -> None:
    """Updating, on the variants that take traffic again, since the update turned back."""
    state = stepping(Phase.RETURNING, 0, BAKES["rolling"][0])
    state = replace(state, status=Status.ROLLING_BACK)
    assert describe(state, ("i-1", "i-6", "i-2", "i-3", "i-4", "i-5")) == {
        "A": [("Updating", "Launching 2 instance(s).", 8.0)]
    }
