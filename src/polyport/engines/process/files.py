"""The files that the engine and a supervisor meet at, in ``home/run/instances/<id>/``.

``spec.json`` says what is wanted (written by the engine), ``state.json`` what is (written by the supervisor), both
whole or not at all. The supervisor holds a lock on ``lock`` while it lives. Pokes travel through named pipes: unlike
Unix sockets their paths may be longer than 108 bytes, and a poke meets nobody rather than a stranger with a reused pid.
"""

import contextlib
import errno
import fcntl
import json
import os
import struct
from pathlib import Path

SPEC = "spec.json"
STATE = "state.json"
LOCK = "lock"
POKE = "poke"
#: Where an ended instance's folder goes before it is cleared: its name vanishes in one step.
GONE_PREFIX = ".gone-"
#: In ``home/run``: hints for the engine, the id of an instance and a line feed each.
ENGINE_POKE = "engine.poke"

# struct flock of 64-bit Linux: type, whence, start, length, pid.
_FLOCK = struct.Struct("hhqqi4x")


def read_object(path: Path) -> dict[str, object] | None:
    """The JSON object in ``path``; ``None`` when it is missing, torn or something else."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def dump(value: object) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def take_lock(path: Path) -> bool:
    """Locks ``path`` until this process ends, or says no. A record lock, because forked children do not hold it too.

    The descriptor stays open on purpose: closing any descriptor of the file would give the lock up.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno not in (errno.EACCES, errno.EAGAIN):
            raise
        return False
    return True


def lock_holder(path: Path) -> int | None:
    """The process that holds the lock, as the kernel knows it. Asking does not disturb the lock."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        answer = fcntl.fcntl(fd, fcntl.F_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    finally:
        os.close(fd)
    kind, _, _, _, pid = _FLOCK.unpack(answer)
    return pid if kind != fcntl.F_UNLCK and pid > 0 else None


def open_poke(path: Path) -> int:
    """The reading end of a named pipe, non-blocking; made when missing. Open for writing too, so that it never ends."""
    with contextlib.suppress(FileExistsError):
        os.mkfifo(path, 0o600)
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def poke(path: Path, text: str = "") -> None:
    """Tells whoever reads ``path`` to look again. Nobody there, or a full pipe, is fine: it will look anyway."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(fd, text.encode() + b"\n")
    os.close(fd)


def drain(fd: int) -> bytes:
    """All that a non-blocking descriptor holds now."""
    chunks = []
    with contextlib.suppress(BlockingIOError):
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
    return b"".join(chunks)
