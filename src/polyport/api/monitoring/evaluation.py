"""Which state an alarm is in: a pure function of what it watches and of the values of its latest periods."""

import operator
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from polyport.domain.alarms import AlarmState

COMPARISONS: dict[str, tuple[Callable[[float, float], bool], str]] = {
    "GreaterThanOrEqualToThreshold": (operator.ge, "greater than or equal to"),
    "GreaterThanThreshold": (operator.gt, "greater than"),
    "LessThanThreshold": (operator.lt, "less than"),
    "LessThanOrEqualToThreshold": (operator.le, "less than or equal to"),
}
#: How many periods more than are evaluated are looked at, for values in the place of missing ones.
FURTHER = 2


class Outcome(msgspec.Struct, frozen=True):
    """A state and why. ``state`` is ``None`` when the alarm keeps the one that it has."""

    state: AlarmState | None
    reason: str


def periods(definition: dict[str, Any]) -> int:
    """How many periods are looked at."""
    return int(definition["EvaluationPeriods"]) + FURTHER


def decide(definition: dict[str, Any], values: Sequence[float | None]) -> Outcome:
    """``values`` of the latest `periods`, oldest first, ``None`` for those without one.

    With as many values as are evaluated, the latest count, and how missing ones are treated does not matter.
    """
    wanted, needed = definition["EvaluationPeriods"], _needed(definition)
    compare, words = COMPARISONS[definition["ComparisonOperator"]]
    threshold, treatment = definition["Threshold"], definition.get("TreatMissingData", "missing")
    there = [value for value in values if value is not None][-wanted:]
    breaching = sum(compare(value, threshold) for value in there)
    missing = wanted - len(there)
    if missing and treatment in {"breaching", "notBreaching"}:
        bad = breaching + (missing if treatment == "breaching" else 0)
        state: AlarmState | None = AlarmState.ALARM if bad >= needed else AlarmState.OK
    elif not there:
        state = None if treatment == "ignore" else AlarmState.INSUFFICIENT_DATA
    elif breaching >= needed or (treatment == "missing" and missing and breaching == len(there)):
        state = AlarmState.ALARM
    else:
        state = None if treatment == "ignore" and missing and breaching == len(there) else AlarmState.OK
    return Outcome(state, _reason(there, missing, breaching, f"{words} the threshold ({threshold})"))


def _needed(definition: dict[str, Any]) -> int:
    return int(definition.get("DatapointsToAlarm") or definition["EvaluationPeriods"])


def _reason(there: Sequence[float], missing: int, breaching: int, rule: str) -> str:
    if not there:
        return f"Threshold Crossed: no datapoints were received for {missing} periods."
    shown = ", ".join(f"{value:g}" for value in there[:10])
    return f"Threshold Crossed: {breaching} out of the last {len(there)} datapoints [{shown}] were {rule}."
