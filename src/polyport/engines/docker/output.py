"""What a container prints, from the daemon into the same rotated files as any engine's.

No loss and no doubles over restarts of control: the file itself says how far it is. Each line is written with the time
at which the daemon got it; a follower asks for everything since the last time in the file, and skips as many lines of
that time as the file has. A note with the container's id divides what different containers printed.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Collection
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from polyport.engines import logs
from polyport.engines.docker.calls import Calls
from polyport.errors import EngineError
from polyport.telemetry.logs import places

#: So much of the end of a log is read to find out how far it is, and at most so much where one second has more.
_TAIL_BYTES = 1024 * 1024
_TAIL_LIMIT = 64 * 1024 * 1024
#: How much earlier than the last line in the file reading begins: the two streams' times may be a little out of order.
_OVERLAP = 1.0
#: Seconds until the daemon is asked again when it could not be, and those that the last look at a log may take.
_PAUSE = 1.0
_DRAIN_LIMIT = 10.0
_STREAMS = {1: "stdout", 2: "stderr"}
#: How the notes on the end of a run begin.
ENDS = (b"exited with code", b"ended by")
_MARK = b"output of container "

#: Stream, time in whole seconds, text.
Tail = tuple[str, bytes, bytes]


class Line(msgspec.Struct, frozen=True):
    """One line as it came: the daemon's time (``2026-01-31T12:00:00.123456789Z``), its stream, its text."""

    at: bytes
    stream: str
    text: bytes


class Frames:
    """Cuts the daemon's multiplexed stream into lines. A long line comes in several frames, each with its time.

    ``tails`` are lines that ended with a run of the container rather than with a line feed (`Place.tails`): what comes
    next is of another run.
    """

    def __init__(self, tails: Collection[Tail] = ()) -> None:
        self._tails = tails
        self._rest = b""
        self._lines = {stream: logs.Lines() for stream in _STREAMS.values()}
        self._at = dict.fromkeys(_STREAMS.values(), b"")

    def feed(self, data: bytes) -> list[Line]:
        """The lines that ``data`` completes."""
        self._rest += data
        lines: list[Line] = []
        at, size = 0, len(self._rest)
        while at + 8 <= size:
            end = at + 8 + int.from_bytes(self._rest[at + 4 : at + 8], "big")
            if end > size:
                break
            lines += self._take(self._rest[at], self._rest[at + 8 : end])
            at = end
        self._rest = self._rest[at:]
        return lines

    def flush(self) -> list[Line]:
        """Last lines, which were not ended by a line feed."""
        return [Line(self._at[stream], stream, text) for stream, lines in self._lines.items() for text in lines.flush()]

    def _take(self, number: int, payload: bytes) -> list[Line]:
        stream = _STREAMS.get(number, "stdout")
        at, _, text = payload.partition(b" ")
        lines = self._lines[stream]
        last = self._flush(stream) if (stream, self._at[stream][:19], lines.pending) in self._tails else []
        self._at[stream] = in_utc(at)
        return last + [Line(self._at[stream], stream, line) for line in lines.feed(text)]

    def _flush(self, stream: str) -> list[Line]:
        return [Line(self._at[stream], stream, text) for text in self._lines[stream].flush()]


class Place:
    """How far a log file is in what one container printed."""

    def __init__(self, records: list[bytes], container: str) -> None:
        """``records`` are the last lines of the file, oldest first."""
        self._times: dict[str, list[bytes]] = {stream: [] for stream in _STREAMS.values()}
        #: How many lines of the last time are still to come again.
        self._left: dict[str, int] = {}
        #: The last line of each stream before each end that the file tells of.
        self.tails: set[Tail] = set()
        latest: dict[str, Tail] = {}
        mark = b""
        for record in records:
            at, _, rest = record.partition(b" ")
            stream, _, text = rest.partition(b" ")
            if stream == b"system" and text.startswith(_MARK):
                self._times = {stream: [] for stream in _STREAMS.values()}
                mark = text
                latest.clear()
            elif stream == b"system":
                self.tails |= set(latest.values()) if text.startswith(ENDS) else set()
            elif stream in (b"stdout", b"stderr"):
                self._times[stream.decode()].append(at.rstrip(b"Z"))
                latest[stream.decode()] = (stream.decode(), at[:19], text)
        # Where the note is too far back to be seen, all that is seen came after it.
        self.is_marked = mark == _mark(container) or (not mark and any(self._times.values()))
        if not self.is_marked:
            self._times = {stream: [] for stream in _STREAMS.values()}

    @property
    def since(self) -> str:
        """Where reading has to begin, for the daemon: epoch seconds; ``0`` for all."""
        last = max((times[-1] for times in self._times.values() if times), default=b"")
        return f"{max(0.0, parse_time(last) - _OVERLAP):.0f}" if last else "0"

    def is_known(self, line: Line) -> bool:
        """Whether the file has the line. To be asked in the order in which lines come."""
        times = self._times[line.stream]
        if not times:
            return False
        # Podman 4.3 gives whole seconds: then those are compared.
        key = precise(line.at)[: len(times[-1])]
        last = times[-1][: len(key)]
        if key != last:
            return key < last
        if line.stream not in self._left:
            self._left[line.stream] = sum(at.startswith(last) for at in times)
        self._left[line.stream] -= 1
        return self._left[line.stream] >= 0


