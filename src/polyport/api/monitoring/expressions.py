"""Metric math: what people commonly write, ``100 * errors / FILL(calls, 0)``, read and reckoned. Pure."""

import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from polyport.errors import ApiError

Series = dict[int, float]
"""Values by the start of their period (epoch seconds)."""

Value = float | Series | list[Series]

_TOKEN = re.compile(
    r'\s*(?:(\d+\.?\d*(?:[eE][+-]?\d+)?)|([A-Za-z_]\w*)|(==|!=|<=|>=|&&|\|\||[-+*/^(),<>\[\]])|"([^"]*)")'
)
_LEVELS = (("||", "OR"), ("&&", "AND"), ("==", "!=", "<", ">", "<=", ">="), ("+", "-"), ("*", "/"), ("^",))
#: How deep parentheses and functions may be within each other.
_DEEPEST = 50
_DYADIC: dict[str, Callable[[float, float], float]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b if b else math.nan,
    "^": lambda a, b: a**b,
    "==": lambda a, b: float(a == b),
    "!=": lambda a, b: float(a != b),
    "<": lambda a, b: float(a < b),
    ">": lambda a, b: float(a > b),
    "<=": lambda a, b: float(a <= b),
    ">=": lambda a, b: float(a >= b),
    "&&": lambda a, b: float(bool(a) and bool(b)),
    "||": lambda a, b: float(bool(a) or bool(b)),
    "AND": lambda a, b: float(bool(a) and bool(b)),
    "OR": lambda a, b: float(bool(a) or bool(b)),
}
_MONADIC: dict[str, Callable[[float], float]] = {
    "ABS": abs,
    "CEIL": lambda a: float(math.ceil(a)),
    "FLOOR": lambda a: float(math.floor(a)),
    "LOG": lambda a: math.log(a) if a > 0 else math.nan,
    "LOG10": lambda a: math.log10(a) if a > 0 else math.nan,
}
_AGGREGATES: dict[str, Callable[[list[float]], float]] = {
    "SUM": sum,
    "AVG": lambda values: sum(values) / len(values),
    "MIN": min,
    "MAX": max,
    "STDDEV": lambda values: math.sqrt(sum((v - sum(values) / len(values)) ** 2 for v in values) / len(values)),
}


class Expression:
    """One expression. ``text`` as given; raises `ApiError` ``ValidationError`` when it cannot be read."""

    def __init__(self, text: str) -> None:
        self._tokens = list(_tokens(text))
        self._at = 0
        self._depth = 0
        self._tree = self._level(0)
        if self._at < len(self._tokens):
            raise _invalid(f"'{self._tokens[self._at][1]}' is where the expression should end")
        #: The ids that it uses.
        self.names = frozenset(_names(self._tree))

    def value(self, known: Mapping[str, Series], periods: Mapping[str, int], grid: range) -> Value:
        """With the series by id. ``grid``: the starts of the periods that are asked for. Raises `ApiError`."""
        return _Reckoner(known, periods, grid).value(self._tree)

    # The grammar

    def _next(self, *wanted: str) -> bool:
        if self._at < len(self._tokens) and self._tokens[self._at][1] in wanted and self._tokens[self._at][0] != "text":
            self._at += 1
            return True
        return False

    def _need(self, wanted: str) -> None:
        if not self._next(wanted):
            raise _invalid(f"'{wanted}' is missing")

    def _level(self, level: int) -> Any:
        if level == len(_LEVELS):
            return self._single()
        left = self._level(level + 1)
        while self._next(*_LEVELS[level]):
            operator = self._tokens[self._at - 1][1]
            left = ("dyadic", operator, left, self._level(level + 1))
        return left

    def _single(self) -> Any:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _invalid("it is nested too deeply")
        try:
            return self._unnested()
        finally:
            self._depth -= 1

    def _unnested(self) -> Any:
        if self._next("-"):
            return ("dyadic", "-", ("number", 0.0), self._single())
        if self._next("("):
            inner = self._level(0)
            self._need(")")
            return inner
        if self._next("["):
            return ("list", self._arguments("]"))
        if self._at == len(self._tokens):
            raise _invalid("it ends too early")
        kind, text = self._tokens[self._at]
        self._at += 1
        if kind == "number":
            return ("number", float(text))
        if kind == "text":
            return ("text", text)
        if kind == "name":
            return ("call", text, self._arguments(")")) if self._next("(") else ("name", text)
        raise _invalid(f"'{text}' is where a value should be")

    def _arguments(self, end: str) -> list[Any]:
        found: list[Any] = []
        while not self._next(end):
            if found:
                self._need(",")
            found.append(self._level(0))
        return found


