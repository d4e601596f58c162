"""How many instances of which fleet take traffic, and which share of it is the new fleets': from the row alone. Pure.

The planner starts and ends instances by these numbers, and `routes` fills the table by them.
"""

import math

from polyport.domain.endpoints import Deployment, EndpointState, Fleet, Phase, Rollout, Strategy


def share(rollout: Rollout | None) -> float:
    """The new fleets' share of the traffic, as long as it does not go by counts."""
    return rollout.shares[rollout.step - 1] if rollout and rollout.step else 0.0


def goes_by_counts(rollout: Rollout) -> bool:
    """Whether a variant's traffic is shared as its instances are, old and new: in a rolling update."""
    return rollout.strategy is Strategy.ROLLING


def taken(state: EndpointState, fleet: Fleet) -> int:
    """How many instances of a new fleet are to take traffic."""
    rollout = state.rollout
    if rollout is None:
        return 0
    if rollout.phase is Phase.RETURNING:
        return len(fleet.instances)
    return _part(rollout, fleet, share(rollout), alone=not _is_in(state.active, fleet))


def kept(state: EndpointState, fleet: Fleet) -> int:
    """How many instances of an old fleet are to take traffic."""
    rollout, count = state.rollout, fleet.variant.instance_count
    if rollout is None or rollout.phase is Phase.RETURNING:
        return len(fleet.instances)
    left = 1 - share(rollout)
    if rollout.strategy in {Strategy.ALL_AT_ONCE, Strategy.CANARY} or not _is_in(state.pending, fleet):
        # The whole of it until the last step.
        return len(fleet.instances) if left > 0 else 0
    return part(count, left)


def due(state: EndpointState, fleet: Fleet) -> int:
    """How many instances of a new fleet there should be: those of the next batch, or all of them."""
    rollout, count = state.rollout, fleet.variant.instance_count
    if rollout is None or rollout.strategy is not Strategy.ROLLING:
        return count
    if rollout.phase is Phase.RETURNING:
        return len(fleet.instances)
    step = rollout.step - (rollout.phase is not Phase.LAUNCHING)
    return _part(rollout, fleet, rollout.shares[step], alone=not _is_in(state.active, fleet))


def due_back(state: EndpointState, fleet: Fleet) -> int:
    """How many instances of an old fleet the next batch of a rollback needs."""
    rollout, count = state.rollout, fleet.variant.instance_count
    if rollout is None or rollout.phase is not Phase.RETURNING:
        return len(fleet.instances)
    return max(len(fleet.instances), part(count, 1 - rollout.shares[rollout.step]))


def part(count: int, of_it: float) -> int:
    """That part of so many instances, rounded up: capacity is never less than traffic."""
    return math.ceil(count * of_it - 1e-9)


def _part(rollout: Rollout, fleet: Fleet, of_it: float, *, alone: bool) -> int:
    """A variant that is new comes whole with the first batch of a rolling update."""
    count = fleet.variant.instance_count
    if rollout.strategy is Strategy.ROLLING and alone:
        return count if of_it > 0 else 0
    return part(count, of_it)


def _is_in(deployment: Deployment | None, fleet: Fleet) -> bool:
    return any(fleet.variant.name == other.variant.name for other in (deployment.fleets if deployment else ()))
