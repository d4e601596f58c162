"""The gateway workers as control's siblings: children of one launcher, which starts again what ends."""

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
MODULE = b"polyport.gateway.worker"
TICKS = os.sysconf("SC_CLK_TCK")
#: Seconds in which a worker that was started has connected.
START_TIME = 15.0


class Siblings:
    """Ends workers that hang. On systems without ``/proc`` only those that are connected can be found."""

    def end(self, pid: int) -> None:
        """At once: it does not listen."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def end_others(self, pids: Collection[int]) -> None:
        """A control that was started while a worker hung has never heard of it. Those that were just started are left
        alone: on a busy machine it may take them a while to say hello."""
        for pid, age in _workers(os.getppid()):
            if pid not in pids and age > START_TIME:
                self.end(pid)


def _workers(parent: int) -> Iterator[tuple[int, float]]:
    """The gateway workers below a launcher, each with its age in seconds."""
    uptime = float((PROC / "uptime").read_text().split()[0]) if PROC.is_dir() else 0.0
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError):
            # The name, in parentheses, may hold anything.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and MODULE in (folder / "cmdline").read_bytes().split(b"\0"):
                yield int(folder.name), uptime - int(fields[19]) / TICKS
