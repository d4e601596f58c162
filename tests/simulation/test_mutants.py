"""The simulation can say no: control is broken on purpose, and a rule says so within a few hundred histories."""

from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from polyport.control import monitor, plan, publish, reconcile, retreat, rollout, routes, traffic
from polyport.control.scene import Scene, Seen
from polyport.domain.endpoints import EndpointState, Status
from simulation import history, play, store

#: Seeds within which each is found; most show at once.
MOST = 600

Break = Callable[[pytest.MonkeyPatch], None]


def stops_what_is_in_use(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan, "_may_go", lambda at, row: at.see(row).present and not at.see(row).stopping)


def forgets_what_is_in_use(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(plan, "_is_over", lambda at, row: True)


def believes_that_all_are_healthy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(monitor.Monitor, "is_healthy", lambda self, instance: True)


def does_not_bake(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollout, "bakes_until", lambda state: 0.0)


def does_not_heed_alarms(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollout, "_alarm", lambda scene, state: "")


def does_not_wait_for_gateways(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(publish.Publisher, "is_routed", lambda self, instance: True)


def gives_no_reason(patch: pytest.MonkeyPatch) -> None:
    begin = retreat.begin
    patch.setattr(retreat, "begin", lambda scene, state, reason: replace(begin(scene, state, ""), failure_reason=""))


def leaves_orphans(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile.Reconciler, "_remove_orphan", lambda self, instance: None)


def acts_before_it_writes(patch: pytest.MonkeyPatch) -> None:
    decide = plan.plan

    def hasty(endpoint: Any, seen: Any, *rest: Any) -> plan.Decision:
        decision = decide(endpoint, seen, *rest)
        is_unwritten = decision.apply and decision.state != endpoint.state and not endpoint.state.active
        return replace(decision, state=endpoint.state) if is_unwritten else decision

    patch.setattr(plan, "plan", hasty)


def lets_old_ones_go_too_early(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(traffic, "kept", lambda state, fleet: 0 if state.rollout else len(fleet.instances))


def shifts_twice_as_much(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(
        traffic,
        "share",
        lambda rollout: min(1.0, 2 * rollout.shares[rollout.step - 1]) if rollout and rollout.step else 0.0,
    )


def begins_another_update_in_the_middle(patch: pytest.MonkeyPatch) -> None:
    begin = plan._begin

    def eager(at: Scene, state: EndpointState) -> EndpointState:
        fresh = begin(at, replace(state, pending=None, rollout=None, status=Status.IN_SERVICE))
        return fresh if state.pending and state.active and at.now - state.pending.started_at > 2 else begin(at, state)

    patch.setattr(plan, "_begin", eager)


def shifts_to_whoever_is_there(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rollout, "_is_launched", lambda scene, state: True)


def forgets_what_a_rollback_replaced(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(retreat, "_end", lambda state: replace(state, pending=None, rollout=None))


def overwrites_what_others_wrote(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(store.Store, "_expect", lambda self, endpoint: None)


def publishes_what_is_retired(patch: pytest.MonkeyPatch) -> None:
    make = routes.route

    def route(endpoint: Any, *rest: Any) -> Any:
        state = endpoint.state
        fleets = state.active.fleets if state.active else ()
        if not fleets:
            return make(endpoint, *rest)
        first = replace(fleets[0], instances=fleets[0].instances + state.retired)
        active = replace(state.active, fleets=(first, *fleets[1:]))
        return make(replace(endpoint, state=replace(state, active=active)), *rest)

    patch.setattr(routes, "route", route)
    patch.setattr(monitor.Monitor, "forget", lambda self, instance: None)


def never_rests(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(reconcile.Reconciler, "_pause", lambda self, endpoint_id, decision: 0.0)


def stumbles(patch: pytest.MonkeyPatch) -> None:
    see = Scene.see

    def fragile(self: Scene, row: Any) -> Seen:
        assert not see(self, row).overdue
        return see(self, row)

    patch.setattr(Scene, "see", fragile)


MUTANTS: list[tuple[Break, str]] = [
    (stops_what_is_in_use, "what_a_gateway_may_use_is_not_stopped"),
    (forgets_what_is_in_use, "what_is_forgotten_is_used_by_nobody"),
    (believes_that_all_are_healthy, "only_what_is_well_is_published"),
    (does_not_bake, "a_step_bakes_in_peace"),
    (does_not_heed_alarms, "a_step_bakes_in_peace"),
    (does_not_wait_for_gateways, "in_service_means_invocable"),
    (gives_no_reason, "a_failure_says_why"),
    (leaves_orphans, "what_runs_is_what_rows_want"),
    (acts_before_it_writes, "a_row_is_there_before_its_instance"),
    (lets_old_ones_go_too_early, "what_is_well_is_published"),
    (shifts_twice_as_much, "shares_add_up"),
    (begins_another_update_in_the_middle, "one_deployment_at_a_time"),
    (shifts_to_whoever_is_there, "a_step_waits_for_its_instances"),
    (forgets_what_a_rollback_replaced, "what_is_forgotten_is_used_by_nobody"),
    (overwrites_what_others_wrote, "every_endpoint_is_as_last_wanted"),
    (publishes_what_is_retired, "only_what_is_wanted_is_published"),
    (never_rests, "everything_comes_to_rest"),
    (stumbles, "no_error_is_lost"),
]


@pytest.mark.parametrize(("mutate", "rule"), MUTANTS, ids=[mutate.__name__ for mutate, _ in MUTANTS])
def test_a_control_that_does_wrong_is_found(monkeypatch: pytest.MonkeyPatch, mutate: Break, rule: str) -> None:
    """By the rule that is meant for it, though others may say no first."""
    mutate(monkeypatch)
    found = set()
    for seed in range(MOST):
        found.add(play.run(history.make(seed)).rule)
        if rule in found:
            return
    raise AssertionError(f"not found by {rule}, but by {found - {''}}")
