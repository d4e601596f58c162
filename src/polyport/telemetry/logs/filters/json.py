"""Patterns for JSON: ``{ $.level = "error" && ($.latency > 500 || $.retry IS TRUE) }``."""

import operator
import re
from collections.abc import Callable
from typing import Any

import msgspec

from polyport.telemetry.logs.filters import tokens
from polyport.telemetry.logs.filters.tokens import Condition, PatternError, Tokens

_TOKEN = re.compile(
    r'\s+|&&|\|\||!=|<=|>=|[=<>(){}]|"(?:[^"\\]|\\.)*"|%(?:[^%\\]|\\.)+%|\$(?:\.?\["[^"]*"\]|[^\s=<>!(){}&|])*|'
    r"[^\s=<>!(){}&|]+"
)
_STEP = re.compile(r'\.?\[(?:"([^"]*)"|([0-9]{1,9})|(\*))\]|\.([^.\[\]]+)')
_NUMERIC: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
    "!=": operator.ne,
}
_MISSING = object()


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Whether a message is a JSON object or list for which the conditions hold."""
    found = Tokens(pattern, _TOKEN)
    found.expect("{")
    condition = tokens.joined(found, _single)
    found.expect("}")
    if found.peek():
        raise PatternError("something follows the closing brace")

    def matches(text: str) -> bool:
        if not text.lstrip().startswith(("{", "[")):
            return False
        try:
            return condition(msgspec.json.decode(text))
        except (msgspec.DecodeError, RecursionError, UnicodeError):
            return False

    return matches


def _single(found: Tokens) -> Condition[Any]:
    steps = _steps(found.take())
    sign = found.take()
    is_comparison = sign in _NUMERIC
    test = _comparison(sign, found.take()) if is_comparison else _state(sign.upper(), found.take().upper())
    return lambda document: any(test(value) for value in _values(document, steps))


def _steps(selector: str) -> list[str | int]:
    """``$.a.b[0]`` as ``["a", "b", 0]``; ``"*"`` as a whole number of -1 is any element."""
    if not selector.startswith("$"):
        raise PatternError(f"{selector!r} does not begin with $")
    steps: list[str | int] = []
    at = 1
    while at < len(selector):
        match = _STEP.match(selector, at)
        if match is None:
            raise PatternError(f"{selector!r} names no property")
        quoted, number, every, name = match.groups()
        if quoted is not None or name is not None:
            steps.append(quoted if quoted is not None else name)
        else:
            steps.append(-1 if every else int(number))
        at = match.end()
    return steps


def _values(document: Any, steps: list[str | int]) -> list[Any]:
    """What is there; ``_MISSING`` for what is not."""
    values = [document]
    for step in steps:
        if step == -1:
            values = [inner for value in values if isinstance(value, list) for inner in value] or [_MISSING]
        else:
            values = [_below(value, step) for value in values]
    return values


def _below(value: Any, step: str | int) -> Any:
    if isinstance(step, int):
        return value[step] if isinstance(value, list) and step < len(value) else _MISSING
    return value.get(step, _MISSING) if isinstance(value, dict) else _MISSING


def _comparison(sign: str, token: str) -> Callable[[Any], bool]:
    number = tokens.number_of(token)
    if number is not None:
        compare = _NUMERIC[sign]
        return lambda value: _is_number(value) and compare(value, number)
    if sign not in ("=", "!="):
        raise PatternError(f"{sign} needs a number, not {token}")
    test = tokens.text_test(token)

    def equals(value: Any) -> bool:
        text = _text(value)
        return text is not None and test(text) == (sign == "=")

    return equals


def _state(first: str, second: str) -> Callable[[Any], bool]:
    states: dict[tuple[str, str], Callable[[Any], bool]] = {
        ("IS", "NULL"): lambda value: value is None,
        ("IS", "TRUE"): lambda value: value is True,
        ("IS", "FALSE"): lambda value: value is False,
        ("NOT", "EXISTS"): lambda value: value is _MISSING,
    }
    if (first, second) not in states:
        raise PatternError(f"{first} {second} is no condition")
    return states[first, second]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str | None:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None
