"""From what gateways counted to the values of the table's metrics. Pure."""

from collections.abc import Callable, Iterator, MutableMapping

from polyport.domain.counts import Counts, InstanceCounts, Tally
from polyport.domain.distributions import Distribution
from polyport.domain.names import Owner
from polyport.telemetry.metrics import table
from polyport.telemetry.metrics.series import Dimensions, Key, Value
from polyport.telemetry.metrics.table import By

SINGLE = "Single"


def values(counts: Counts, config_of: Callable[[str], str]) -> tuple[Value, ...]:
    """One value for each series and period."""
    return tuple(
        value
        for period in counts.periods
        for entry in period.instances
        for value in _of_instance(entry, period.start, config_of(entry.instance))
    )


def add_up(totals: MutableMapping[tuple[str, ...], Tally], counts: Counts) -> None:
    """Add to the totals since the start."""
    for period in counts.periods:
        for entry in period.instances:
            key = (entry.account, entry.region, entry.endpoint, entry.variant)
            for hostname, tally in entry.containers.items():
                totals.setdefault((*key, hostname or "primary"), Tally()).merge(tally)
            if entry.mode == "Serial":
                totals.setdefault((*key, ""), Tally()).merge(entry.whole)


def key(owner: Owner, name: str, by: By, *, endpoint: str, variant: str, more: str = "") -> Key:
    """The series of a metric of the table; ``more``: the value of the third dimension, if it has three."""
    given = (endpoint, variant, more)
    dimensions = tuple(sorted(zip(by.value.split(", "), given, strict=False)))
    metric = table.BY_NAME[name]
    return Key(owner, metric.namespace, name, dimensions, metric.unit.value)


def _of_instance(entry: InstanceCounts, at: int, config: str) -> Iterator[Value]:
    owner = Owner(entry.account, entry.region)
    further = {By.VARIANT: "", By.INSTANCE: entry.instance, By.CONFIG: config}
    measured = _measured(entry.whole, entry.instances)
    for name, found in measured.items():
        for by in table.BY_NAME[name].by:
            if by in further and (further[by] or by is By.VARIANT) and found.count:
                yield Value(_key(owner, name, by, entry, further[by]), at, found)
    if entry.mode == SINGLE:
        return
    for hostname, tally in entry.containers.items():
        of_container = {**_measured(tally, entry.instances), "ContainerLatency": tally.model}
        for name, found in of_container.items():
            if By.CONTAINER in table.BY_NAME[name].by and found.count:
                yield Value(_key(owner, name, By.CONTAINER, entry, hostname), at, found)


def _key(owner: Owner, name: str, by: By, entry: InstanceCounts, more: str) -> Key:
    return key(owner, name, by, endpoint=entry.endpoint, variant=entry.variant, more=more)


def _measured(tally: Tally, instances: int) -> dict[str, Distribution]:
    """The table's metrics of some calls, by name."""
    per_instance = Distribution()
    per_instance.add(1 / instances, tally.calls)
    return {
        "Invocations": _ones(tally.calls, tally.calls),
        "Invocation4XXErrors": _ones(tally.client_errors, tally.calls),
        "Invocation5XXErrors": _ones(tally.server_errors, tally.calls),
        "InvocationModelErrors": _ones(tally.model_errors, tally.calls),
        "InvocationsPerInstance": per_instance,
        "ModelLatency": tally.model,
        "OverheadLatency": tally.overhead,
        "FirstChunkLatency": tally.first,
        "FirstChunkModelLatency": tally.first_model,
        "FirstChunkOverheadLatency": tally.first_overhead,
        "MidStreamErrors": _ones(tally.broken_streams, tally.streams),
    }


def _ones(ones: int, calls: int) -> Distribution:
    """1 for some of the calls, 0 for the others."""
    found = Distribution()
    for value, times in ((1.0, ones), (0.0, calls - ones)):
        if times:
            found.add(value, times)
    return found


def dimensions_of(pairs: list[dict[str, str]]) -> Dimensions:
    """As requests have them, sorted."""
    return tuple(sorted((pair["Name"], pair["Value"]) for pair in pairs))
