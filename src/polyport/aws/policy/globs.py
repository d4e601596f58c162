"""Patterns with ``*`` (any text) and ``?`` (any one character), matched without backtracking.

A pattern is cut at its ``*`` into segments. The first and the last are looked for at the ends of the text, each one
between where it first occurs after the one before: what is found first leaves most text to the others, so nothing is
ever tried twice. A pattern of a hostile author costs at most its length times that of the text, at the speed of C.
"""

import enum
from collections.abc import Callable, Iterable, Sequence

Matcher = Callable[[str], bool]


class Wild(enum.Enum):
    """What is not matched literally."""

    RUN = "*"
    ONE = "?"


#: A piece of a pattern: text that is meant literally, or a wildcard.
Token = str | Wild


def length(tokens: Iterable[Token]) -> int:
    """Of the shortest text that the pattern matches."""
    return sum(len(token) if isinstance(token, str) else token is Wild.ONE for token in tokens)


def literal(tokens: Sequence[Token]) -> str | None:
    """The one text that the pattern matches; None where it has wildcards."""
    return None if any(isinstance(token, Wild) for token in tokens) else "".join(map(str, tokens))


def matcher(tokens: Sequence[Token]) -> Matcher:
    """Says whether a whole text is as the pattern wants it. Case matters."""
    only = literal(tokens)
    if only is not None:
        return only.__eq__
    segments = _segments(tokens)
    if len(segments) == 1:
        whole = segments[0]
        return lambda text: len(text) == whole.length and whole.starts(text, 0)
    if not any(segment.length for segment in segments):
        return _anything
    if len(segments) == 2 and not segments[1].length and isinstance(segments[0], _Plain):
        prefix = segments[0].text
        return lambda text: text.startswith(prefix)
    return _Glob(segments).matches


def _anything(text: str) -> bool:  # noqa: ARG001 - it has a matcher's signature
    return True


def _segments(tokens: Iterable[Token]) -> "list[_Plain | _Gapped]":
    pieces: list[list[str | None]] = [[]]
    for token in tokens:
        if token is Wild.RUN:
            pieces.append([])
        elif token is Wild.ONE:
            pieces[-1].append(None)
        elif pieces[-1] and pieces[-1][-1] is not None:
            pieces[-1][-1] += str(token)
        else:
            pieces[-1].append(str(token))
    return [_Gapped(piece) if None in piece else _Plain("".join(filter(None, piece))) for piece in pieces]


class _Plain:
    """A segment without ``?``."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.length = len(text)

    def starts(self, text: str, position: int) -> bool:
        return text.startswith(self.text, position)

    def after(self, text: str, position: int, end: int) -> int:
        """Where the first occurrence in ``text[position:end]`` ends; -1 without one."""
        found = text.find(self.text, position, end)
        return found + self.length if found >= 0 else -1


class _Gapped:
    """A segment with ``?``. It is looked for with one bit for each character of it (the shift-and algorithm): a step
    for each character of the text, whatever the segment is."""

    def __init__(self, pieces: list[str | None]) -> None:
        self.length = sum(1 if piece is None else len(piece) for piece in pieces)
        self._pieces = pieces
        self._gaps = 0
        self._bits: dict[str, int] | None = None

    def starts(self, text: str, position: int) -> bool:
        """Whether it is here; the caller has seen that the text is long enough."""
        for piece in self._pieces:
            if piece is not None and not text.startswith(piece, position):
                return False
            position += 1 if piece is None else len(piece)
        return True

    def after(self, text: str, position: int, end: int) -> int:
        """As of a plain segment."""
        bits = self._bits if self._bits is not None else self._prepare()
        whole = 1 << (self.length - 1)
        state = 0
        for index in range(position, end):
            state = ((state << 1) | 1) & bits.get(text[index], self._gaps)
            if state & whole:
                return index + 1
        return -1

    def _prepare(self) -> dict[str, int]:
        """For each character the places in the segment where it fits. Only patterns with text around need it."""
        places: dict[str, list[int]] = {}
        position = 0
        for piece in self._pieces:
            for character in piece or "?":
                if piece is None:
                    self._gaps |= 1 << position
                else:
                    places.setdefault(character, []).append(position)
                position += 1
        self._bits = {character: self._gaps | sum(1 << each for each in of) for character, of in places.items()}
        return self._bits


class _Glob:
    """Two segments or more."""

    def __init__(self, segments: "list[_Plain | _Gapped]") -> None:
        self._first, *self._between, self._last = segments
        self._between = [segment for segment in self._between if segment.length]
        self._shortest = sum(segment.length for segment in segments)

    def matches(self, text: str) -> bool:
        end = len(text) - self._last.length
        if len(text) < self._shortest or not self._first.starts(text, 0) or not self._last.starts(text, end):
            return False
        position = self._first.length
        for segment in self._between:
            position = segment.after(text, position, end)
            if position < 0:
                return False
        return True
