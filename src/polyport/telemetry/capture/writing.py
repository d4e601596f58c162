"""Writes captured calls into the spool: within its bound, while the disk has room, and whole or not at all."""

import os
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from polyport.telemetry.capture import records, spool
from polyport.telemetry.capture.records import Call, Pieces, Target

#: Why a call that was to be captured is not.
SPOOL_FULL = "spool full"
DISK = "disk"
#: Bytes from which on a file is sent, whatever its age.
MAX_FILE = 8 * 1024 * 1024
#: Of the disk, that much stays free of captures: a part of it, and bytes at most.
RESERVED_PART, RESERVED_BYTES = 20, 1024**3
#: Pieces that the kernel takes at once, on every system.
MAX_PIECES = 512

Calls = Mapping[Target, Sequence[Call]]
Dropped = dict[Target, Counter[str]]


class File:
    """One that is being filled."""

    __slots__ = ("began", "label", "path", "size")

    def __init__(self, path: Path, label: str, began: float) -> None:
        self.path = path
        self.label = label
        self.began = began
        #: Bytes that are whole.
        self.size = 0


class Writer:
    """One per worker, for one thread at a time. ``interval``: seconds after which a file is sealed; ``most``: bytes
    that the whole spool may take. Nothing is made in the home before there is something to write."""

    def __init__(self, root: Path, interval: float, most: int) -> None:
        self._root = root
        self._interval = interval
        self._most = most
        self._place: tuple[Path, int] | None = None
        self._files: dict[Target, File] = {}
        self._use = spool.Use(0, {})
        #: What the operating system said last; empty: all is well.
        self.trouble = ""

    @property
    def is_idle(self) -> bool:
        """Nothing waits to be sealed."""
        return not self._files

    def write(self, calls: Calls, now: float) -> Dropped:
        """Keep them; returns how many could not be kept, and why."""
        dropped: Dropped = {}
        self.trouble = ""
        if calls:
            with suppress(OSError):
                self._use = spool.measure(self._root)
        for target, some in calls.items():
            lost = self._keep(target, some, now)
            if lost:
                dropped[target] = lost
        return dropped

    def seal(self, now: float, *, everything: bool = False) -> None:
        """What is old enough is ready to be sent."""
        for target, file in tuple(self._files.items()):
            if everything or not 0 <= now - file.began < self._interval:
                self._seal(target)

    def close(self, now: float) -> None:
        """The worker ends."""
        self.seal(now, everything=True)
        if self._place is not None:
            spool.leave(*self._place)
            self._place = None

    # Steps

    def _keep(self, target: Target, calls: Sequence[Call], now: float) -> Counter[str]:
        lost: Counter[str] = Counter()
        label = spool.label_of(target.capture.destination)
        frames = [call.frame() for call in calls]
        fitting = _fitting(frames, self._use.left(label, self._most))
        if fitting < len(frames):
            lost[SPOOL_FULL] = len(frames) - fitting
        for batch, size in _batches(frames[:fitting]):
            if not self._append(target, label, batch, size, now):
                lost[DISK] += len(batch)
        return lost

    def _append(self, target: Target, label: str, batch: Sequence[Pieces], size: int, now: float) -> bool:
        """Returns whether it could be done."""
        try:
            self._expect_room(size)
            file = self._files.get(target) or self._begin(target, label, now)
            _put(file, [piece for frame in batch for piece in frame])
        except OSError as error:
            self._note(error)
            if target in self._files:
                # It is good up to here, whatever came behind it.
                self._seal(target)
            return False
        self._use.add(label, size)
        if file.size >= MAX_FILE:
            self._seal(target)
        return True

    def _expect_room(self, size: int) -> None:
        """Raises `OSError`."""
        found = os.statvfs(self._root if self._root.exists() else self._root.parent)
        reserved = min(found.f_blocks * found.f_frsize // RESERVED_PART, RESERVED_BYTES)
        if found.f_bavail * found.f_frsize < size + reserved:
            raise OSError(None, "the disk is nearly full")

    def _begin(self, target: Target, label: str, now: float) -> File:
        if self._place is None:
            self._place = spool.claim(self._root)
        file = File(self._place[0] / spool.name_of(label, now, str(uuid.uuid4())), label, now)
        try:
            _put(file, [records.frame(target)], os.O_CREAT)
        except OSError:
            file.path.unlink(missing_ok=True)
            raise
        self._files[target] = file
        return file

    def _seal(self, target: Target) -> None:
        file = self._files.pop(target)
        try:
            spool.seal(file.path)
        except OSError as error:
            self._note(error)

    def _note(self, error: OSError) -> None:
        self.trouble = error.strerror or str(error)
        if isinstance(error, FileNotFoundError) and self._place is not None:
            # Somebody has removed the folder: begin anew.
            os.close(self._place[1])
            self._place = None
            self._files.clear()


def _fitting(frames: Sequence[Pieces], room: int) -> int:
    """How many of the first fit into so many bytes."""
    for count, frame in enumerate(frames):
        room -= records.size_of(frame)
        if room < 0:
            return count
    return len(frames)


def _batches(frames: Sequence[Pieces]) -> Iterator[tuple[Sequence[Pieces], int]]:
    """Together no larger than a file, if one call alone is not; with their bytes."""
    batch: list[Pieces] = []
    size = 0
    for frame in frames:
        more = records.size_of(frame)
        if batch and size + more > MAX_FILE:
            yield batch, size
            batch, size = [], 0
        batch.append(frame)
        size += more
    if batch:
        yield batch, size


def _put(file: File, pieces: Pieces, flags: int = 0) -> None:
    """All of it or nothing. Raises `OSError`."""
    handle = os.open(file.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)
    try:
        written = sum(_write(handle, pieces[at : at + MAX_PIECES]) for at in range(0, len(pieces), MAX_PIECES))
        file.size += written
    except OSError:
        with suppress(OSError):
            os.ftruncate(handle, file.size)
        raise
    finally:
        os.close(handle)


def _write(handle: int, pieces: Pieces) -> int:
    rest = [memoryview(piece) for piece in pieces if piece]
    total = 0
    while rest:
        count = os.writev(handle, rest)
        total += count
        while rest and count >= len(rest[0]):
            count -= len(rest.pop(0))
        if count:
            rest[0] = rest[0][count:]
    return total
