"""What a statistic is of some values, by the name that clients give it: ``Average``, ``p99``, ``TM(10%:90%)``."""

import re
from collections.abc import Callable

from polyport.domain.distributions import Distribution
from polyport.errors import ApiError

Statistic = Callable[[Distribution], float]

_SIMPLE: dict[str, Statistic] = {
    "SampleCount": lambda values: values.count,
    "Sum": lambda values: values.total,
    "Average": lambda values: values.average,
    "Minimum": lambda values: values.low if values.count else 0.0,
    "Maximum": lambda values: values.high if values.count else 0.0,
    "IQM": lambda values: _between(values, 25.0, 75.0).average,
}
_NUMBER = r"([0-9]{1,3}(?:\.[0-9]{1,10})?)"
_PERCENTILE = re.compile(rf"[pP]{_NUMBER}")
_SHORT = re.compile(rf"(tm|wm|tc|ts){_NUMBER}", re.IGNORECASE)
_LONG = re.compile(r"(TM|WM|TC|TS|PR)\(\s*([0-9.]*)(%?)\s*:\s*([0-9.]*)(%?)\s*\)")


def parse(name: str) -> Statistic:
    """Raises `ApiError` ``InvalidParameterValueException`` for what is none."""
    if name in _SIMPLE:
        return _SIMPLE[name]
    match = _PERCENTILE.fullmatch(name)
    if match and float(match[1]) <= 100:
        percent = float(match[1])
        return lambda values: values.percentile(percent)
    if (match := _SHORT.fullmatch(name)) and float(match[2]) <= 100:
        return _trimmed(match[1].upper(), 0.0, float(match[2]))
    if (match := _LONG.fullmatch(name)) is not None:
        try:
            return _long(match)
        except ValueError:
            pass
    raise ApiError("InvalidParameterValueException", f"The value {name[:100]} for parameter Stat is not supported.")


def _long(match: re.Match[str]) -> Statistic:
    kind, least, most = match[1], match[2], match[4]
    is_percent = bool(match[3] or match[5])
    if kind == "PR" or not is_percent:
        low, high = float(least or "-inf"), float(most or "inf")
        return _bounded(kind, low, high)
    return _trimmed(kind, float(least or 0), float(most or 100))


def _bounded(kind: str, low: float, high: float) -> Statistic:
    """Of the values between two values."""
    if kind == "PR":
        return lambda values: 100 * values.part(low, high).count / values.count if values.count else 0.0
    return lambda values: _told(kind, values.part(low, high))


def _trimmed(kind: str, least: float, most: float) -> Statistic:
    """Of the values between two percentiles."""
    if kind == "WM":
        return lambda values: _winsorized(values, least, most)
    return lambda values: _told(kind, _between(values, least, most))


def _told(kind: str, part: Distribution) -> float:
    return {"TC": part.count, "TS": part.total}.get(kind, part.average)


def _between(values: Distribution, least: float, most: float) -> Distribution:
    low = values.percentile(least) if least > 0 else float("-inf")
    high = values.percentile(most) if most < 100 else float("inf")
    return values.part(low, high)


def _winsorized(values: Distribution, least: float, most: float) -> float:
    """What lies beyond counts as the bound."""
    part = _between(values, least, most)
    low, high = values.percentile(least), values.percentile(most)
    below, above = values.count * least / 100, values.count * (100 - most) / 100
    total = part.average * (values.count - below - above) + low * below + high * above
    return total / values.count if values.count else 0.0
