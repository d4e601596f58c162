"""Patterns for lines of columns: ``[ip, user, ..., status = 4*, bytes > 1000]``."""

import operator
import re
from collections.abc import Callable

from polyport.telemetry.logs.filters import tokens
from polyport.telemetry.logs.filters.tokens import Condition, PatternError, Tokens

_TOKEN = re.compile(
    r'\s+|&&|\|\||!=|<=|>=|\.\.\.|[=<>(),\[\]]|"(?:[^"\\]|\\.)*"|%(?:[^%\\]|\\.)+%|[^\s=<>!(),\[\]&|"%]+'
)
#: Brackets and quotes hold columns together that have spaces.
_COLUMN = re.compile(r'"([^"]*)"|\[([^\]]*)\]|(\S+)')
_SIGNS: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def compile_pattern(pattern: str) -> Callable[[str], bool]:
    """Whether a line has these columns, no more and no fewer, and their conditions hold; ``...`` is any number."""
    found = Tokens(pattern, _TOKEN)
    found.expect("[")
    before: list[Condition[str]] = []
    after: list[Condition[str]] | None = None
    while True:
        if found.accept("..."):
            if after is not None:
                raise PatternError("there is more than one ellipsis")
            after = []
        else:
            (before if after is None else after).append(_column(found))
        if not found.accept(","):
            break
    found.expect("]")
    if found.peek():
        raise PatternError("something follows the closing bracket")
    return lambda text: _fits(_columns(text), before, after)


def _fits(columns: list[str], before: list[Condition[str]], after: list[Condition[str]] | None) -> bool:
    least = len(before) + len(after or ())
    if len(columns) < least or (after is None and len(columns) > least):
        return False
    chosen = columns[: len(before)] + (columns[len(columns) - len(after) :] if after else [])
    return all(test(column) for test, column in zip(before + (after or []), chosen, strict=True))


def _columns(text: str) -> list[str]:
    return [next(group for group in match.groups() if group is not None) for match in _COLUMN.finditer(text)]


def _column(found: Tokens) -> Condition[str]:
    """A name alone, or conditions, all on that name."""
    if found.peek() == "(":
        return tokens.joined(found, _single)
    name = found.take()
    if name in (",", "]"):
        raise PatternError("a column has no name")
    if found.peek() in (",", "]", ""):
        return lambda _: True
    first = _comparison(found)
    return _further(found, first)


def _further(found: Tokens, first: Condition[str]) -> Condition[str]:
    every = [[first]]
    while sign := found.accept("&&", "||"):
        if sign == "||":
            every.append([])
        every[-1].append(tokens.joined(found, _single) if found.peek() == "(" else _single(found))
    return lambda text: any(all(test(text) for test in group) for group in every)


def _single(found: Tokens) -> Condition[str]:
    found.take()
    return _comparison(found)


def _comparison(found: Tokens) -> Condition[str]:
    sign, token = found.take(), found.take()
    if sign in ("=", "!="):
        is_equal = sign == "="
        number, test = tokens.number_of(token), tokens.text_test(token)
        return lambda text: (test(text) or (number is not None and tokens.number_of(text) == number)) == is_equal
    number = tokens.number_of(token)
    if sign not in _SIGNS or number is None:
        raise PatternError(f"{sign} {token} is no condition")
    compare, limit = _SIGNS[sign], number
    return lambda text: (value := tokens.number_of(text)) is not None and compare(value, limit)
