"""GetMetricStatistics and GetMetricData."""

import math
from typing import Any

from polyport.api.context import Context
from polyport.api.monitoring import read, statistics
from polyport.api.monitoring.expressions import Expression, Series, Value
from polyport.errors import ApiError
from polyport.telemetry.metrics.series import COARSE

#: What one answer may have.
MOST_POINTS = 1440
MOST_DATA_POINTS = 100_800
MOST_QUERIES = 500


async def get_metric_statistics(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Statistics of one series, in the order of time."""
    plain, extended = request.get("Statistics", ()), request.get("ExtendedStatistics", ())
    if not plain and not extended:
        raise ApiError("InvalidParameterCombinationException", "Statistics or ExtendedStatistics must be given.")
    period = read.check_period(request["Period"])
    start, end = read.bounds(request, period)
    if (end - start) / period > MOST_POINTS:
        raise ApiError(
            "InvalidParameterCombinationException",
            f"You have requested up to {math.ceil((end - start) / period):,} datapoints, which exceeds the limit of "
            f"{MOST_POINTS:,}. Ask for a longer Period or a shorter time.",
        )
    found, unit = await read.points(context, request, period, start, end, request.get("Unit"))
    parsed = {name: statistics.parse(name) for name in (*plain, *extended)}
    points = []
    for at, values in found.items():
        point: dict[str, Any] = {"Timestamp": float(at), "Unit": unit}
        point |= {name: parsed[name](values) for name in plain}
        if extended:
            point["ExtendedStatistics"] = {name: parsed[name](values) for name in extended}
        points.append(point)
    return {"Label": request["MetricName"], "Datapoints": points}


async def get_metric_data(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Several series, and what is reckoned of them."""
    queries = request["MetricDataQueries"]
    is_ascending = request.get("ScanBy") == "TimestampAscending"
    found = await reckon(context, queries, request["StartTime"], request["EndTime"])
    if sum(len(series) for _, _, series in found) > MOST_DATA_POINTS:
        raise ApiError("ValidationError", f"The answer would have more than {MOST_DATA_POINTS:,} datapoints.")
    return {"MetricDataResults": [_result(*one, is_ascending) for one in found], "Messages": []}


def _result(id_: str, label: str, series: Series, is_ascending: bool) -> dict[str, Any]:
    starts = sorted(series, reverse=not is_ascending)
    return {
        "Id": id_,
        "Label": label,
        "Timestamps": [float(at) for at in starts],
        "Values": [series[at] for at in starts],
        "StatusCode": "Complete",
    }


async def reckon(
    context: Context, queries: list[dict[str, Any]], start: float, end: float
) -> list[tuple[str, str, Series]]:
    """Id, label and values of those queries that are to be answered. Raises `ApiError`."""
    check(queries)
    times = {"StartTime": start, "EndTime": end}
    known: dict[str, Series] = {}
    periods: dict[str, int] = {}
    for query in queries:
        if "MetricStat" in query:
            stat = query["MetricStat"]
            period = periods[query["Id"]] = read.check_period(stat["Period"])
            function = statistics.parse(stat["Stat"])
            begin, stop = read.bounds(times, period)
            points, _ = await read.points(context, stat["Metric"], period, begin, stop, stat.get("Unit"))
            known[query["Id"]] = {at: function(values) for at, values in points.items()}
    values: dict[str, Value] = {**known, **_expressions(queries, known, periods, times)}
    answered = [query for query in queries if query.get("ReturnData", True)]
    return [one for query in answered for one in _labelled(query, values[query["Id"]], periods, times)]


def check(queries: list[dict[str, Any]]) -> None:
    """Raises `ApiError` for queries that cannot be answered together."""
    ids = [query["Id"] for query in queries]
    if len(ids) > MOST_QUERIES or len(set(ids)) < len(ids):
        raise ApiError("ValidationError", f"There may be {MOST_QUERIES} queries at most, each with an Id of its own.")
    for query in queries:
        if ("MetricStat" in query) == ("Expression" in query):
            raise ApiError("ValidationError", f"The query {query['Id']} must have either MetricStat or Expression.")
    if not any(query.get("ReturnData", True) for query in queries):
        raise ApiError("ValidationError", "At least one query must have ReturnData.")


def _expressions(
    queries: list[dict[str, Any]], known: dict[str, Series], periods: dict[str, int], times: dict[str, float]
) -> dict[str, Value]:
    """Each once those that it uses are there."""
    waiting = {query["Id"]: Expression(query["Expression"]) for query in queries if "Expression" in query}
    period = {query["Id"]: query.get("Period", COARSE) for query in queries}
    found: dict[str, Value] = {}
    series: dict[str, Series] = dict(known)
    while waiting:
        ready = [id_ for id_, one in waiting.items() if not one.names & waiting.keys()]
        if not ready:
            raise ApiError("ValidationError", f"The expressions {', '.join(waiting)} need each other.")
        for id_ in ready:
            used = [periods[name] for name in waiting[id_].names if name in periods]
            step = min(used or [*periods.values()] or [period[id_]])
            begin, stop = read.bounds(times, step)
            value = waiting.pop(id_).value(series, periods, range(begin, stop, step))
            found[id_] = value
            if not isinstance(value, list):
                series[id_] = _spread(value, range(begin, stop, step))
    return found


def _spread(value: float | Series, grid: range) -> Series:
    """A number is one for every period."""
    return dict.fromkeys(grid, value) if isinstance(value, float) else value


def _labelled(
    query: dict[str, Any], value: Value, periods: dict[str, int], times: dict[str, float]
) -> list[tuple[str, str, Series]]:
    id_ = query["Id"]
    label = query.get("Label") or (query["MetricStat"]["Metric"]["MetricName"] if "MetricStat" in query else id_)
    if isinstance(value, float):
        step = min(periods.values(), default=query.get("Period", COARSE))
        begin, stop = read.bounds(times, step)
        value = dict.fromkeys(range(begin, stop, step), value)
    series = value if isinstance(value, list) else [value]
    return [(id_, label, {at: one for at, one in each.items() if math.isfinite(one)}) for each in series]
