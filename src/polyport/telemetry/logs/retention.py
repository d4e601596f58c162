"""What of the logs is too old or too much: decided here, and removed."""

import contextlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from polyport.telemetry.logs import shelf
from polyport.telemetry.logs.shelf import Shelf

#: Seconds for which a file that is not rotated counts as written to, however much there is.
WRITTEN = 3600.0


class File(NamedTuple):
    """One file of a log. ``modified`` in epoch seconds; ``expires``: when its last line is too old, 0 never;
    ``is_newest``: lines may go there."""

    path: Path
    size: int
    modified: float
    expires: float
    is_newest: bool


def expired(files: Sequence[File], now: float, most: int) -> list[File]:
    """Those to remove: whose last line is too old, and the oldest ones beyond ``most`` bytes (0: no limit) in all."""
    old = [file for file in files if file.expires and file.expires <= now]
    if not most:
        return old
    gone = {file.path for file in old}
    left = sorted((file for file in files if file.path not in gone), key=lambda file: file.modified)
    excess = sum(file.size for file in left) - most
    for file in left:
        if excess <= 0:
            break
        if file.is_newest and file.modified + WRITTEN > now:
            continue
        excess -= file.size
        old.append(file)
    return old


def enforce(logs: Shelf, now: float, most: int) -> int:
    """Removes what `expired` says; how many files. Groups stay, with the age they had."""
    files: list[File] = []
    for group in shelf.groups(logs.root):
        _keep_age(group)
        days = shelf.read_about(group).retention_days or logs.retention_days
        for path, status, part in shelf.files(group):
            expires = status.st_mtime + days * 86_400 if days else 0.0
            files.append(File(path, status.st_size, status.st_mtime, expires, part == 0))
    removed = expired(files, now, most)
    for file in removed:
        with contextlib.suppress(OSError):
            _remove(file)
    for group in {file.path.parents[2] for file in removed}:
        shelf.drop_empty(group)
    return len(removed)


def _remove(file: File) -> None:
    """Unless it was written to, or is another by now, since it was looked at."""
    status = file.path.stat()
    if status.st_mtime == file.modified and status.st_size == file.size:
        file.path.unlink()


def _keep_age(group: Path) -> None:
    """The first look notes when a group began: its first file may go."""
    about = shelf.read_about(group)
    if about.created_at:
        return
    starts = [began[0] for path in shelf.logs_of(group) if (began := shelf.begun(path))]
    if starts:
        with contextlib.suppress(OSError):
            shelf.write_about(group, msgspec.structs.replace(about, created_at=min(starts)))
