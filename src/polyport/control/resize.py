"""New weights and counts of the fleets that there are. Pure functions of the row.

The weights are in the table as soon as the row has them; what a scale-out adds joins instance by instance as it gets
healthy. What is too many leaves once all that was asked for is there.
"""

from collections.abc import Mapping

from msgspec.structs import replace

from polyport.control.scene import Scene, instances
from polyport.domain.endpoints import Deployment, EndpointState, Fleet, Status


def due(active: Deployment, fleet: Fleet) -> int:
    """How many instances a fleet needs beside the active ones."""
    return max(0, fleet.variant.instance_count - len(fleet_of(active, fleet.variant.name).instances))


def fleet_of(deployment: Deployment, variant: str) -> Fleet:
    """The fleet of that variant."""
    return next(fleet for fleet in deployment.fleets if fleet.variant.name == variant)


def joined(state: EndpointState) -> tuple[Fleet, ...]:
    """The active fleets as they take traffic now: during a change by its weights and with what it added."""
    if state.active is None or state.pending is None or not state.is_resizing:
        return state.active.fleets if state.active else ()
    added: Mapping[str, Fleet] = {fleet.variant.name: fleet for fleet in state.pending.fleets}
    return tuple(_join(fleet, added.get(fleet.variant.name, fleet)) for fleet in state.active.fleets)


def give_up(state: EndpointState, reason: str) -> EndpointState:
    """What was added goes; weights and counts are what they were."""
    if not reason or not state.is_resizing:
        return state
    retired = state.retired + instances(state.pending)
    return replace(state, status=Status.ROLLING_BACK, pending=None, retired=retired, failure_reason=reason)


def advance(scene: Scene, state: EndpointState) -> EndpointState:
    """Once all that was added is healthy, what is too many leaves: unhealthy and young instances first."""
    if state.active is None or not state.is_resizing or not scene.are_healthy(instances(state.pending)):
        return state
    fleets, surplus = [], state.retired
    for fleet in joined(state):
        rows = tuple(sorted(fleet.instances, key=lambda row: (not scene.see(row).healthy, row.created_at)))
        count = fleet.variant.instance_count
        fleets.append(replace(fleet, instances=rows[:count]))
        surplus += rows[count:]
    return replace(state, active=replace(state.active, fleets=tuple(fleets)), pending=None, retired=surplus)


def _join(fleet: Fleet, added: Fleet) -> Fleet:
    if added is fleet:
        return fleet
    return replace(fleet, variant=added.variant, instances=fleet.instances + added.instances)
