"""One log over its rotated files: its events from a place onwards, or backwards.

A place stays right when files are rotated: it names its file by the time of the first line, which moves with it.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from polyport.telemetry.logs import places, records
from polyport.telemetry.logs.records import EVER, Event, Position, Span

#: Bytes that are read at a time.
BLOCK = 128 * 1024
#: Longest line: `polyport.engines.logs.MAX_LINE` and what comes before the text.
_LONGEST = 300 * 1024
_HEAD = 1024
#: Whoever wrote a file this long before a time, in seconds, wrote nothing of that time, even if the clock was set back.
_LONG_AGO = 86_400.0
_MOST_FILES = 1000


class Passed(NamedTuple):
    """Nothing wanted was found up to here."""

    position: Position
    size: int


class Index:
    """Which times the blocks of the files hold, so that what is far from a time is not read again. Kept in memory;
    found out while reading."""

    def __init__(self, limit: int = 20_000) -> None:
        self._limit = limit
        self._blocks: dict[tuple[int, int, int], tuple[int, Span | None]] = {}

    def get(self, inode: int, file: int, offset: int) -> tuple[int, Span | None] | None:
        """Where the block that begins there ends, and its times; ``None`` while it is not known."""
        return self._blocks.get((inode, file, offset))

    def put(self, inode: int, file: int, offset: int, end: int, span: Span | None) -> None:
        """What was found out."""
        while len(self._blocks) >= self._limit:
            self._blocks.pop(next(iter(self._blocks)), None)
        self._blocks[inode, file, offset] = (end, span)


class Part:
    """One open file, as long as it was when it was opened."""

    def __init__(self, fd: int, *, is_newest: bool) -> None:
        self.fd = fd
        status = os.fstat(fd)
        self.inode, self.size, self.modified = status.st_ino, status.st_size, status.st_mtime
        self.file = records.first_time(os.pread(fd, _HEAD, 0))
        if is_newest:
            self.size = self._whole()

    def _whole(self) -> int:
        """Where the last line that has come completely ends: another may be on its way."""
        for reach in (_HEAD, _LONGEST):
            start = max(0, self.size - reach)
            tail = os.pread(self.fd, self.size - start, start)
            if b"\n" in tail or not start:
                break
        return start + tail.rfind(b"\n") + 1

    def block(self, offset: int) -> tuple[bytes, int]:
        """Whole lines from there on, and where they end."""
        data = os.pread(self.fd, min(BLOCK, self.size - offset), offset)
        if offset + len(data) < self.size and (cut := data.rfind(b"\n") + 1) == 0:
            data = os.pread(self.fd, min(_LONGEST, self.size - offset), offset)
        if offset + len(data) < self.size:
            cut = data.rfind(b"\n") + 1
            data = data[:cut] if cut else data
        return data.removesuffix(b"\n"), offset + len(data)

    def block_before(self, end: int) -> tuple[bytes, int]:
        """Whole lines up to there, and where they begin."""
        start = max(0, end - BLOCK)
        data = os.pread(self.fd, end - start, start)
        if start and data.find(b"\n", 0, len(data) - 1) < 0:
            start = max(0, end - _LONGEST)
            data = os.pread(self.fd, end - start, start)
        cut = data.find(b"\n", 0, len(data) - 1) + 1 if start else 0
        return data[cut:].removesuffix(b"\n"), start + cut


class Log:
    """A log opened for reading. To be used in ``with``: its files stay open, whatever happens to their names."""

    def __init__(self, path: Path, index: Index | None = None) -> None:
        self._index = index if index is not None else Index()
        self._parts = _open(path)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for part in self._parts:
            os.close(part.fd)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(part.size for part in self._parts)

    @property
    def start(self) -> Position:
        """Before the first line."""
        return Position(self._parts[0].file, 0) if self._parts else Position(0, 0)

    @property
    def end(self) -> Position:
        """After the last line."""
        return Position(self._parts[-1].file, self._parts[-1].size) if self._parts else Position(0, 0)

    def forward(self, position: Position | None = None, span: Span = EVER) -> Iterator[Event | Passed]:
        """Events within ``span`` from a place on, in the order they were written. Each block ends with a `Passed`."""
        for part, offset in self._from(position):
            yield from self._forward(part, offset, span)

    def _from(self, position: Position | None) -> list[tuple[Part, int]]:
        """The parts from a place on, each with where to begin. Where its file is gone, all younger ones."""
        files = [part.file for part in self._parts]
        if position is None or position.file not in files:
            return [(part, 0) for part in self._parts if position is None or part.file > position.file]
        at = files.index(position.file)
        return [(self._parts[at], position.offset), *((part, 0) for part in self._parts[at + 1 :])]

    def _until(self, position: Position | None) -> list[tuple[Part, int]]:
        """The parts before a place, each with where to end."""
        files = [part.file for part in self._parts]
        if position is None or position.file not in files:
            return [(part, part.size) for part in self._parts if position is None or part.file < position.file]
        at = files.index(position.file)
        end = min(position.offset, self._parts[at].size)
        return [*((part, part.size) for part in self._parts[:at]), (self._parts[at], end)]

    def _forward(self, part: Part, offset: int, span: Span) -> Iterator[Event | Passed]:
        if part.modified + _LONG_AGO < span.first / 1_000_000:
            yield Passed(Position(part.file, part.size), 0)
            return
        while offset < part.size:
            known = self._index.get(part.inode, part.file, offset)
            if known is not None and _apart(known[1], span):
                offset = known[0]
                yield Passed(Position(part.file, offset), 0)
                continue
            data, end = part.block(offset)
            if known is None and end - offset >= BLOCK // 2 and end < part.size:
                # Only blocks that are full stay as they are.
                self._index.put(part.inode, part.file, offset, end, found := records.span_of(data))
                data = b"" if _apart(found, span) else data
            for event in records.parse(data, part.file, offset):
                if span.holds(event.micros):
                    yield event
            yield Passed(Position(part.file, end), end - offset)
            offset = end

    def backward(self, position: Position | None = None, span: Span = EVER) -> Iterator[Event]:
        """Events within ``span`` that come before a place, the last one first."""
        for part, limit in reversed(self._until(position)):
            end = limit
            while end > 0:
                data, start = part.block_before(end)
                events = list(records.parse(data, part.file, start))
                yield from (event for event in reversed(events) if span.holds(event.micros))
                end = start


def _apart(block: Span | None, span: Span) -> bool:
    """Whether nothing of a block can be within."""
    return block is None or block.end <= span.first or block.first >= span.end


def _open(path: Path) -> list[Part]:
    """All parts, oldest first. Opened newest first, as they move: one that is rotated meanwhile is met twice, none is
    missed. While they are renamed one number is missing, never two."""
    found: list[Part] = []
    missing = 0
    for number in range(_MOST_FILES):
        try:
            fd = os.open(places.rotated(path, number) if number else path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            missing += 1
            if missing == 2:
                break
            continue
        missing = 0
        part = Part(fd, is_newest=number == 0)
        if any(part.inode == other.inode for other in found) or not part.size:
            os.close(fd)
        else:
            found.append(part)
    return found[::-1]
