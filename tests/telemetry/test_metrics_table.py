"""The table of metrics."""

from polyport.telemetry.metrics import table
from polyport.telemetry.metrics.table import By


def test_a_name_is_that_of_one_metric() -> None:
    """What counts and what answers find a metric by its name."""
    assert len(table.BY_NAME) == len(table.METRICS)


def test_container_latency_is_of_containers_alone() -> None:
    """As on SageMaker: never at the variant, where it is ModelLatency."""
    assert table.BY_NAME["ContainerLatency"].by == (By.CONTAINER,)
    assert By.CONTAINER not in table.BY_NAME["ModelLatency"].by
