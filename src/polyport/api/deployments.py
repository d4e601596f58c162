"""``DeploymentConfig``: the rules between its members."""

from collections.abc import Mapping
from typing import Any

from polyport.api.refusals import invalid

Definition = Mapping[str, Any]

#: What a size in percent may be, from and to.
_CANARY, _LINEAR, _BATCH, _ROLLBACK = (1, 50), (10, 50), (5, 50), (5, 100)


def check(config: Definition) -> None:
    """Raises `ApiError` for the first rule that is broken."""
    if "BlueGreenUpdatePolicy" in config and "RollingUpdatePolicy" in config:
        raise invalid("DeploymentConfig: give BlueGreenUpdatePolicy or RollingUpdatePolicy, not both.")
    if "BlueGreenUpdatePolicy" in config:
        _check_traffic(config["BlueGreenUpdatePolicy"]["TrafficRoutingConfiguration"])
    if "RollingUpdatePolicy" in config:
        policy = config["RollingUpdatePolicy"]
        _check_size("RollingUpdatePolicy.MaximumBatchSize", policy["MaximumBatchSize"], _BATCH)
        if "RollbackMaximumBatchSize" in policy:
            _check_size("RollingUpdatePolicy.RollbackMaximumBatchSize", policy["RollbackMaximumBatchSize"], _ROLLBACK)
    if any("AlarmName" not in alarm for alarm in config.get("AutoRollbackConfiguration", {}).get("Alarms", [])):
        raise invalid("AutoRollbackConfiguration: each of the Alarms needs AlarmName.")


def _check_traffic(traffic: Definition) -> None:
    for kind, member, bounds in (("CANARY", "CanarySize", _CANARY), ("LINEAR", "LinearStepSize", _LINEAR)):
        if traffic["Type"] == kind and member not in traffic:
            raise invalid(f"TrafficRoutingConfiguration: Type {kind} needs {member}.")
        if traffic["Type"] != kind and member in traffic:
            raise invalid(f"TrafficRoutingConfiguration: {member} can be given with Type {kind} only.")
        if member in traffic:
            _check_size(f"TrafficRoutingConfiguration.{member}", traffic[member], bounds)


def _check_size(path: str, size: Definition, bounds: tuple[int, int]) -> None:
    least, most = bounds
    if size["Type"] == "CAPACITY_PERCENT" and not least <= size["Value"] <= most:
        raise invalid(f"{path}: Value must be between {least} and {most} percent.")
