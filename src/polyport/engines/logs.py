"""Container output in rotated files: ``2026-01-31T12:00:00.123456Z stdout text``, one line each.

The streams are ``stdout``, ``stderr`` and ``system``; the last holds what the engine has to say.
"""

import contextlib
import os
import time
from pathlib import Path

from polyport.telemetry.logs import places

#: Longer lines are cut into pieces of this many bytes.
MAX_LINE = 256 * 1024
#: How many lines, and of each at most how many characters, are shown where a container does not do well.
LINES = 20
LINE_LENGTH = 2000
#: So much of the end of a log file is read for that.
_TAIL_BYTES = 256 * 1024
#: How often a folder is made again that is cleared away at the same moment.
_TRIES = 3


class Lines:
    """Cuts a stream of bytes into lines."""

    def __init__(self, limit: int = MAX_LINE) -> None:
        self._limit = limit
        self._rest = b""

    @property
    def pending(self) -> bytes:
        """The beginning of a line that has no line feed yet."""
        return self._rest

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that ``data`` completes, without their line feeds."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        lines = [piece for line in whole for piece in self._cut(line)]
        if len(self._rest) >= self._limit:
            *pieces, self._rest = self._cut(self._rest)
            lines += pieces
        return lines

    def flush(self) -> list[bytes]:
        """The last line, which was not ended by a line feed."""
        rest, self._rest = self._rest, b""
        return self._cut(rest) if rest else []

    def _cut(self, line: bytes) -> list[bytes]:
        return [line[at : at + self._limit] for at in range(0, len(line), self._limit)] or [line]


class Log:
    """One rotated file. Never blocks on, and never raises for, a disk that is full or gone: it drops lines and says so
    once it can."""

    def __init__(self, path: Path, max_bytes: int, keep: int) -> None:
        self.path = path
        self._max_bytes = max_bytes
        self._keep = keep
        self._fd = -1
        self._size = 0
        self._torn = False
        self._dropped = 0

    def write(self, stream: str, lines: list[bytes]) -> None:
        """Appends the lines, each with the present time; rotates where the size is reached."""
        head = format_time(time.time()) + b" " + stream.encode() + b" "
        self.append([head + line + b"\n" for line in lines])

    def append(self, records: list[bytes]) -> None:
        """Appends whole lines: time, stream, text and line feed. Rotates as `write` does."""
        batch: list[bytes] = []
        with contextlib.suppress(OSError):
            self._open()
        size = self._size
        for record in records:
            if size + len(record) > self._max_bytes:
                self._append(batch)
                self._rotate()
                batch, size = [], self._size
            batch.append(record)
            size += len(record)
        self._append(batch)

    def note(self, text: str) -> None:
        """A line of the engine's own."""
        self.write("system", [text.encode("utf-8", "replace")])

    def close(self) -> None:
        """Closes the file; a later `write` opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _append(self, records: list[bytes]) -> None:
        if not records:
            return
        try:
            self._open()
            self._put(self._mend() + b"".join(records))
        except OSError:
            self._dropped += len(records)
        else:
            self._dropped = 0

    def _mend(self) -> bytes:
        """What goes before the next record after trouble: an end for a torn line, and a word on what was lost."""
        mend = b"\n" if self._torn else b""
        if self._dropped:
            mend += format_time(time.time()) + b" system %d lines were lost: the disk took no more.\n" % self._dropped
        return mend

    def _put(self, data: bytes) -> None:
        while data:
            written = os.write(self._fd, data)
            self._size += written
            self._torn = data[written - 1 : written] != b"\n"
            data = data[written:]

    def _open(self) -> None:
        # A file that was deleted (DeleteLogGroup, retention) would take lines that nobody can read.
        if self._fd >= 0 and os.fstat(self._fd).st_nlink:
            return
        self.close()
        self._fd = self._create()
        self._size = os.fstat(self._fd).st_size

    def _create(self) -> int:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        for _ in range(_TRIES):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # The empty folder may be cleared away in between.
            with contextlib.suppress(FileNotFoundError):
                return os.open(self.path, flags, 0o600)
        return os.open(self.path, flags, 0o600)

    def _rotate(self) -> None:
        """``name.log`` becomes ``name.log.1``, that ``name.log.2``, ...; the oldest goes."""
        if not self._size:
            return
        self.close()
        self._size = 0
        with contextlib.suppress(OSError):
            for number in range(self._keep - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    places.rotated(self.path, number).replace(places.rotated(self.path, number + 1))
            self.path.replace(places.rotated(self.path, 1))


def format_time(at: float) -> bytes:
    """ISO 8601 in UTC with microseconds."""
    seconds, micros = divmod(int(at * 1_000_000), 1_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{micros:06d}Z".encode()


def read_tail(log: Path) -> tuple[str, ...]:
    """The last lines the container printed, without times and streams; of the older file too if the newest is short."""
    lines = _tail_of(log)
    if len(lines) < LINES:
        lines = _tail_of(places.rotated(log, 1)) + lines
    return tuple(lines[-LINES:])


def _tail_of(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            raw = file.read().split(b"\n")
    except OSError:
        return []
    whole = raw[1:] if size > _TAIL_BYTES else raw
    parted = (line.decode("utf-8", "replace").split(" ", 2) for line in whole)
    return [parts[2][:LINE_LENGTH] for parts in parted if len(parts) == 3 and parts[1] in ("stdout", "stderr")]
