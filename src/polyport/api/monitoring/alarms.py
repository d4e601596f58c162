"""Alarms on metrics. What they watch is evaluated by `watch`; updates of endpoints roll back on their state."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from polyport.api import tags as api_tags
from polyport.api.context import Context
from polyport.api.monitoring import composites, evaluation, get, put, read, statistics, tags
from polyport.domain.alarms import AlarmRow, AlarmState, AlarmType
from polyport.errors import ApiError
from polyport.store import TooManyTags

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
#: Composite alarms that one call may delete.
_MOST_COMPOSITES = 1


async def put_metric_alarm(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """A new alarm, or another definition of one, which keeps its state until it is evaluated."""
    _check(request)
    check_type({row.name: row for row in await of(context)}, request["AlarmName"], AlarmType.METRIC)
    await define(context, request)
    return {}


def check_type(rows: Mapping[str, AlarmRow], name: str, wanted: AlarmType) -> None:
    """Raises `ApiError` when there is an alarm of that name and of another type. One that is set by hand alone may
    become either."""
    row = rows.get(name)
    if row is not None and row.definition and row.type is not wanted:
        raise _invalid("ValidationError", f"There is a {row.type} {name} already. Choose another name, or delete it.")


async def define(context: Context, request: dict[str, Any]) -> None:
    """Write down what a request says of an alarm. Its tags are those of a new one; one that there is keeps its own."""
    now, labels = context.clock(), api_tags.from_request(request)
    definition = {member: value for member, value in request.items() if member != "Tags"}
    text = msgspec.json.encode({"ActionsEnabled": True, **definition}).decode()
    reason = "Unchecked: Initial alarm creation"
    name, state = request["AlarmName"], AlarmState.INSUFFICIENT_DATA
    try:
        await context.store.alarms.define(AlarmRow(context.owner, name, state, now, text, now, reason), labels)
    except TooManyTags as error:
        raise tags.too_many(error) from error


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
            text = msgspec.json.encode({**row.members, "ActionsEnabled": is_enabled}).decode()
            await context.store.alarms.define(msgspec.structs.replace(row, definition=text, configured_at=now))


async def delete_alarms(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """All that are there. Raises `ApiError` afterwards for those that are not, and before, when one is a child of a
    composite alarm that stays."""
    wanted = set(request["AlarmNames"])
    rows = {row.name: row for row in await of(context)}
    composed = [name for name in wanted & rows.keys() if rows[name].type is AlarmType.COMPOSITE]
    if len(composed) > _MOST_COMPOSITES:
        raise _invalid("ValidationError", "One call can delete one composite alarm at most.")
    for row in rows.values():
        if row.name not in wanted and (used := wanted & set(composites.children(row))):
            needed = ", ".join(sorted(used & rows.keys()))
            if needed:
                raise _invalid("ValidationError", f"Cannot delete {needed}: the composite alarm {row.name} needs it.")
    # Parents first: no moment has one without its children.
    for name in sorted(wanted & rows.keys(), key=lambda name: name not in composed):
        await context.store.alarms.delete(context.owner, name)
    if absent := sorted(wanted - rows.keys()):
        raise _invalid("ResourceNotFound", f"There is no alarm {', '.join(absent)}.", 404)
    return {}


async def evaluate(context: Context, row: AlarmRow) -> AlarmRow:
    """Bring one metric alarm of the context's owner into the state that its metric asks for; returns it as it is."""
    definition, now = row.members, context.clock()
    period = _period(definition)
    # Whole periods alone: the one that is under way has not all of its values.
    end = int((now - LAG) // period * period)
    start = end - evaluation.periods(definition) * period
    found = await get.reckon(context, _queries(definition), float(start), float(end))
    series = found[0][2] if found else {}
    outcome = evaluation.decide(definition, [series.get(at) for at in range(start, end, period)])
    if outcome.state is None or outcome.state is row.state:
        return row
    changed = msgspec.structs.replace(row, state=outcome.state, changed_at=now, reason=outcome.reason, reason_data="")
    return changed if await context.store.alarms.judge(changed) else row


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


async def of(context: Context) -> list[AlarmRow]:
    """All of the caller's, by name."""
    return [row for row in await context.store.alarms.all() if row.owner == context.owner]


async def _named(context: Context, wanted: Iterable[str], *, must_be_there: bool = False) -> list[AlarmRow]:
    rows = {row.name: row for row in await of(context)}
    absent = [name for name in wanted if name not in rows]
    if absent and must_be_there:
        raise _invalid("ResourceNotFound", f"There is no alarm {', '.join(absent)}.", 404)
    return [rows[name] for name in dict.fromkeys(wanted) if name in rows]


def _invalid(code: str, message: str, status: int = 400) -> ApiError:
    return ApiError(code, message, status)
