"""Values of series by the periods that a caller asks for."""

import math
from typing import Any

from polyport.api.context import Context
from polyport.api.monitoring import put
from polyport.domain.distributions import Distribution
from polyport.errors import ApiError
from polyport.telemetry.metrics.series import COARSE, FINE, KEPT

#: The periods below a minute that there may be.
SHORT = frozenset({1, 5, 10, 20, 30})

Points = dict[int, Distribution]
"""By the start of the period."""


def check_period(period: int) -> int:
    """Raises `ApiError` for what is no period."""
    if period not in SHORT and (period < COARSE or period % COARSE):
        raise ApiError(
            "InvalidParameterValueException",
            f"The parameter Period must be 1, 5, 10, 20, 30 or a multiple of {COARSE}, not {period}.",
        )
    return period


def bounds(request: dict[str, Any], period: int) -> tuple[int, int]:
    """Start and end in whole periods. Raises `ApiError`."""
    start, end = request["StartTime"], request["EndTime"]
    if start >= end:
        raise ApiError("ValidationError", "The parameter StartTime must be less than the parameter EndTime.")
    return math.floor(start / period) * period, math.ceil(end)


async def points(
    context: Context, metric: dict[str, Any], period: int, start: int, end: int, unit: str | None
) -> tuple[Points, str]:
    """Of the series that has exactly these dimensions, and its unit. Without ``unit``, of all units together."""
    dimensions = put.dimensions_of(metric.get("Dimensions", ()), "Metric")
    found: Points = {}
    units = [unit] if unit else []
    for one in await context.metrics.find(context.owner, metric["Namespace"], metric["MetricName"]):
        if one.key.dimensions != dimensions or unit not in {None, one.key.unit}:
            continue
        units.append(one.key.unit)
        for at, values in await context.metrics.read(one.id, base(period, start, context.clock()), start, end):
            found.setdefault(at // period * period, Distribution()).merge(values)
    return dict(sorted(found.items())), units[-1] if units else "None"


def base(period: int, start: int, now: float) -> int:
    """Which of the periods that are kept is read: minutes for whole minutes, and ten seconds as long as there are."""
    return FINE if period % COARSE and start >= now - 2 * KEPT[FINE] else COARSE
