"""Alarms on metrics. What they watch is evaluated by `watch`; updates of endpoints roll back on their state."""

import math
from collections.abc import Iterable
from typing import Any

import msgspec

from polyport.api.context import Context
from polyport.api.monitoring import evaluation, get, put, read, statistics
from polyport.aws import paginate
from polyport.domain import names
from polyport.domain.alarms import AlarmRow, AlarmState, HistoryItem
from polyport.domain.names import Owner
from polyport.errors import ApiError

PAGE = 50
#: Seconds that an evaluation may look back over.
LONGEST = 7 * 24 * 3600
#: Seconds that counts may be on their way.
LAG = 2.0
#: Seconds for which an alarm's history is kept.
HISTORY = 30 * 24 * 3600
_UNSUPPORTED = (
    "ThresholdMetricId",
    "EvaluationWindow",
    "WarmUpConfiguration",
    "EvaluationCriteria",
    "EvaluationInterval",
    "ActionConfiguration",
)
#: What a request has that an alarm does not show.
_NOT_SHOWN = frozenset({"Tags"})


async def put_metric_alarm(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """A new alarm, or another definition of one, which keeps its state until it is evaluated."""
    _check(request)
    now = context.clock()
    definition = {"ActionsEnabled": True, **request}
    text = msgspec.json.encode(definition).decode()
    reason = "Unchecked: Initial alarm creation"
    name, state = request["AlarmName"], AlarmState.INSUFFICIENT_DATA
    await context.store.alarms.define(AlarmRow(context.owner, name, state, now, text, now, reason))
    return {}


def _check(request: dict[str, Any]) -> None:
    given = [member for member in _UNSUPPORTED if member in request]
    if given or request.get("ComparisonOperator") not in evaluation.COMPARISONS:
        what = ", ".join(given) or f"ComparisonOperator {request.get('ComparisonOperator')}"
        raise _invalid("InvalidParameterValueException", f"Polyport does not support {what} of alarms.")
    lacking = [member for member in ("EvaluationPeriods", "Threshold") if member not in request]
    if ("MetricName" in request) == ("Metrics" in request):
        raise _invalid("InvalidParameterCombinationException", "An alarm must have either MetricName or Metrics.")
    if "MetricName" in request:
        lacking += [member for member in ("Namespace", "Period") if member not in request]
        if ("Statistic" in request) == ("ExtendedStatistic" in request):
            raise _invalid(
                "InvalidParameterCombinationException", "An alarm must have either Statistic or ExtendedStatistic."
            )
    if lacking:
        raise _invalid("MissingRequiredParameterException", f"The parameters {', '.join(lacking)} must be given.")
    _check_numbers(request)


def _check_numbers(request: dict[str, Any]) -> None:
    if "MetricName" in request:
        statistics.parse(request.get("Statistic") or request["ExtendedStatistic"])
        put.dimensions_of(request.get("Dimensions", ()), "Alarm")
    else:
        get.check(request["Metrics"])
        if len([one for one in request["Metrics"] if one.get("ReturnData", True)]) != 1:
            raise _invalid("ValidationException", "Exactly one of Metrics must have ReturnData.")
    count, period = request["EvaluationPeriods"], _period(request)
    if not 1 <= request.get("DatapointsToAlarm", 1) <= count or count * period > LONGEST:
        raise _invalid(
            "ValidationException",
            "DatapointsToAlarm must not be more than EvaluationPeriods, which together may span seven days.",
        )


async def describe_alarms(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """By name. Those that were only set by hand (`polyport alarm set`) have no metric."""
    rows = await _of(context)
    wanted, prefix = request.get("AlarmNames"), request.get("AlarmNamePrefix", "")
    state = request.get("StateValue")
    found = [
        row
        for row in rows
        if (not wanted or row.name in wanted) and row.name.startswith(prefix) and state in {None, row.state.value}
    ]
    if request.get("AlarmTypes") and "MetricAlarm" not in request["AlarmTypes"]:
        found = []
    page, token = _page(context, "DescribeAlarms", request, found)
    return {"MetricAlarms": [_described(row) for row in page], "CompositeAlarms": [], "NextToken": token}


def _described(row: AlarmRow) -> dict[str, Any]:
    definition = _definition(row)
    return {
        "AlarmName": row.name,
        "AlarmArn": arn(row.owner, row.name),
        "ActionsEnabled": False,
        **{member: value for member, value in definition.items() if member not in _NOT_SHOWN},
        "AlarmConfigurationUpdatedTimestamp": row.configured_at or row.changed_at,
        "StateValue": row.state.value,
        "StateReason": row.reason,
        "StateReasonData": row.reason_data or None,
        "StateUpdatedTimestamp": row.changed_at,
        "StateTransitionedTimestamp": row.changed_at,
    }


async def describe_alarm_history(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Of one alarm or of all, the newest first unless asked otherwise. Kept for thirty days."""
    end = request.get("EndDate", math.inf)
    items = await context.store.alarms.history(context.owner, request.get("StartDate", 0.0), min(end, 1e12))
    name, kind = request.get("AlarmName"), request.get("HistoryItemType")
    found = [one for one in items if name in {None, one.name} and kind in {None, one.kind}]
    if request.get("ScanBy") != "TimestampAscending":
        found.reverse()
    page, token = _page(context, "DescribeAlarmHistory", request, found)
    return {"AlarmHistoryItems": [_told(one) for one in page], "NextToken": token}


def _told(item: HistoryItem) -> dict[str, Any]:
    return {
        "AlarmName": item.name,
        "AlarmType": "MetricAlarm",
        "Timestamp": item.at,
        "HistoryItemType": item.kind,
        "HistorySummary": item.summary,
        "HistoryData": item.data,
    }


async def set_alarm_state(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Until the next evaluation. Raises `ApiError` for an alarm that is not there."""
    [row] = await _named(context, [request["AlarmName"]], must_be_there=True)
    changed = msgspec.structs.replace(
        row,
        state=AlarmState(request["StateValue"]),
        changed_at=context.clock(),
        reason=request["StateReason"],
        reason_data=request.get("StateReasonData", ""),
    )
    await context.store.alarms.put(changed)
    return {}


async def enable_alarm_actions(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Alarms that are not there are passed over."""
    await _set_enabled(context, request["AlarmNames"], is_enabled=True)
    return {}


async def disable_alarm_actions(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Alarms that are not there are passed over."""
    await _set_enabled(context, request["AlarmNames"], is_enabled=False)
    return {}


async def _set_enabled(context: Context, wanted: list[str], *, is_enabled: bool) -> None:
    now = context.clock()
    for row in await _named(context, wanted):
        if row.definition:
            text = msgspec.json.encode({**_definition(row), "ActionsEnabled": is_enabled}).decode()
            await context.store.alarms.define(msgspec.structs.replace(row, definition=text, configured_at=now))


async def delete_alarms(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """All of them, or, when one is not there, none."""
    for row in await _named(context, request["AlarmNames"], must_be_there=True):
        await context.store.alarms.delete(context.owner, row.name)
    return {}


async def evaluate(context: Context, row: AlarmRow) -> None:
    """Bring one alarm of the context's owner into the state that its metric asks for."""
    definition, now = _definition(row), context.clock()
    period = _period(definition)
    # Whole periods alone: the one that is under way has not all of its values.
    end = int((now - LAG) // period * period)
    start = end - evaluation.periods(definition) * period
    found = await get.reckon(context, _queries(definition), float(start), float(end))
    series = found[0][2] if found else {}
    outcome = evaluation.decide(definition, [series.get(at) for at in range(start, end, period)])
    if outcome.state is not None and outcome.state is not row.state:
        changed = msgspec.structs.replace(
            row, state=outcome.state, changed_at=now, reason=outcome.reason, reason_data=""
        )
        await context.store.alarms.put(changed)


def _queries(definition: dict[str, Any]) -> list[dict[str, Any]]:
    if "Metrics" in definition:
        queries: list[dict[str, Any]] = definition["Metrics"]
        return queries
    metric = {name: definition[name] for name in ("Namespace", "MetricName", "Dimensions") if name in definition}
    stat = {"Metric": metric, "Period": definition["Period"]}
    stat["Stat"] = definition.get("Statistic") or definition["ExtendedStatistic"]
    if "Unit" in definition:
        stat["Unit"] = definition["Unit"]
    return [{"Id": "m", "MetricStat": stat}]


def _period(definition: dict[str, Any]) -> int:
    """Of an alarm on several metrics, the shortest of theirs. Raises `ApiError`."""
    if "Metrics" not in definition:
        return read.check_period(definition["Period"])
    found = [one["MetricStat"]["Period"] for one in definition["Metrics"] if "MetricStat" in one]
    return read.check_period(min(found, default=60))


def arn(owner: Owner, name: str) -> str:
    """``arn:aws:cloudwatch:REGION:ACCOUNT:alarm:NAME``."""
    return f"arn:{names.partition(owner.region)}:cloudwatch:{owner.region}:{owner.account}:alarm:{name}"


def _definition(row: AlarmRow) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(row.definition) if row.definition else {}
    return found


async def _of(context: Context) -> list[AlarmRow]:
    return [row for row in await context.store.alarms.all() if row.owner == context.owner]


async def _named(context: Context, wanted: Iterable[str], *, must_be_there: bool = False) -> list[AlarmRow]:
    rows = {row.name: row for row in await _of(context)}
    absent = [name for name in wanted if name not in rows]
    if absent and must_be_there:
        raise _invalid("ResourceNotFound", f"There is no alarm {', '.join(absent)}.", 404)
    return [rows[name] for name in dict.fromkeys(wanted) if name in rows]


def _page(context: Context, operation: str, request: dict[str, Any], found: list[Any]) -> tuple[list[Any], str | None]:
    scope = f"{operation}/{context.owner.account}/{context.owner.region}"
    begin = paginate.decode(scope, request, request["NextToken"]) if "NextToken" in request else 0
    end = begin + request.get("MaxRecords", PAGE)
    return found[begin:end], paginate.encode(scope, request, end) if end < len(found) else None


def _invalid(code: str, message: str, status: int = 400) -> ApiError:
    return ApiError(code, message, status)
