"""The rule of a composite alarm: read once, then a pure function of the states of other alarms.

``ALARM(x)``, ``OK(x)`` and ``INSUFFICIENT_DATA(x)``, ``TRUE`` and ``FALSE``, ``NOT`` before ``AND`` before ``OR``, and
parentheses. The rule is kept in postfix order, so that however deep it is nothing calls itself.
"""

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import msgspec

from polyport.domain.alarms import AlarmState
from polyport.errors import ApiError

#: What a rule may have.
MOST_CHILDREN = 100
MOST_ELEMENTS = 500

_ELEMENT = re.compile(
    r"""\s*(?:
        (?P<test>ALARM|OK|INSUFFICIENT_DATA)\s*\(\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<plain>[^"()]*?))\s*\)
        |(?P<word>TRUE|FALSE|AND|OR|NOT)\b
        |(?P<parenthesis>[()])
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_STRENGTH = {"OR": 1, "AND": 2, "NOT": 3}


class Test(NamedTuple):
    """Whether an alarm is in a state. ``name``: its name or ARN, as the rule has it."""

    state: AlarmState
    name: str


Step = Test | str
"""A test, ``TRUE``, ``FALSE``, or an operator that works on what came before it."""


class Rule(msgspec.Struct, frozen=True):
    """What `parse` made of a text."""

    steps: tuple[Step, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Names or ARNs of the alarms that it asks for, each once."""
        return tuple(dict.fromkeys(step.name for step in self.steps if isinstance(step, Test)))

    def holds(self, states: Mapping[str, AlarmState]) -> bool:
        """Whether it is true. Alarms that are not there count as in ``INSUFFICIENT_DATA``."""
        stack: list[bool] = []
        for step in self.steps:
            if isinstance(step, Test):
                stack.append(states.get(step.name, AlarmState.INSUFFICIENT_DATA) is step.state)
            elif step == "NOT":
                stack.append(not stack.pop())
            elif step in _STRENGTH:
                right, left = stack.pop(), stack.pop()
                stack.append(left and right if step == "AND" else left or right)
            else:
                stack.append(step == "TRUE")
        [found] = stack
        return found


def parse(text: str) -> Rule:
    """Raises `ApiError` that says where the rule is wrong."""
    reader = _Reader(text)
    size = 0
    for element, at in _split(text):
        size += element not in _STRENGTH
        reader.take(element, at)
    rule = Rule(reader.finish())
    if len(rule.names) > MOST_CHILDREN or size > MOST_ELEMENTS:
        raise _refused(f"it may name {MOST_CHILDREN} alarms and have {MOST_ELEMENTS} elements at most", 0)
    return rule


def _split(text: str) -> Iterator[tuple[Step, int]]:
    at, end = 0, len(text.rstrip())
    while at < end:
        match = _ELEMENT.match(text, at)
        if match is None:
            raise _refused("an alarm's state, TRUE, FALSE, an operator or a parenthesis is expected", at)
        yield _element(match, at), at
        at = match.end()


def _element(match: re.Match[str], at: int) -> Step:
    if match["test"] is None:
        return str(match["word"] or match["parenthesis"]).upper()
    name = match["plain"] if match["quoted"] is None else re.sub(r"\\(.)", r"\1", match["quoted"])
    if not name:
        raise _refused("an alarm has no name", at)
    return Test(AlarmState(match["test"].upper()), name)


class _Reader:
    """Brings what is between operands behind them. Raises `ApiError`."""

    def __init__(self, text: str) -> None:
        self._end = len(text)
        self._steps: list[Step] = []
        self._waiting: list[str] = []
        self._expects_operand = True

    def take(self, element: Step, at: int) -> None:
        begins = isinstance(element, Test) or element in {"TRUE", "FALSE", "NOT", "("}
        if begins is not self._expects_operand:
            raise _refused("AND or OR is expected" if begins else "an alarm's state is expected", at)
        if isinstance(element, Test) or element in {"TRUE", "FALSE"}:
            self._steps.append(element)
            self._expects_operand = False
        elif element == ")":
            self._close(at)
        else:
            self._wait(element)

    def finish(self) -> tuple[Step, ...]:
        if self._expects_operand:
            raise _refused("an alarm's state is expected", self._end)
        self._settle(0)
        if self._waiting:
            raise _refused("a parenthesis is not closed", self._end)
        return tuple(self._steps)

    def _wait(self, element: str) -> None:
        if element in {"AND", "OR"}:
            self._settle(_STRENGTH[element])
            self._expects_operand = True
        self._waiting.append(element)

    def _close(self, at: int) -> None:
        self._settle(0)
        if not self._waiting:
            raise _refused("a parenthesis was not opened", at)
        self._waiting.pop()

    def _settle(self, strength: int) -> None:
        """Operators that bind at least so strongly have all their operands."""
        while self._waiting and self._waiting[-1] != "(" and _STRENGTH[self._waiting[-1]] >= strength:
            self._steps.append(self._waiting.pop())


def _refused(why: str, at: int) -> ApiError:
    return ApiError("ValidationError", f"AlarmRule is not right at character {at + 1}: {why}.")
