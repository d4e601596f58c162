"""PutMetricData and ListMetrics."""

import math
from typing import Any

from polyport.api.context import Context
from polyport.aws import paginate
from polyport.domain.distributions import Distribution
from polyport.domain.names import Owner
from polyport.errors import ApiError
from polyport.telemetry.metrics import counted
from polyport.telemetry.metrics.series import COARSE, KEPT, Dimensions, Found, Key, Value

#: What a request may hold.
MOST_DATA = 1000
MOST_VALUES = 150
#: Seconds: how far from now a value may be.
OLDEST, NEWEST = 14 * 24 * 3600, 2 * 3600
PAGE = 500
#: ``RecentlyActive`` (PT3H), in seconds.
RECENT = 3 * 3600
_RESERVED = "AWS/"


async def put_metric_data(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Values of the caller's own metrics. All of them are taken or none."""
    namespace = request["Namespace"]
    if namespace.startswith(_RESERVED):
        raise ApiError(
            "InvalidParameterValueException",
            f"The value {_RESERVED} for parameter Namespace is invalid: namespaces that begin so are AWS's own.",
        )
    data = [*request.get("MetricData", ())]
    for entity in request.get("EntityMetricData", ()):
        data += entity.get("MetricData", ())
    if len(data) > MOST_DATA:
        raise _invalid(f"The collection MetricData must not have a size greater than {MOST_DATA}.")
    now = context.clock()
    values = [_value(context.owner, namespace, datum, now, f"MetricData.member.{n}") for n, datum in enumerate(data, 1)]
    await context.metrics.add(values)
    return {}


def _value(owner: Owner, namespace: str, datum: dict[str, Any], now: float, path: str) -> Value:
    at = datum.get("Timestamp", now)
    if not now - OLDEST <= at <= now + NEWEST:
        raise _invalid(f"The parameter {path}.Timestamp must be within two weeks before now and two hours after.")
    dimensions = dimensions_of(datum.get("Dimensions", ()), path)
    key = Key(owner, namespace, datum["MetricName"], dimensions, datum.get("Unit", "None"))
    return Value(key, at, _values(datum, path))


def dimensions_of(given: list[dict[str, str]], path: str) -> Dimensions:
    """Sorted. Raises `ApiError` for a name that is there twice."""
    found = counted.dimensions_of(given)
    if len({name for name, _ in found}) < len(found):
        raise _invalid(f"The parameter {path}.Dimensions has a name more than once.")
    return found


def _values(datum: dict[str, Any], path: str) -> Distribution:
    """One value, several with counts, or a set of statistics."""
    given = [member for member in ("Value", "Values", "StatisticValues") if datum.get(member) is not None]
    if len(given) != 1:
        raise ApiError(
            "MissingRequiredParameterException" if not given else "InvalidParameterCombinationException",
            f"The parameter {path} must have exactly one of Value, Values and StatisticValues.",
        )
    values = Distribution()
    if given == ["StatisticValues"]:
        one = datum["StatisticValues"]
        if one["SampleCount"] <= 0:
            raise _invalid(f"The parameter {path}.StatisticValues.SampleCount must be greater than 0.")
        values.add_set(one["SampleCount"], one["Sum"], one["Minimum"], one["Maximum"])
        return values
    numbers = datum["Values"] if given == ["Values"] else [datum["Value"]]
    times = datum.get("Counts") or [1.0] * len(numbers)
    if len(numbers) != len(times) or not 0 < len(numbers) <= MOST_VALUES:
        raise _invalid(f"The parameters {path}.Values and {path}.Counts must be of one length, 1 to {MOST_VALUES}.")
    for number, count in zip(numbers, times, strict=True):
        if not math.isfinite(number) or not math.isfinite(count) or count <= 0:
            raise _invalid(
                f"The parameter {path} has a value that is no finite number, or a count that is not positive."
            )
        values.add(number, count)
    return values


async def list_metrics(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The series of the last fifteen days."""
    found = await context.metrics.find(context.owner, request.get("Namespace", ""), request.get("MetricName", ""))
    wanted = [(one["Name"], one.get("Value")) for one in request.get("Dimensions", ())]
    since = context.clock() - (RECENT if request.get("RecentlyActive") else KEPT[COARSE])
    # Two units of one metric are one to whoever lists it.
    keys = list(dict.fromkeys(_shown(one) for one in found if one.last >= since and _fits(one, wanted)))
    scope = f"ListMetrics/{context.owner.account}/{context.owner.region}"
    begin = paginate.decode(scope, request, request["NextToken"]) if "NextToken" in request else 0
    page = keys[begin : begin + PAGE]
    more = begin + PAGE < len(keys)
    return {
        "Metrics": [
            {"Namespace": space, "MetricName": name, "Dimensions": shown(dimensions)}
            for space, name, dimensions in page
        ],
        "NextToken": paginate.encode(scope, request, begin + PAGE) if more else None,
    }


def shown(dimensions: Dimensions) -> list[dict[str, str]]:
    """As answers have them."""
    return [{"Name": name, "Value": value} for name, value in dimensions]


def _shown(found: Found) -> tuple[str, str, Dimensions]:
    return found.key.namespace, found.key.name, found.key.dimensions


def _fits(found: Found, wanted: list[tuple[str, str | None]]) -> bool:
    has = dict(found.key.dimensions)
    return all(name in has and value in {None, has[name]} for name, value in wanted)


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidParameterValueException", message)
