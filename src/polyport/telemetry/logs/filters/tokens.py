"""What the kinds of patterns share: their tokens, what they compare, and how conditions are joined."""

import re
from collections.abc import Callable
from typing import TypeVar

from polyport.telemetry.logs.filters import linear

Subject = TypeVar("Subject")
Condition = Callable[[Subject], bool]

#: Parentheses within parentheses.
_DEEPEST = 32


class PatternError(ValueError):
    """A filter pattern is refused; says why."""


class Tokens:
    """The tokens of a pattern, taken one by one."""

    def __init__(self, pattern: str, token: re.Pattern[str]) -> None:
        self._pattern = pattern
        self._tokens: list[str] = []
        at, size = 0, len(pattern)
        while at < size:
            match = token.match(pattern, at)
            if match is None or match.end() == at:
                raise PatternError(f"the pattern cannot be read from {pattern[at : at + 20]!r} on")
            self._tokens += [match[0].strip()] if match[0].strip() else []
            at = match.end()
        self._at = 0

    def peek(self) -> str:
        """The next token; ``""`` at the end."""
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def take(self) -> str:
        """The next token, which is then passed. Raises `PatternError` at the end."""
        token = self.peek()
        if not token:
            raise PatternError("the pattern ends too early")
        self._at += 1
        return token

    def expect(self, token: str) -> None:
        """Passes that token, or raises `PatternError`."""
        if self.take() != token:
            raise PatternError(f"{token!r} is missing")

    def accept(self, *tokens: str) -> str:
        """Passes one of these tokens if it is the next; which one."""
        return self.take() if self.peek() in tokens and self.peek() else ""


def joined(tokens: Tokens, single: Callable[[Tokens], Condition[Subject]], depth: int = 0) -> Condition[Subject]:
    """Conditions with ``&&``, ``||`` and parentheses; ``&&`` binds closer."""
    if depth > _DEEPEST:
        raise PatternError("there are too many parentheses")
    either = [_all(tokens, single, depth)]
    while tokens.accept("||"):
        either.append(_all(tokens, single, depth))
    return either[0] if len(either) == 1 else lambda subject: any(one(subject) for one in either)


def _all(tokens: Tokens, single: Callable[[Tokens], Condition[Subject]], depth: int) -> Condition[Subject]:
    every = [_one(tokens, single, depth)]
    while tokens.accept("&&"):
        every.append(_one(tokens, single, depth))
    return every[0] if len(every) == 1 else lambda subject: all(one(subject) for one in every)


def _one(tokens: Tokens, single: Callable[[Tokens], Condition[Subject]], depth: int) -> Condition[Subject]:
    if tokens.accept("("):
        inside = joined(tokens, single, depth + 1)
        tokens.expect(")")
        return inside
    return single(tokens)


def text_test(token: str) -> Callable[[str], bool]:
    """What compares a text with a value of a pattern: ``%regex%``, ``"quoted"`` or plain, ``*`` for any text."""
    if len(token) > 1 and token[0] == token[-1] == "%":
        return regex(token[1:-1])
    value = unquoted(token)
    if "*" in value:
        return regex_of_globs(value)
    return lambda text: text == value


def regex(pattern: str) -> Callable[[str], bool]:
    """Whether a text holds what the regular expression says. Raises `PatternError`."""
    try:
        return linear.Machine(pattern).found_in
    except ValueError as error:
        raise PatternError(f"%{pattern}%: {error}") from error


def regex_of_globs(value: str) -> Callable[[str], bool]:
    """Whether all of a text is like ``value``, whose asterisks stand for any text."""
    first, *middle, last = value.split("*")

    def matches(text: str) -> bool:
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        at, end = len(first), len(text) - len(last)
        for piece in middle:
            found = text.find(piece, at, end)
            if found < 0:
                return False
            at = found + len(piece)
        return True

    return matches


def unquoted(token: str) -> str:
    r"""A value without its quotes; ``\"`` and ``\\`` inside stand for themselves."""
    if len(token) > 1 and token[0] == token[-1] == '"':
        return re.sub(r"\\(.)", r"\1", token[1:-1])
    return token


def number_of(text: str) -> float | None:
    """The number that a text is; ``None`` when it is none."""
    try:
        return float(text) if re.fullmatch(r"[+-]?[0-9]*\.?[0-9]+([eE][+-]?[0-9]{1,3})?|[+-]?[0-9]+\.", text) else None
    except ValueError:
        return None
