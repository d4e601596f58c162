"""``DeploymentConfig`` in numbers: shares, batches, waits."""

import math
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from control.values import deployment, fleet, variant
from control.world import deployment_configs, variant_sets
from polyport.control import strategy
from polyport.domain.endpoints import Deployment, Strategy, Variant


def fleets(*counts: int) -> Deployment:
    """A deployment of variants A, B, ... with so many instances."""
    return deployment(1, *(fleet(variant(name, count)) for name, count in zip("ABCDE", counts, strict=False)))


def size(value: int, unit: str = "INSTANCE_COUNT") -> dict[str, Any]:
    return {"Type": unit, "Value": value}


def percent(value: int) -> dict[str, Any]:
    return size(value, "CAPACITY_PERCENT")


def blue_green(kind: str, wait: int = 60, **members: Any) -> dict[str, Any]:
    routing = {name: value for name, value in members.items() if name.endswith("Size")}
    others = {name: value for name, value in members.items() if name not in routing}
    routing |= {"Type": kind, "WaitIntervalInSeconds": wait}
    return {"BlueGreenUpdatePolicy": {"TrafficRoutingConfiguration": routing, **others}}


def rolling(batch: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"RollingUpdatePolicy": {"MaximumBatchSize": batch, "WaitIntervalInSeconds": 7, **members}}


@pytest.mark.parametrize("config", [None, {}, {"AutoRollbackConfiguration": {}}, blue_green("ALL_AT_ONCE")])
def test_without_a_policy_all_traffic_moves_at_once(config: dict[str, Any] | None) -> None:
    """One step; what it bakes is TerminationWaitInSeconds, and never the interval between steps."""
    assert strategy.kind(config) is Strategy.ALL_AT_ONCE
    assert strategy.shares(config, fleets(2), fleets(3)) == (1.0,)
    assert strategy.wait(config, is_last=True) == 0


@pytest.mark.parametrize(
    ("given_size", "count", "share"),
    [
        (size(1), 4, 0.25),
        (size(2), 4, 0.5),
        (size(3), 4, 0.5),
        (size(1), 3, 1 / 3),
        (size(2), 3, 1 / 3),
        (size(1), 1, 0.5),
        (size(5), 1, 0.5),
        (percent(10), 1, 0.1),
        (percent(10), 100, 0.1),
        (percent(50), 3, 0.5),
    ],
)
def test_a_canary_is_at_most_half(given_size: dict[str, Any], count: int, share: float) -> None:
    """Instances as a part of the new fleet, held to half of it; a percentage is the share as it is given."""
    config = blue_green("CANARY", CanarySize=given_size)
    assert strategy.shares(config, fleets(9), fleets(count)) == (pytest.approx(share), 1.0)


@pytest.mark.parametrize(
    ("given_size", "count", "steps"),
    [
        (percent(10), 1, 10),
        (percent(20), 7, 5),
        (percent(25), 1, 4),
        (percent(30), 1, 4),
        (percent(33), 3, 3),
        (percent(34), 3, 3),
        (percent(50), 1, 2),
        (size(1), 4, 4),
        (size(2), 5, 3),
        (size(9), 4, 2),
        (size(1), 1, 1),
    ],
)
def test_linear_steps_are_equal_and_no_larger_than_asked(given_size: dict[str, Any], count: int, steps: int) -> None:
    """33 % are three steps, though the third is a percent larger; 30 % are four."""
    shares = strategy.shares(blue_green("LINEAR", LinearStepSize=given_size), fleets(1), fleets(count))
    assert shares == tuple(pytest.approx(step / steps) for step in range(1, steps + 1))


