"""DescribeAlarms and DescribeAlarmHistory."""

import math
from collections.abc import Mapping
from typing import Any

from polyport.api.context import Context
from polyport.api.monitoring import alarms, composites
from polyport.aws import paginate
from polyport.domain import suppression
from polyport.domain.alarms import ACTIONS, AlarmRow, AlarmType, HistoryItem
from polyport.errors import ApiError

PAGE = 50
#: What a request has that an alarm does not show.
_NOT_SHOWN = frozenset({"Tags"})
#: What may be asked for together with the children or the parents of an alarm.
_BESIDE_RELATIVES = frozenset({"MaxRecords", "NextToken"})
_RELATIVES = ("ChildrenOfAlarmName", "ParentsOfAlarmName")


async def describe_alarms(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """By name; of metric alarms alone unless ``AlarmTypes`` says otherwise. Those that were only set by hand (`polyport
    alarm set`) are metric alarms without a metric."""
    rows = await alarms.of(context)
    asked = [member for member in _RELATIVES if member in request]
    if asked and len(request.keys() - _BESIDE_RELATIVES) > 1:
        raise ApiError("ValidationError", f"{asked[0]} goes with no other parameter but MaxRecords and NextToken.")
    found = _relatives(rows, request, asked[0]) if asked else [row for row in rows if _is_wanted(row, request)]
    members = _MEMBERS_OF_RELATIVES[asked[0]] if asked else None
    page, token = _page(context, "DescribeAlarms", request, found)
    known, now = {row.name: row for row in rows}, context.clock()
    shown = [(row.type, _described(row) | _suppressed(row, known, now)) for row in page]
    if members is not None:
        shown = [(kind, {name: row[name] for name in members}) for kind, row in shown]
    return {
        "MetricAlarms": [row for kind, row in shown if kind is AlarmType.METRIC],
        "CompositeAlarms": [row for kind, row in shown if kind is AlarmType.COMPOSITE],
        "NextToken": token,
    }


_NAMED = ("AlarmName", "AlarmArn")
_MEMBERS_OF_RELATIVES = {
    "ChildrenOfAlarmName": (*_NAMED, "StateValue", "StateUpdatedTimestamp"),
    "ParentsOfAlarmName": _NAMED,
}


def _relatives(rows: list[AlarmRow], request: dict[str, Any], asked: str) -> list[AlarmRow]:
    name = request[asked]
    if asked == "ParentsOfAlarmName":
        return [row for row in rows if name in composites.children(row)]
    below = {child for row in rows if row.name == name for child in composites.children(row)}
    return [row for row in rows if row.name in below]


def _is_wanted(row: AlarmRow, request: dict[str, Any]) -> bool:
    wanted, state = request.get("AlarmNames"), request.get("StateValue")
    return (
        (not wanted or row.name in wanted)
        and row.name.startswith(request.get("AlarmNamePrefix", ""))
        and state in {None, row.state.value}
        and row.type.value in (request.get("AlarmTypes") or [AlarmType.METRIC.value])
        and ("ActionPrefix" not in request or _has_action(row, request["ActionPrefix"]))
    )


def _has_action(row: AlarmRow, prefix: str) -> bool:
    members = row.members
    return any(action.startswith(prefix) for member in ACTIONS.values() for action in members.get(member, ()))


def _described(row: AlarmRow) -> dict[str, Any]:
    return {
        "AlarmName": row.name,
        "AlarmArn": row.arn,
        "ActionsEnabled": False,
        **{member: value for member, value in row.members.items() if member not in _NOT_SHOWN},
        "AlarmConfigurationUpdatedTimestamp": row.configured_at or row.changed_at,
        "StateValue": row.state.value,
        "StateReason": row.reason,
        "StateReasonData": row.reason_data or None,
        "StateUpdatedTimestamp": row.changed_at,
        "StateTransitionedTimestamp": row.changed_at,
    }


def _suppressed(row: AlarmRow, known: Mapping[str, AlarmRow], now: float) -> dict[str, Any]:
    name = suppression.suppressor(row)
    held = suppression.hold(row, known.get(name), now) if name else None
    return {"ActionsSuppressedBy": held.by.value, "ActionsSuppressedReason": held.reason} if held else {}


async def describe_alarm_history(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Of one alarm or of all, the newest first unless asked otherwise. Kept for thirty days."""
    end = request.get("EndDate", math.inf)
    items = await context.store.alarms.history(context.owner, request.get("StartDate", 0.0), min(end, 1e12))
    name, kind, types = request.get("AlarmName"), request.get("HistoryItemType"), request.get("AlarmTypes")
    found = [
        one
        for one in items
        if name in {None, one.name} and kind in {None, one.kind} and (not types or one.type.value in types)
    ]
    if request.get("ScanBy") != "TimestampAscending":
        found.reverse()
    page, token = _page(context, "DescribeAlarmHistory", request, found)
    return {"AlarmHistoryItems": [_told(one) for one in page], "NextToken": token}


def _told(item: HistoryItem) -> dict[str, Any]:
    return {
        "AlarmName": item.name,
        "AlarmType": item.type.value,
        "Timestamp": item.at,
        "HistoryItemType": item.kind,
        "HistorySummary": item.summary,
        "HistoryData": item.data,
    }


def _page(context: Context, operation: str, request: dict[str, Any], found: list[Any]) -> tuple[list[Any], str | None]:
    scope = f"{operation}/{context.owner.account}/{context.owner.region}"
    begin = paginate.decode(scope, request, request["NextToken"]) if "NextToken" in request else 0
    end = begin + request.get("MaxRecords", PAGE)
    return found[begin:end], paginate.encode(scope, request, end) if end < len(found) else None
