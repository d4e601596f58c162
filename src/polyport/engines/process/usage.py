"""What the processes of containers use of the machine, read from ``/proc``. It blocks for some milliseconds."""

import os
import time
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import TypeVar

from polyport.engines.contract import Usage
from polyport.engines.process import processes

_TICK = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")

Key = TypeVar("Key", bound=Hashable)


def measure(pids: Mapping[Key, int]) -> dict[Key, Usage]:
    """For containers by the pids of their main processes; those that are gone are left out.

    A process is counted where it descends from the main process or is of its session. Times of children are counted
    once their parent has waited for them; memory that processes share is counted once.
    """
    table, now = processes.read_table(), time.time()
    sessions: dict[int, set[int]] = {}
    for pid, process in table.items():
        sessions.setdefault(process.session, set()).add(pid)
    found = {}
    for key, pid in pids.items():
        if pid in table and not table[pid].ended:
            roots = {pid} | (sessions.get(pid, set()) if table[pid].session == pid else set())
            members = processes.with_descendants(roots, table)
            cpu = sum(map(_read_cpu, members))
            found[key] = Usage(at=now, cpu_seconds=cpu, memory_bytes=sum(map(_read_memory, members)))
    return found


def _read_cpu(pid: int) -> float:
    """Seconds, with those of children that it has waited for."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return 0.0
    # User, system, and both of the children.
    return sum(map(int, stat[stat.rindex(")") + 2 :].split()[11:15])) * _TICK


def _read_memory(pid: int) -> int:
    """Its share of what it has in memory; all that it has, where only that may be read."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    try:
        return int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0
