"""What Prometheus reads: counters since the server began, as text. Pure."""

from collections.abc import Iterator, Mapping

from polyport.domain.counts import Tally
from polyport.domain.distributions import Distribution

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
#: Upper bounds of the histograms' buckets, in microseconds: powers of two, where ours end, so that counts are exact.
_BOUNDS = tuple(2.0**power for power in range(8, 28))

Totals = Mapping[tuple[str, ...], Tally]
"""By account, region, endpoint, variant and container; of a whole pipeline, the container is empty."""

_NAMES = ("account", "region", "endpoint", "variant", "container")
_COUNTERS = (
    ("invocations_total", "Invocations that came to their end.", "calls"),
    ("invocation_4xx_errors_total", "Invocations that a container answered with a 4XX status.", "client_errors"),
    ("invocation_5xx_errors_total", "Invocations that a container answered with a 5XX status.", "server_errors"),
    ("invocation_model_errors_total", "Invocations that came to nothing in a container.", "model_errors"),
    ("mid_stream_errors_total", "Response streams that broke off after they had begun.", "broken_streams"),
)
_HISTOGRAMS = (
    ("latency_seconds", "Time in the container.", "model"),
    ("overhead_seconds", "Time of the invocation that was not spent in containers.", "overhead"),
)


def render(
    totals: Totals, busy: Mapping[tuple[str, str, str, str], int], gauges: Mapping[str, tuple[str, float]]
) -> str:
    """``busy``: invocations in flight by account, region, endpoint and variant. ``gauges``: help and value by name."""
    containers = {key: tally for key, tally in totals.items() if key[-1]}
    pipelines = {key[:-1]: tally for key, tally in totals.items() if not key[-1]}
    lines = [*_family("polyport_container_", containers), *_family("polyport_pipeline_", pipelines)]
    if busy:
        lines += _head("polyport_invocations_in_flight", "gauge", "Invocations that have begun and not ended.")
        lines += [f"polyport_invocations_in_flight{_labels(key)} {count}" for key, count in sorted(busy.items())]
    for name, (text, value) in gauges.items():
        lines += [*_head(name, "gauge", text), f"{name} {value:g}"]
    return "\n".join(lines) + "\n"


def _family(prefix: str, tallies: Totals) -> Iterator[str]:
    if not tallies:
        return
    for name, text, field in _COUNTERS:
        yield from _head(prefix + name, "counter", text)
        for key, tally in sorted(tallies.items()):
            yield f"{prefix}{name}{_labels(key)} {getattr(tally, field)}"
    for name, text, field in _HISTOGRAMS:
        yield from _head(prefix + name, "histogram", text)
        for key, tally in sorted(tallies.items()):
            yield from _histogram(prefix + name, key, getattr(tally, field))


def _histogram(name: str, key: tuple[str, ...], values: Distribution) -> Iterator[str]:
    for bound in _BOUNDS:
        yield f"{name}_bucket{_labels(key, le=repr(bound / 1e6))} {values.below(bound):.0f}"
    yield f"{name}_bucket{_labels(key, le='+Inf')} {values.count:.0f}"
    yield f"{name}_sum{_labels(key)} {values.total / 1e6!r}"
    yield f"{name}_count{_labels(key)} {values.count:.0f}"


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


def _labels(key: tuple[str, ...], **more: str) -> str:
    # Names of endpoints, variants and containers hold nothing that would have to be escaped.
    pairs = {**dict(zip(_NAMES, key, strict=False)), **more}
    return "{" + ",".join(f'{name}="{value}"' for name, value in pairs.items()) + "}"
