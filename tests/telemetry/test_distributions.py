"""What is kept of many values, and how exact it is."""

import random

import pytest

from polyport.domain.distributions import Distribution, bucket_of, edges, merged


def of(*values: float) -> Distribution:
    found = Distribution()
    for value in values:
        found.add(value)
    return found


@pytest.mark.parametrize("value", [1e-9, 0.5, 0.75, 1.0, 3.0, 1023.9, 1024.0, 6e10, 1e100])
def test_a_value_lies_between_the_edges_of_its_bucket(value: float) -> None:
    """Buckets begin with their least value, and are at most a sixteenth wide."""
    least, most = edges(bucket_of(value))
    assert least <= value < most
    assert most / least <= 1 + 1 / 16
    assert edges(bucket_of(-value)) == (-most, -least)


def test_buckets_are_in_the_order_of_values() -> None:
    """Negative ones, zero, positive ones."""
    values = [-1e6, -2.5, -0.1, 0.0, 1e-7, 0.2, 7.0, 1e9]
    assert sorted(values, key=bucket_of) == values


def test_percentiles_are_three_percent_off_at_most() -> None:
    """Whatever the values: here a long tail."""
    draw = random.Random(7)
    values = sorted(draw.lognormvariate(8, 2) for _ in range(5000))
    found = of(*values)
    for percent in (1, 10, 50, 90, 99, 99.9):
        exact = values[int(len(values) * percent / 100) - 1]
        assert found.percentile(percent) == pytest.approx(exact, rel=0.035)


def test_percentiles_of_equal_values_are_that_value() -> None:
    """The least and the greatest are exact, and bound them."""
    assert of(123.4, 123.4).percentile(99) == 123.4
    assert of().percentile(50) == 0.0


def test_parts_that_are_merged_are_the_whole() -> None:
    """Counts of workers and of seconds are added: nothing is lost to the last one."""
    values = [float(value) for value in range(-50, 1000)]
    whole = of(*values)
    parts = merged(of(*values[start::7]) for start in range(7))
    assert (parts.count, parts.total, parts.low, parts.high) == (whole.count, whole.total, whole.low, whole.high)
    assert parts.buckets == whole.buckets


def test_values_below_a_power_of_two_are_counted_exactly() -> None:
    """Buckets end there, so what Prometheus is told is exact."""
    found = of(*(float(value) for value in range(1, 2049)))
    assert found.below(1024.0) == 1023
    assert found.below(2.0) == 1


def test_a_part_of_the_values_can_be_taken() -> None:
    """For trimmed means and the like."""
    found = of(*(float(value) for value in range(1, 1001)))
    assert found.part(100.0, 200.0).count == pytest.approx(100, rel=0.07)
