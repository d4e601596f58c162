"""Lines of a log file as events: ``2026-01-31T12:00:00.123456Z stdout text``. Pure."""

import calendar
import functools
import re
import time
from collections.abc import Iterator
from typing import NamedTuple

TIME = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}\.[0-9]{6}Z ")
_TIMES = re.compile(rb"^(" + TIME.pattern + rb")", re.MULTILINE)
_LENGTH = len("2026-01-31T12:00:00.123456Z ")
#: What the engine itself has to say is marked in the text.
ENGINE_MARK = "[polyport] "


class Position(NamedTuple):
    """A place in a log: the file, known by the time of its first line in microseconds, and bytes from its beginning."""

    file: int
    offset: int


class Event(NamedTuple):
    """One line. ``micros`` is its time since the epoch; ``file``, ``offset`` where it begins, ``end`` where the next
    one does."""

    micros: int
    source: str
    text: str
    file: int
    offset: int
    end: int

    @property
    def position(self) -> Position:
        """Where it begins."""
        return Position(self.file, self.offset)

    @property
    def after(self) -> Position:
        """Where the next one begins."""
        return Position(self.file, self.end)

    @property
    def message(self) -> str:
        """As CloudWatch shows it."""
        return ENGINE_MARK + self.text if self.source == "system" else self.text


class Span(NamedTuple):
    """Times in microseconds: from ``first``, up to but not including ``end``."""

    first: int = 0
    end: int = 2**63

    def holds(self, micros: int) -> bool:
        """Whether a time is within."""
        return self.first <= micros < self.end


EVER = Span()


def parse(data: bytes, file: int, offset: int) -> Iterator[Event]:
    """The events in whole lines that begin at ``offset``. What has no time in front is a torn piece, and left out."""
    for line in data.split(b"\n"):
        end = offset + len(line) + 1
        if len(line) >= _LENGTH and line[_LENGTH - 2] == 0x5A and (micros := _micros(line)) is not None:
            source, _, text = line[_LENGTH:].partition(b" ")
            yield Event(micros, source.decode("ascii", "replace"), text.decode("utf-8", "replace"), file, offset, end)
        offset = end


def first_time(data: bytes) -> int:
    """The first time in the beginning of a file; 0 when there is none."""
    match = _TIMES.search(data)
    return _micros(match[1]) or 0 if match else 0


def span_of(data: bytes) -> Span | None:
    """From the earliest time to the latest, which is within; ``None`` when there is none."""
    times = _TIMES.findall(data)
    first, last = (_micros(min(times)), _micros(max(times))) if times else (None, None)
    return None if first is None or last is None else Span(first, last + 1)


def _micros(line: bytes) -> int | None:
    try:
        return _second(line[:19]) * 1_000_000 + int(line[20:26])
    except ValueError:
        return None


@functools.lru_cache(maxsize=4096)
def _second(text: bytes) -> int:
    return calendar.timegm(time.strptime(text.decode("ascii"), "%Y-%m-%dT%H:%M:%S"))
