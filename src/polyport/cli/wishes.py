"""What an operator of the server may ask of an endpoint beyond SageMaker's operations. Pure: what to write to the row.

All raise `UsageError`, with what to do instead, when the endpoint is not in a state for it.
"""

from typing import Any

from msgspec.structs import replace

from polyport.domain.endpoints import Endpoint, Status, Wanted
from polyport.errors import UsageError

#: What SageMaker allows a batch of a rolling update to be.
MIN_BATCH, MAX_BATCH = 5, 50

_ON_ITS_WAY = {Status.CREATING, Status.UPDATING, Status.ROLLING_BACK, Status.SYSTEM_UPDATING}


def restart(endpoint: Endpoint, percent: int, wait: int = 0) -> Wanted:
    """New instances of what is deployed, with the same images, ``percent`` of each variant at a time and ``wait``
    seconds in between; as a rolling update with the alarms of the last one."""
    active, name = endpoint.state.active, endpoint.name
    if endpoint.status in _ON_ITS_WAY:
        raise UsageError(f"Endpoint {name} is {endpoint.status}: wait for the end of that, or cancel it.")
    if endpoint.status is not Status.IN_SERVICE or active is None:
        raise UsageError(f"Endpoint {name} is {endpoint.status} and cannot be restarted: {_way_out(endpoint)}.")
    policy = {"MaximumBatchSize": {"Type": "CAPACITY_PERCENT", "Value": percent}, "WaitIntervalInSeconds": wait}
    config: dict[str, Any] = {"RollingUpdatePolicy": policy}
    if alarms := (endpoint.wanted.deployment_config or {}).get("AutoRollbackConfiguration"):
        config["AutoRollbackConfiguration"] = alarms
    return Wanted(
        revision=endpoint.generation + 1,
        config_name=active.config_name,
        variants=tuple(fleet.variant for fleet in active.fleets),
        deployment_config=endpoint.wanted.deployment_config,
        restart=config,
    )


def cancel(endpoint: Endpoint, reason: str) -> Wanted:
    """End the create or the update that is under way: a create fails with ``reason``, an update is rolled back."""
    name, status = endpoint.name, endpoint.status
    if status in {Status.DELETING, Status.ROLLING_BACK}:
        raise UsageError(f"Endpoint {name} is {status} already: nothing is left to cancel.")
    if status is Status.SYSTEM_UPDATING:
        raise UsageError(
            f"Endpoint {name} is {status}: its instances are started again, which cannot be cancelled. "
            "It can be deleted with --force."
        )
    if status not in _ON_ITS_WAY:
        raise UsageError(f"Endpoint {name} is {status}: nothing is in progress.")
    if status is Status.UPDATING and endpoint.state.status is Status.UPDATING and endpoint.state.pending is None:
        raise UsageError(
            f"The update of endpoint {name} has moved all traffic and only ends the old instances: "
            "it is too late to cancel it."
        )
    return replace(endpoint.wanted, cancelled=endpoint.wanted.cancelled or reason)


def delete(endpoint: Endpoint, *, force: bool) -> Wanted:
    """Delete it; with ``force`` in any status."""
    if endpoint.status in _ON_ITS_WAY and not force:
        raise UsageError(
            f"Endpoint {endpoint.name} is {endpoint.status}: wait for the end of that, cancel it, or use --force."
        )
    return replace(endpoint.wanted, deleted=True)


def _way_out(endpoint: Endpoint) -> str:
    if endpoint.status is Status.UPDATE_ROLLBACK_FAILED:
        return "it serves a mix of two deployments, which the next update replaces"
    return "it can only be deleted"
