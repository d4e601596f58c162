"""Where everything ends up."""

from typing import TYPE_CHECKING

from polyport.domain.endpoints import AT_REST, Status
from simulation.rules.facts import need, tell, wanted

if TYPE_CHECKING:
    from simulation.world import World


def everything_comes_to_rest(world: "World") -> None:
    """Once faults stop, every endpoint comes to rest within a bounded time, and so does everything around it."""
    for row in world.store.rows.values():
        need(row.status in {*AT_REST, Status.FAILED}, "still under way: %s", tell(row))
        need(not row.state.retired, "instances are left over: %s", tell(row))
    need(world.control is not None and world.control.is_up, "control is not up")
    for instance in wanted(world):
        running = world.machine.running.get(instance)
        is_well = running is not None and running.well_since is not None
        need(is_well and world.is_healthy(instance), "%s is not well, or control does not know it yet", instance)


def what_runs_is_what_rows_want(world: "World") -> None:
    """No instance is left over, none is missing, no orphan; every gateway sends calls to exactly these."""
    due, running = wanted(world), set(world.machine.running)
    need(due == running, "wanted are %s, running are %s", sorted(due), sorted(running))
    for gateway in world.gateways:
        need(gateway.live == due, "%s serves %s, wanted are %s", gateway.name, sorted(gateway.live), sorted(due))


def every_endpoint_is_as_last_wanted(world: "World") -> None:
    """InService as it was last asked for, or with the reason why not; Failed with nothing left; deleted if it was
    asked for."""
    for row in world.store.rows.values():
        state = row.state
        need(not row.wanted.deleted, "%s should be gone", row.name)
        need(row.generation == world.store.asked[row.id], "what was asked for is lost: %s", tell(row))
        need(state.pending is None and state.rollout is None, "something is pending: %s", tell(row))
        if row.status is Status.FAILED:
            continue
        need(state.active is not None and state.settled == row.generation, "not settled: %s", tell(row))
        fleets = state.active.fleets if state.active else ()
        need(all(len(each.instances) == each.variant.instance_count for each in fleets), "counts: %s", tell(row))
        condemned = [each.id for fleet in fleets for each in fleet.instances if each.condemned]
        need(not condemned, "%s are still to be replaced", condemned)
        counts = sorted((each.name, each.instance_count) for each in row.wanted.variants)
        as_asked = state.active and state.active.revision == row.wanted.revision
        as_asked = as_asked and counts == sorted((each.variant.name, each.variant.instance_count) for each in fleets)
        need(as_asked or state.failure_reason, "not as it was asked for, and no reason: %s", tell(row))


def no_error_is_lost(world: "World") -> None:
    """Nothing raises what nobody expects."""
    need(not world.errors, "%s", "\n".join(world.errors))


END = (everything_comes_to_rest, what_runs_is_what_rows_want, every_endpoint_is_as_last_wanted, no_error_is_lost)
