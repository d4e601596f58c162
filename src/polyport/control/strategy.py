"""``DeploymentConfig`` in numbers: in which steps the traffic moves, and what is waited for in between. Pure.

Sizes are SageMaker's ``CapacitySize``: so many instances, or a percentage, of each variant. Those in instances are held
to what SageMaker allows, half of a variant, but are never less than one: a fleet of one instance can have a canary.
"""

import math
from collections.abc import Mapping
from typing import Any

from polyport.domain.endpoints import Deployment, Strategy

Config = Mapping[str, Any]

#: A remainder that is smaller than this part of a linear step is no step of its own: 33 % are three steps, not four.
_REMAINDER = 0.1
_ALL: Config = {"Type": "CAPACITY_PERCENT", "Value": 100}


def kind(config: Config | None) -> Strategy:
    """Without a policy: blue/green, all at once."""
    if config and "RollingUpdatePolicy" in config:
        return Strategy.ROLLING
    return Strategy(_routing(config).get("Type", Strategy.ALL_AT_ONCE))


def shares(config: Config | None, old: Deployment, new: Deployment) -> tuple[float, ...]:
    """The new fleets' share of the traffic after each step. Instances are counted in the largest variant."""
    largest = max((fleet.variant.instance_count for fleet in new.fleets), default=0)
    match kind(config):
        case Strategy.CANARY:
            return (_canary(_routing(config)["CanarySize"], largest), 1.0)
        case Strategy.LINEAR:
            return _parts(_linear_steps(_routing(config)["LinearStepSize"], largest))
        case Strategy.ROLLING:
            assert config is not None, "rolling has to be asked for"
            size = config["RollingUpdatePolicy"]["MaximumBatchSize"]
            return _parts(max((_batches(size, count) for count in _counts_on_both_sides(old, new)), default=1))
        case _:
            return (1.0,)


def shares_back(config: Config | None, old: Deployment, share: float) -> tuple[float, ...]:
    """The new fleets' share after each batch of a rolling update's rollback that begins with ``share``."""
    size = (config or {}).get("RollingUpdatePolicy", {}).get("RollbackMaximumBatchSize", _ALL)
    count = max((fleet.variant.instance_count for fleet in old.fleets), default=0)
    batches = _batches(size, count, most=count)
    first = math.ceil(share * batches - 1e-9) - 1
    return tuple(batch / batches for batch in range(max(first, 0), -1, -1))


def wait(config: Config | None, *, is_last: bool) -> float:
    """Seconds that a step bakes."""
    if kind(config) is Strategy.ROLLING:
        assert config is not None, "rolling has to be asked for"
        return float(config["RollingUpdatePolicy"]["WaitIntervalInSeconds"])
    if is_last:
        return float((config or {}).get("BlueGreenUpdatePolicy", {}).get("TerminationWaitInSeconds", 0))
    return float(_routing(config).get("WaitIntervalInSeconds", 0))


def timeout(config: Config | None) -> float:
    """Seconds that the whole update may take, until the old fleets are let go; infinite when it is not limited."""
    policies = ("BlueGreenUpdatePolicy", "RollingUpdatePolicy")
    limits = [(config or {}).get(policy, {}).get("MaximumExecutionTimeoutInSeconds") for policy in policies]
    return next((float(limit) for limit in limits if limit is not None), math.inf)


def alarms(config: Config | None) -> frozenset[str]:
    """The names of the alarms that roll the update back."""
    watched = (config or {}).get("AutoRollbackConfiguration", {}).get("Alarms", [])
    return frozenset(alarm["AlarmName"] for alarm in watched if "AlarmName" in alarm)


def _routing(config: Config | None) -> Config:
    found: Config = (config or {}).get("BlueGreenUpdatePolicy", {}).get("TrafficRoutingConfiguration", {})
    return found


def _counts_on_both_sides(old: Deployment, new: Deployment) -> list[int]:
    """Of each variant that stays, the larger of its two counts: no batch starts or ends more than it may."""
    before = {fleet.variant.name: fleet.variant.instance_count for fleet in old.fleets}
    stay = [fleet.variant for fleet in new.fleets if fleet.variant.name in before]
    return [max(variant.instance_count, before[variant.name]) for variant in stay]


def _canary(size: Config, count: int) -> float:
    if size["Type"] == "CAPACITY_PERCENT":
        return float(size["Value"] / 100)
    return min(_instances(size, count) / max(count, 1), 0.5)


def _linear_steps(size: Config, count: int) -> int:
    if size["Type"] == "CAPACITY_PERCENT":
        return max(1, math.ceil(100 / float(size["Value"]) - _REMAINDER))
    return _batches(size, count)


def _batches(size: Config, count: int, most: int | None = None) -> int:
    """How many batches ``count`` instances are, each of at most the size. ``most``: other than half of them."""
    return max(1, math.ceil(count / _instances(size, count, most)))


def _instances(size: Config, count: int, most: int | None = None) -> int:
    """A size in instances, at least one; a percentage is rounded down, since it is a maximum."""
    value = int(size["Value"])
    if size["Type"] == "CAPACITY_PERCENT":
        return max(1, count * value // 100)
    return max(1, min(value, count // 2 if most is None else most))


def _parts(number: int) -> tuple[float, ...]:
    return tuple(step / number for step in range(1, number + 1))
