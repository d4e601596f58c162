"""The gateway workers as control's siblings: children of one launcher, which starts again what ends."""

import os
import signal
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
MODULE = b"polyport.gateway.worker"


class Siblings:
    """Ends workers that hang. On systems without ``/proc`` only those that are connected can be found."""

    def end(self, pid: int) -> None:
        """At once: it does not listen."""
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    def end_others(self, pids: Collection[int]) -> None:
        """A control that was started while a worker hung has never heard of it."""
        for pid in set(_workers(os.getppid())) - set(pids):
            self.end(pid)


def _workers(parent: int) -> Iterator[int]:
    for folder in PROC.glob("[0-9]*"):
        with suppress(OSError, ValueError):
            # The name, in parentheses, may hold anything.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and MODULE in (folder / "cmdline").read_bytes().split(b"\0"):
                yield int(folder.name)
