"""A small file system for the home, so that it can be filled without harm to anybody else. Needs root."""

import ctypes
import os
import subprocess
from contextlib import suppress
from pathlib import Path

CLONE_NEWNS = 0x00020000
MEGABYTES = 256
_FILLER = "filler"


def separate() -> str:
    """Put this process, and all it will start, into a mount namespace of its own; what keeps it from that, if anything.

    A mount in it goes when the last process does, however they end.
    """
    if os.geteuid() != 0:
        return "only root can mount a file system of limited size"
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        return f"no mount namespace: {os.strerror(ctypes.get_errno())}"
    done = subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, text=True, check=False)
    return done.stderr.strip()


def mount(folder: Path) -> str:
    """Mount it there; what keeps us from that, if anything."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={MEGABYTES}m,mode=700", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, text=True, check=False).stderr.strip()


def unmount(folder: Path) -> None:
    """Whatever still uses it."""
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def fill(folder: Path) -> None:
    """Leave not one block free."""
    size = 1024 * 1024
    descriptor = os.open(folder / _FILLER, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while size >= 1:
            with suppress(OSError):
                while os.write(descriptor, bytes(size)):
                    pass
            size //= 16
    finally:
        os.close(descriptor)


def empty(folder: Path) -> None:
    """There is room again."""
    (folder / _FILLER).unlink(missing_ok=True)
