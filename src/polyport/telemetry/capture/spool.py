"""The spool: the folder ``capture`` in the home, where captured calls wait for their store.

Each worker writes in a folder of its own, ``worker-...``, whose lock it holds for as long as it lives. A file that is
old or large enough goes to ``ready`` and is never written to again. What is in the folder of a worker that is gone is
ready too.
"""

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import msgspec

FOLDER = "capture"
SUFFIX = ".spool"
_READY, _WORKER, _LOCK = "ready", "worker-", "lock"
_NAME = re.compile(r"([0-9a-f]{8})-([0-9]{13,})-([0-9a-f-]{36})\.spool")


class Use(msgspec.Struct):
    """How many bytes of the spool are taken, in all and by the label of the destination."""

    total: int
    labels: dict[str, int]

    def add(self, label: str, size: int) -> None:
        """So much more."""
        self.total += size
        self.labels[label] = self.labels.get(label, 0) + size

    def left(self, label: str, most: int) -> int:
        """How much more stays within ``most`` bytes. No destination gets more than half of them: one that is dead must
        not be the end of all others."""
        return min(most - self.total, most // 2 - self.labels.get(label, 0))


def label_of(destination: str) -> str:
    """How the names of all files for a destination begin."""
    return hashlib.blake2s(destination.encode(), digest_size=4).hexdigest()


def name_of(label: str, at: float, identity: str) -> str:
    """The name of a file that was begun at that time, in epoch seconds."""
    return f"{label}-{int(at * 1000):013d}-{identity}{SUFFIX}"


def parse_name(name: str) -> tuple[str, float, str] | None:
    """What `name_of` was given; ``None``: it is no spool file."""
    match = _NAME.fullmatch(name)
    return (match[1], int(match[2]) / 1000, match[3]) if match else None


def claim(root: Path) -> tuple[Path, int]:
    """A new folder for this process, and the descriptor that holds its lock. Raises `OSError`."""
    (root / _READY).mkdir(mode=0o700, parents=True, exist_ok=True)
    token = f"{os.getpid()}-{secrets.token_hex(4)}"
    draft, folder = root / f".new-{token}", root / f"{_WORKER}{token}"
    draft.mkdir(mode=0o700)
    lock = os.open(draft / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    # Only now is it seen, so nobody finds it without its owner.
    draft.rename(folder)
    return folder, lock


def seal(file: Path) -> None:
    """It is ready. Raises `OSError`."""
    file.rename(file.parent.parent / _READY / file.name)


def leave(folder: Path, lock: int) -> None:
    """The worker ends; what could not be sealed is found by `adopt`."""
    with suppress(OSError):
        if not any(file.name != _LOCK for file in folder.iterdir()):
            (folder / _LOCK).unlink()
            folder.rmdir()
    os.close(lock)


def adopt(root: Path) -> int:
    """What workers left behind that are gone becomes ready; returns how many files. Raises `OSError`."""
    found = 0
    for folder in _listed(root):
        if folder.name.startswith(_WORKER):
            found += _adopt(folder)
    return found


def ready(root: Path) -> list[Path]:
    """The files that wait to be sent, the oldest first. Raises `OSError`."""
    files = [file for file in _listed(root / _READY) if parse_name(file.name)]
    return sorted(files, key=lambda file: file.name[9:])


def measure(root: Path) -> Use:
    """What is taken now. Raises `OSError`."""
    use = Use(0, {})
    for folder in _listed(root):
        for name, size in _sizes(folder):
            use.add(name[:8], size)
    return use


def _adopt(folder: Path) -> int:
    try:
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        # Its worker is about to remove it, or was killed in doing so.
        with suppress(OSError):
            folder.rmdir()
        return 0
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        files = [file for file in folder.iterdir() if parse_name(file.name)]
        for file in files:
            seal(file)
        (folder / _LOCK).unlink(missing_ok=True)
        folder.rmdir()
        return len(files)
    except BlockingIOError:
        return 0
    finally:
        os.close(lock)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _sizes(folder: Path) -> Iterator[tuple[str, int]]:
    for file in _listed(folder):
        try:
            yield file.name, file.stat().st_size
        except FileNotFoundError:
            # It was sent, or sealed.
            continue
