"""Alarms made of other alarms: PutCompositeAlarm, and the states that their rules ask for."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from polyport.api.context import Context
from polyport.api.monitoring import alarms, rules
from polyport.api.monitoring.rules import Rule
from polyport.aws import moments
from polyport.domain import alarms as domain
from polyport.domain.alarms import AlarmRow, AlarmState, AlarmType
from polyport.domain.names import Owner
from polyport.errors import ApiError

_PERIODS = ("ActionsSuppressorWaitPeriod", "ActionsSuppressorExtensionPeriod")
#: How many alarms a reason names, and how many characters it may have.
_TOLD = 10
LONGEST_REASON = 1023


async def put_composite_alarm(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """A new alarm on other alarms, or another definition of one, which keeps its state until it is evaluated."""
    if "ActionConfiguration" in request:
        raise _invalid("Polyport does not support ActionConfiguration of composite alarms.")
    rows = {row.name: row for row in await alarms.of(context)}
    alarms.check_type(rows, request["AlarmName"], AlarmType.COMPOSITE)
    _check_suppressor(context.owner, rows, request)
    _check_children(context.owner, rows, request)
    await alarms.define(context, request)
    return {}


def _check_suppressor(owner: Owner, rows: Mapping[str, AlarmRow], request: dict[str, Any]) -> None:
    given = [member for member in _PERIODS if member in request]
    if "ActionsSuppressor" not in request:
        if given:
            raise _invalid(f"{given[0]} needs ActionsSuppressor.")
        return
    if len(given) < len(_PERIODS) or min(request[member] for member in _PERIODS) < 0:
        raise _invalid(f"With ActionsSuppressor, {' and '.join(_PERIODS)} must be given, and not negative.")
    name = domain.name_of(owner, request["ActionsSuppressor"])
    if name == request["AlarmName"] or name not in rows:
        raise _invalid(f"ActionsSuppressor must be another alarm that exists, not {request['ActionsSuppressor']}.")


def _check_children(owner: Owner, rows: Mapping[str, AlarmRow], request: dict[str, Any]) -> None:
    name, rule = request["AlarmName"], rules.parse(request["AlarmRule"])
    wanted = [(reference, domain.name_of(owner, reference)) for reference in rule.names]
    absent = [reference for reference, child in wanted if child not in rows and child != name]
    if absent:
        raise _invalid(f"AlarmRule names alarms that do not exist: {', '.join(absent)}.")
    below = {row.name: children(row) for row in rows.values()} | {name: tuple(child for _, child in wanted if child)}
    if name in _all_below(below, name):
        raise _invalid(f"AlarmRule would make {name} depend on itself.")


def _all_below(below: Mapping[str, Iterable[str]], name: str) -> set[str]:
    found: set[str] = set()
    waiting = [*below.get(name, ())]
    while waiting:
        child = waiting.pop()
        if child not in found:
            found.add(child)
            waiting += below.get(child, ())
    return found


def children(row: AlarmRow) -> tuple[str, ...]:
    """Names of the alarms that a composite alarm's rule asks for; of others none."""
    members = row.members
    if "AlarmRule" not in members:
        return ()
    found = (domain.name_of(row.owner, reference) for reference in rules.parse(members["AlarmRule"]).names)
    return tuple(dict.fromkeys(name for name in found if name is not None))


async def evaluate(context: Context, rows: Mapping[str, AlarmRow]) -> None:
    """Bring all composite alarms of the context's owner, of all whose alarms these are, into the states that their
    rules ask for: those that others depend on first, so that a change goes all the way up at once."""
    known = dict(rows)
    for name in _in_order({row.name: children(row) for row in rows.values() if row.type is AlarmType.COMPOSITE}):
        row, now = known[name], context.clock()
        changed = _judged(row, rules.parse(row.members["AlarmRule"]), known, now)
        if changed.state is not row.state and await context.store.alarms.judge(changed):
            known[name] = changed


def _in_order(below: Mapping[str, tuple[str, ...]]) -> Iterator[str]:
    """Composite alarms after those that they depend on. A circle, which nothing lets in, is left out."""
    waiting = dict(below)
    while ready := [name for name, names in waiting.items() if not (waiting.keys() & set(names))]:
        for name in ready:
            del waiting[name]
        yield from ready


def _judged(row: AlarmRow, rule: Rule, known: Mapping[str, AlarmRow], now: float) -> AlarmRow:
    found = [(reference, known.get(domain.name_of(row.owner, reference) or "")) for reference in rule.names]
    states = {reference: child.state for reference, child in found if child is not None}
    holds = rule.holds(states)
    there = [child for _, child in found if child is not None]
    told = ", ".join(f"{child.name} is in {child.state}" for child in there[:_TOLD])
    return msgspec.structs.replace(
        row,
        state=AlarmState.ALARM if holds else AlarmState.OK,
        changed_at=now,
        reason=f"The rule is {'true' if holds else 'false'}{': ' * bool(told)}{told}."[:LONGEST_REASON],
        reason_data=msgspec.json.encode({"triggeringAlarms": [_triggering(one) for one in there[:_TOLD]]}).decode(),
    )


def _triggering(child: AlarmRow) -> dict[str, Any]:
    state = {"value": child.state.value, "timestamp": moments.to_text(child.changed_at, "iso8601")}
    return {"arn": child.arn, "state": state}


def _invalid(message: str) -> ApiError:
    return ApiError("ValidationError", message)