class Output:
    """Of one container: follows it into its log, until `finish`."""

    def __init__(self, calls: Calls, container: str, log: logs.Log) -> None:
        self._calls = calls
        self._container = container
        self._log = log
        self._following = asyncio.create_task(self._follow())

    async def finish(self) -> None:
        """Writes what is left of a run that has ended; the daemon has all of it by then."""
        await self.close()
        with contextlib.suppress(TimeoutError, EngineError):
            async with asyncio.timeout(_DRAIN_LIMIT):
                await self._pass_on(follow=False)

    async def close(self) -> None:
        """Stops following."""
        self._following.cancel()
        await asyncio.gather(self._following, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            # A daemon that is away, or a stream that broke off.
            with contextlib.suppress(EngineError):
                await self._pass_on(follow=True)
            await asyncio.sleep(_PAUSE)

    async def _pass_on(self, *, follow: bool) -> None:
        place = Place(await asyncio.to_thread(read_records, self._log.path), self._container)
        if not place.is_marked:
            self._log.note(_mark(self._container).decode())
        frames = Frames(place.tails)
        async for data in self._read(place.since, follow=follow):
            self._write(place, frames.feed(data))
        self._write(place, frames.flush())

    async def _read(self, since: str, *, follow: bool) -> AsyncIterator[bytes]:
        path = f"containers/{self._container}/logs"
        asked = {"stdout": "1", "stderr": "1", "timestamps": "1", "since": since}
        async with self._calls.stream(path, **asked, follow="1" if follow else "0") as stream:
            while data := await stream.readany():
                yield data

    def _write(self, place: Place, lines: list[Line]) -> None:
        now = logs.format_time(time.time())
        records = [
            b"%s %s %s\n" % (stamp(line.at, now), line.stream.encode(), line.text)
            for line in lines
            if not place.is_known(line)
        ]
        if records:
            self._log.append(records)


async def read_last(calls: Calls, container: str, path: Path) -> tuple[str, ...]:
    """The last lines in the log and those that the daemon has besides, oldest first.

    Raises `EngineError`, and `TimeoutError` within seconds. Podman's own way to ask for last lines mixes up those that
    were printed piece by piece.
    """
    records = await asyncio.to_thread(read_records, path)
    place = Place(records, container)
    frames, lines = Frames(place.tails), []
    asked = {"stdout": "1", "stderr": "1", "timestamps": "1", "since": place.since}
    async with asyncio.timeout(_DRAIN_LIMIT), calls.stream(f"containers/{container}/logs", **asked) as stream:
        while data := await stream.readany():
            lines += frames.feed(data)
    parted = (record.split(b" ", 2) for record in records[-10 * logs.LINES :])
    texts = [parts[2] for parts in parted if len(parts) == 3 and parts[1] in (b"stdout", b"stderr")]
    texts += [line.text for line in [*lines, *frames.flush()] if not place.is_known(line)]
    return tuple(text.decode("utf-8", "replace") for text in texts[-logs.LINES :])


def read_records(path: Path) -> list[bytes]:
    """The last lines of a log, of older files too if the newest is short: all that a daemon is asked for again."""
    size = _TAIL_BYTES
    while True:
        tail, is_all = _read_tail(path, size)
        records = tail.split(b"\n")[0 if is_all else 1 : -1]
        # Podman's times are whole seconds: only with all of a second's lines can those be told that are new.
        if is_all or size >= _TAIL_LIMIT or (records and _span(records) > _OVERLAP + 2.0):
            return records
        size *= 4


def _span(records: list[bytes]) -> float:
    return parse_time(records[-1].partition(b" ")[0]) - parse_time(records[0].partition(b" ")[0])


def in_utc(at: bytes) -> bytes:
    """The same time in UTC: Podman writes its machine's."""
    if at.endswith(b"Z"):
        return at
    second, fraction, zone = at[:19], at[19:-6], at[-6:]
    try:
        moved = datetime.fromisoformat((second + zone).decode("ascii")).astimezone(UTC)
    except ValueError:
        return at
    return moved.strftime("%Y-%m-%dT%H:%M:%S").encode() + fraction + b"Z"


def stamp(at: bytes, now: bytes) -> bytes:
    """The daemon's time with microseconds. Whole seconds get the present time's, as far as it is the same second."""
    exact = precise(at)
    if b"." in exact:
        return exact + b"Z"
    return now if now.startswith(exact) else exact + b".999999Z"


def precise(at: bytes) -> bytes:
    """The daemon's time without its ``Z``; with microseconds if it has a fraction: Docker cuts the last zeros of it."""
    second, dot, rest = at.rstrip(b"Z").partition(b".")
    return b"%s.%s" % (second, rest[:6].ljust(6, b"0")) if dot else second


def parse_time(at: bytes) -> float:
    """Epoch seconds of a time in UTC; 0 for what is none. Nanoseconds are cut."""
    try:
        return datetime.fromisoformat(at.decode("ascii").rstrip("Z")[:26] + "+00:00").timestamp()
    except ValueError:
        return 0.0


def _read_tail(path: Path, size: int) -> tuple[bytes, bool]:
    """At most so many bytes of the end of the log over all its files, and whether there are no more."""
    tail, number, part = b"", 0, path
    while len(tail) < size:
        try:
            with part.open("rb") as file:
                left = file.seek(0, 2)
                file.seek(max(0, left - (size - len(tail))))
                tail = file.read() + tail
        except OSError:
            return tail, True
        number += 1
        part = places.rotated(path, number)
    return tail, False


def _mark(container: str) -> bytes:
    return _MARK + container[:12].encode()
