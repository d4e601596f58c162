"""What Prometheus reads, as text. Pure."""

from collections.abc import Iterator

from polyport.domain.distributions import Distribution
from polyport.telemetry.metrics import families
from polyport.telemetry.metrics.families import Family, Samples, Snapshot

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper bounds of the histograms' buckets, in microseconds: powers of two, where ours end, so that counts are exact.
_BOUNDS = tuple(2.0**power for power in range(8, 28))
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def render(snapshot: Snapshot) -> str:
    """The families that there is anything of, in the table's order. Each must be in the table (`KeyError`)."""
    if unknown := snapshot.keys() - {family.name for family in families.FAMILIES}:
        raise KeyError(f"{', '.join(sorted(unknown))}: not in the table of families")
    lines = [line for family in families.FAMILIES for line in _family(family, snapshot.get(family.name, {}))]
    return "\n".join(lines) + "\n"


def _family(family: Family, samples: Samples) -> Iterator[str]:
    if samples:
        yield f"# HELP {family.name} {family.text}"
        yield f"# TYPE {family.name} {family.kind.value}"
    for key, value in sorted(samples.items()):
        labels = dict(zip(family.labels, key, strict=True))
        if isinstance(value, Distribution):
            yield from _histogram(family.name, labels, value)
        else:
            yield f"{family.name}{_labels(labels)} {_number(value)}"


def _histogram(name: str, labels: dict[str, str], values: Distribution) -> Iterator[str]:
    for bound in _BOUNDS:
        yield f"{name}_bucket{_labels({**labels, 'le': repr(bound / 1e6)})} {values.below(bound):.0f}"
    yield f"{name}_bucket{_labels({**labels, 'le': '+Inf'})} {values.count:.0f}"
    yield f"{name}_sum{_labels(labels)} {values.total / 1e6!r}"
    yield f"{name}_count{_labels(labels)} {values.count:.0f}"


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _labels(labels: dict[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_ESCAPES)}"' for name, value in labels.items()) + "}"