@pytest.mark.parametrize(
    ("given_size", "old", "new", "batches"),
    [
        (size(1), (4,), (4,), 4),
        (size(2), (5,), (5,), 3),
        (size(3), (4,), (4,), 2),
        (size(1), (1,), (1,), 1),
        (percent(50), (1,), (1,), 1),
        (percent(50), (5,), (5,), 3),
        (percent(5), (10,), (10,), 10),
        (size(1), (2,), (6,), 6),
        (size(1), (6,), (2,), 6),
        (size(1), (2, 4), (2, 4), 4),
        (percent(50), (0,), (0,), 1),
    ],
)
def test_a_batch_is_no_larger_than_asked(
    given_size: dict[str, Any], old: tuple[int, ...], new: tuple[int, ...], batches: int
) -> None:
    """Of the larger of a variant's two counts; a percentage is rounded down, to one instance at least."""
    assert len(strategy.shares(rolling(given_size), fleets(*old), fleets(*new))) == batches


def test_a_rolling_update_that_renames_everything_is_one_batch() -> None:
    """Batches are of variants that stay: the new ones come with the first batch, the old ones go with the last."""
    other = deployment(2, fleet(variant("Z", 4)))
    assert strategy.shares(rolling(size(1)), fleets(4), other) == (1.0,)


def test_waits_are_those_of_the_policy() -> None:
    """Between steps the interval; after the last TerminationWaitInSeconds, or, rolling, the interval again."""
    canary = blue_green("CANARY", 60, CanarySize=size(1), TerminationWaitInSeconds=300)
    assert (strategy.wait(canary, is_last=False), strategy.wait(canary, is_last=True)) == (60, 300)
    batches = rolling(size(1))
    assert (strategy.wait(batches, is_last=False), strategy.wait(batches, is_last=True)) == (7, 7)


def test_time_is_unlimited_unless_it_is_limited() -> None:
    """MaximumExecutionTimeoutInSeconds of either policy."""
    assert strategy.timeout(None) == strategy.timeout(blue_green("ALL_AT_ONCE")) == math.inf
    assert strategy.timeout(blue_green("ALL_AT_ONCE", MaximumExecutionTimeoutInSeconds=600)) == 600
    assert strategy.timeout(rolling(size(1), MaximumExecutionTimeoutInSeconds=700)) == 700


def test_alarms_are_named() -> None:
    """An alarm without a name watches nothing."""
    config = {"AutoRollbackConfiguration": {"Alarms": [{"AlarmName": "a"}, {}, {"AlarmName": "b"}]}}
    assert strategy.alarms(config) == {"a", "b"}
    assert strategy.alarms(None) == frozenset()


@pytest.mark.parametrize(
    ("back", "share", "shares"),
    [
        (None, 0.75, (0.0,)),
        (percent(100), 0.25, (0.0,)),
        (size(1), 0.75, (0.5, 0.25, 0.0)),
        (size(2), 0.75, (0.5, 0.0)),
        (size(2), 0.5, (0.0,)),
        (size(9), 1.0, (0.0,)),
        (percent(50), 1.0, (0.5, 0.0)),
    ],
)
def test_a_rollback_has_batches_of_its_own(
    back: dict[str, Any] | None, share: float, shares: tuple[float, ...]
) -> None:
    """RollbackMaximumBatchSize, by default all of four instances at once."""
    config = rolling(size(1), **({"RollbackMaximumBatchSize": back} if back else {}))
    assert strategy.shares_back(config, fleets(4), share) == shares


@given(deployment_configs, variant_sets, variant_sets, st.floats(0.01, 1))
def test_shares_only_grow_and_those_back_only_shrink(
    config: dict[str, Any], old: tuple[Variant, ...], new: tuple[Variant, ...], share: float
) -> None:
    """An update ends with all of the traffic, its rollback with none, and no step goes the wrong way."""
    before, after = (deployment(n, *(fleet(each) for each in each_side)) for n, each_side in enumerate((old, new)))
    shares = strategy.shares(config, before, after)
    assert shares[-1] == 1
    assert list(shares) == sorted(set(shares))
    back = strategy.shares_back(config, before, share)
    assert back[-1] == 0
    assert list(back) == sorted(set(back), reverse=True)
    assert back[0] < share