class _Reckoner:
    def __init__(self, known: Mapping[str, Series], periods: Mapping[str, int], grid: range) -> None:
        self._known = known
        self._periods = periods
        self._grid = grid

    def value(self, tree: Any) -> Value:
        kind = tree[0]
        if kind == "number":
            return float(tree[1])
        if kind == "name":
            if tree[1] not in self._known:
                raise _invalid(f"there is no {tree[1]}")
            return self._known[tree[1]]
        if kind == "dyadic":
            return _combine(_DYADIC[tree[1]], self.value(tree[2]), self.value(tree[3]))
        if kind == "list":
            return [series for one in tree[1] for series in _several(self.value(one))]
        if kind == "call":
            return self._call(tree[1].upper(), tree[2])
        raise _invalid("a text is where a value should be")

    def _call(self, name: str, arguments: list[Any]) -> Value:
        special = {"METRICS": self._metrics, "FILL": self._fill, "IF": self._if, "PERIOD": self._period}
        if name in special:
            return special[name](arguments)
        if len(arguments) != 1:
            raise _invalid(f"{name} takes one argument")
        value = self.value(arguments[0])
        if name in _MONADIC:
            function = _MONADIC[name]
            return _combine(lambda a, _: function(a), value, 0.0)
        if name in _AGGREGATES:
            return _aggregate(_AGGREGATES[name], value)
        if name in {"RATE", "DIFF", "DIFF_TIME", "RUNNING_SUM"} and isinstance(value, dict):
            return _along(name, value)
        raise _invalid(f"the function {name} is not supported for that")

    def _metrics(self, arguments: list[Any]) -> Value:
        part = arguments[0][1] if arguments and arguments[0][0] == "text" else ""
        return [series for id_, series in self._known.items() if id_ in self._periods and part in id_]

    def _period(self, arguments: list[Any]) -> Value:
        if len(arguments) != 1 or arguments[0][0] != "name" or arguments[0][1] not in self._periods:
            raise _invalid("PERIOD takes the id of a metric")
        return float(self._periods[arguments[0][1]])

    def _fill(self, arguments: list[Any]) -> Value:
        if len(arguments) != 2:
            raise _invalid("FILL takes a metric and what to fill it with")
        value, filler = self.value(arguments[0]), arguments[1]
        if isinstance(value, list):
            return [self._filled(series, filler) for series in value]
        return self._filled(value, filler) if isinstance(value, dict) else value

    def _filled(self, series: Series, filler: Any) -> Series:
        if filler in (("name", "REPEAT"), ("name", "LINEAR")):
            return _carried(series, self._grid, is_linear=filler[1] == "LINEAR")
        other = self.value(filler)
        found = dict(series)
        for at in self._grid:
            if at not in found:
                value = other.get(at) if isinstance(other, dict) else other
                if isinstance(value, float):
                    found[at] = value
        return dict(sorted(found.items()))

    def _if(self, arguments: list[Any]) -> Value:
        if not 2 <= len(arguments) <= 3:
            raise _invalid("IF takes a condition and one or two values")
        condition, *values = [self.value(one) for one in arguments]
        if any(isinstance(one, list) for one in (condition, *values)):
            raise _invalid("IF takes no arrays")
        starts = sorted({at for one in (condition, *values) if isinstance(one, dict) for at in one})
        if not starts:
            return values[0] if condition else (values[1] if len(values) > 1 else {})
        found = {}
        for at in starts:
            chosen = 0 if _at(condition, at) else 1
            value = _at(values[chosen], at) if chosen < len(values) else None
            if value is not None:
                found[at] = value
        return found


