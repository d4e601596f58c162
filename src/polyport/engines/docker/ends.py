"""Sees a container's process end the moment it does, whether the kernel killed for want of memory, and what it had.

Only where the daemon's processes are this machine's. Elsewhere the daemon's events have to do: they come later, and
Podman's never name a lack of memory.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from polyport.engines.docker import local
from polyport.engines.docker.usage import parse_limit

_CGROUPS = Path("/sys/fs/cgroup")


class End(msgspec.Struct, frozen=True):
    """Whether something in the container was out of memory; bytes at its peak and its limit, ``None``: not known."""

    out_of_memory: bool = False
    memory: int | None = None
    memory_limit: int | None = None


class Ends:
    """Watches one process. ``on_end`` is called once."""

    def __init__(self, pid: int, container: str, on_end: Callable[[End], None]) -> None:
        self._on_end = on_end
        self._fd = -1
        self._counters: tuple[Path, ...] = ()
        try:
            cgroups = Path(f"/proc/{pid}/cgroup").read_text("ascii")
            fd = os.pidfd_open(pid)
        except (OSError, AttributeError):
            return
        if not local.is_here(pid, container):
            # The daemon lives elsewhere, and that number is another process here.
            os.close(fd)
            return
        self._fd = fd
        # Where it has none of its own, those are the counts of many.
        self._counters = find_counters(cgroups) if container in cgroups else ()
        asyncio.get_running_loop().add_reader(fd, self._end)

    @property
    def is_watching(self) -> bool:
        """Whether it will tell."""
        return self._fd >= 0

    def close(self) -> None:
        """Stops watching."""
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _end(self) -> None:
        """The cgroup outlives its last process for as long as the daemon takes to clear it away."""
        out_of_memory = any(count_kills(path) > 0 for path in self._counters)
        memory, limit = next((read_peak(path.parent) for path in self._counters), (None, None))
        self.close()
        self._on_end(End(out_of_memory, memory, limit))


def find_counters(cgroups: str) -> tuple[Path, ...]:
    """Where the kernel counts: from a ``/proc/PID/cgroup``, for version 2 and for version 1."""
    found = []
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found.append(_CGROUPS / path.lstrip("/") / "memory.events")
        elif "memory" in controllers.split(","):
            found.append(_CGROUPS / "memory" / path.lstrip("/") / "memory.oom_control")
    return tuple(found)


def read_peak(folder: Path) -> tuple[int | None, int | None]:
    """The most that was in use in a memory cgroup, and its limit; ``None`` where the kernel does not tell."""
    found = []
    for names in (("memory.peak", "memory.max_usage_in_bytes"), ("memory.max", "memory.limit_in_bytes")):
        texts = [_read(folder / name) for name in names]
        found.append(next((parse_limit(text) for text in texts if text), None))
    return found[0], found[1]


def _read(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except OSError:
        return ""


def count_kills(path: Path) -> int:
    """``oom_kill`` of a memory cgroup; 0 when it cannot be read."""
    try:
        words = path.read_text("ascii").split()
    except OSError:
        return 0
    pairs = dict(zip(words[::2], words[1::2], strict=False))
    return int(pairs.get("oom_kill", 0))
