"""Regular expressions as CloudWatch has them: ``^ $ ? [ ] { } | \\ * + .`` and the classes ``\\d \\w \\s``, no groups.

Python's `re` can take hours for an expression of a stranger; here each character of the text is one step of a table
that grows as it is needed.
"""

from collections.abc import Callable
from typing import NamedTuple

#: Copies of single characters that an expression may stand for, and states that are kept.
_MOST_PLACES = 1000
_MOST_STATES = 2000
_DIGITS, _SPACES = frozenset("0123456789"), frozenset(" \t\n\r\f\v")
_WORDS = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_")
_CLASSES = {"d": _DIGITS, "s": _SPACES, "w": _WORDS}

Chars = Callable[[str], bool]


class Place(NamedTuple):
    """One character of an alternative. ``optional``: it may be left out; ``repeats``: it may come again."""

    chars: Chars
    optional: bool
    repeats: bool


class _Reader:
    """Takes an alternative apart."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def places(self) -> list[Place]:
        found: list[Place] = []
        while self.at < len(self.text):
            chars = self._atom()
            least, most = self._times()
            found += [Place(chars, optional=False, repeats=False)] * least
            if most is None:
                found.append(Place(chars, optional=True, repeats=True))
            else:
                found += [Place(chars, optional=True, repeats=False)] * (most - least)
            if len(found) > _MOST_PLACES:
                raise ValueError("the expression is too long")
        return found

    def _next(self) -> str:
        if self.at >= len(self.text):
            raise ValueError("the expression ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def _atom(self) -> Chars:
        char = self._next()
        if char in "()":
            raise ValueError("parentheses are not supported")
        if char in "?*+{}^$]":
            raise ValueError(f"{char!r} is where it means nothing")
        if char == ".":
            return lambda _: True
        if char == "[":
            return self._set()
        return _holds(self._escaped()) if char == "\\" else _holds((frozenset(char), False))

    def _escaped(self) -> tuple[frozenset[str], bool]:
        """Characters, and whether all others are meant."""
        char = self._next()
        if char.lower() in _CLASSES:
            return _CLASSES[char.lower()], char.isupper()
        if char == "x":
            return frozenset(chr(int(self._next() + self._next(), 16))), False
        if char.isalnum():
            raise ValueError(f"\\{char} is not supported")
        return frozenset(char), False

    def _set(self) -> Chars:
        negated = self.text[self.at : self.at + 1] == "^"
        self.at += negated
        parts: list[Chars] = []
        while (char := self._next()) != "]" or not parts:
            chars, others = self._escaped() if char == "\\" else (frozenset(char), False)
            if (
                len(chars) == 1
                and self.text[self.at : self.at + 1] == "-"
                and self.text[self.at + 1 : self.at + 2] != "]"
            ):
                self._next()
                parts.append(_between(next(iter(chars)), self._next()))
            else:
                parts.append(_holds((chars, others)))
        return lambda char: any(part(char) for part in parts) != negated

    def _times(self) -> tuple[int, int | None]:
        char = self.text[self.at : self.at + 1]
        if char == "{":
            end = self.text.find("}", self.at)
            least, comma, most = self.text[self.at + 1 : end].partition(",")
            if end < 0 or not least.isdigit() or (most and not most.isdigit()) or int(most or least) < int(least):
                raise ValueError("{ } needs one number or two")
            if max(int(least), int(most or 0)) > _MOST_PLACES:
                raise ValueError("the expression is too long")
            self.at = end + 1
            return int(least), (int(most) if most else None) if comma else int(least)
        usual: dict[str, tuple[int, int | None]] = {"?": (0, 1), "*": (0, None), "+": (1, None)}
        self.at += char in usual and bool(char)
        return usual.get(char, (1, 1))


def _holds(meant: tuple[frozenset[str], bool]) -> Chars:
    chars, others = meant
    return (lambda char: char not in chars) if others else chars.__contains__


def _between(first: str, last: str) -> Chars:
    if first > last:
        raise ValueError(f"{first}-{last} is no range")
    return lambda char: first <= char <= last


class Machine:
    """One expression. Raises `ValueError` for one that is not supported."""

    def __init__(self, pattern: str) -> None:
        self._places: list[Place | None] = []
        self._anchored, free = set[int](), set[int]()
        self._at_end = set[int]()
        for alternative in _alternatives(pattern):
            is_anchored, ends = alternative.startswith("^"), _ends(alternative)
            places = _Reader(alternative[is_anchored : len(alternative) - ends]).places()
            (self._anchored if is_anchored else free).add(len(self._places))
            # After the last place of each alternative comes one that stands for its end.
            self._places += [*places, None]
            if ends:
                self._at_end.add(len(self._places) - 1)
        self._free = self._closed(free)
        self._table: dict[tuple[frozenset[int], str], tuple[frozenset[int], bool]] = {}

    def found_in(self, text: str) -> bool:
        """Whether it fits anywhere in the text."""
        state = self._closed(self._anchored) | self._free
        if self._is_met(state):
            return True
        for char in text:
            known = self._table.get((state, char))
            if known is None:
                following = self._step(state, char)
                if len(self._table) >= _MOST_STATES:
                    self._table.clear()
                known = self._table[state, char] = following, self._is_met(following)
            state, is_met = known
            if is_met:
                return True
        return any(self._places[place] is None for place in state)

    def _is_met(self, state: frozenset[int]) -> bool:
        return any(self._places[place] is None and place not in self._at_end for place in state)

    def _step(self, state: frozenset[int], char: str) -> frozenset[int]:
        reached = set[int]()
        for number in state:
            place = self._places[number]
            if place is not None and place.chars(char):
                reached |= {number, number + 1} if place.repeats else {number + 1}
        return self._closed(reached) | self._free

    def _closed(self, state: set[int]) -> frozenset[int]:
        """With all that can be reached by leaving out what may be left out."""
        waiting, found = list(state), set(state)
        while waiting:
            number = waiting.pop()
            place = self._places[number]
            if place is not None and place.optional and number + 1 not in found:
                found.add(number + 1)
                waiting.append(number + 1)
        return frozenset(found)


def _alternatives(pattern: str) -> list[str]:
    parts, begin, at, in_set = [], 0, 0, False
    while at < len(pattern):
        char = pattern[at]
        if char == "\\":
            at += 1
        elif char == "|" and not in_set:
            parts.append(pattern[begin:at])
            begin = at + 1
        elif char in "[]":
            in_set = char == "["
        at += 1
    return [*parts, pattern[begin:]]


def _ends(alternative: str) -> bool:
    """Whether a ``$`` ends it that no backslash takes its meaning from."""
    body = alternative[:-1]
    return alternative.endswith("$") and (len(body) - len(body.rstrip("\\"))) % 2 == 0