def _at(value: Value, at: int) -> float | None:
    return value.get(at) if isinstance(value, dict) else value if isinstance(value, float) else None


def _combine(function: Callable[[float, float], float], left: Value, right: Value) -> Value:
    """Series with series where both have a value; arrays element by element."""
    if isinstance(left, list):
        return [_one(_combine(function, each, right)) for each in left]
    if isinstance(right, list):
        return [_one(_combine(function, left, each)) for each in right]
    if isinstance(left, float) and isinstance(right, float):
        return _safe(function, left, right)
    starts = [set(one) for one in (left, right) if isinstance(one, dict)]
    found = {}
    for at in sorted(set.intersection(*starts)):
        a, b = _at(left, at), _at(right, at)
        if a is not None and b is not None and math.isfinite(value := _safe(function, a, b)):
            # A division by zero has no value.
            found[at] = value
    return found


def _safe(function: Callable[[float, float], float], left: float, right: float) -> float:
    try:
        value = function(left, right)
    except (OverflowError, ZeroDivisionError):
        return math.nan
    return math.nan if isinstance(value, complex) else float(value)


def _one(value: Value) -> Series:
    assert isinstance(value, dict), "of a series comes a series"
    return value


def _several(value: Value) -> list[Series]:
    if isinstance(value, float):
        raise _invalid("an array is of metrics")
    return value if isinstance(value, list) else [value]


def _aggregate(function: Callable[[list[float]], float], value: Value) -> Value:
    """Of an array, a series; of a series, a number."""
    if isinstance(value, list):
        starts = sorted({at for series in value for at in series})
        return {at: float(function([series[at] for series in value if at in series])) for at in starts}
    if isinstance(value, dict):
        return float(function(list(value.values()))) if value else {}
    return value


def _along(name: str, series: Series) -> Series:
    found, total = {}, 0.0
    before: tuple[int, float] | None = None
    for at, value in sorted(series.items()):
        total += value
        if name == "RUNNING_SUM":
            found[at] = total
        elif before is not None:
            elapsed, change = float(at - before[0]), value - before[1]
            found[at] = {"RATE": change / elapsed, "DIFF": change}.get(name, elapsed)
        before = at, value
    return found


def _carried(series: Series, grid: range, *, is_linear: bool) -> Series:
    known = sorted(series)
    found = dict(series)
    for at in grid:
        before = [one for one in known if one < at]
        after = [one for one in known if one > at]
        if at in series or not before:
            continue
        if not is_linear:
            found[at] = series[before[-1]]
        elif after:
            start, end = before[-1], after[0]
            found[at] = series[start] + (series[end] - series[start]) * (at - start) / (end - start)
    return dict(sorted(found.items()))


def _names(tree: Any) -> Iterator[str]:
    if isinstance(tree, tuple) and tree[0] == "name":
        yield tree[1]
    elif isinstance(tree, tuple | list):
        for inner in tree:
            yield from _names(inner)


def _tokens(text: str) -> Iterator[tuple[str, str]]:
    at = 0
    text = text.strip()
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise _invalid(f"'{text[at : at + 20]}' cannot be read")
        kinds = ("number", "name", "sign", "text")
        yield next((kind, found) for kind, found in zip(kinds, match.groups(), strict=True) if found is not None)
        at = match.end()


def _invalid(why: str) -> ApiError:
    return ApiError("ValidationError", f"Error in expression: {why}.")
