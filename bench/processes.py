"""What the kernel says about processes: who belongs to whom, what they used, and on which CPUs they may run."""

import contextlib
import os
import signal
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Stat:
    """The parts of ``/proc/PID/stat`` that matter. ``ticks``: user and system time, own and of waited-for children."""

    pid: int
    parent: int
    ticks: int


@dataclass(frozen=True)
class Memory:
    """Bytes, added up over processes. ``pss`` divides what several processes share among them."""

    rss: int = 0
    pss: int = 0


def parse_stat(text: str) -> Stat:
    """The name, in parentheses, may hold anything, also parentheses and blanks: fields count from the last one."""
    pid = int(text[: text.index(" ")])
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(pid, parent=int(fields[1]), ticks=sum(map(int, fields[11:15])))


def parse_memory(text: str) -> Memory:
    """``/proc/PID/smaps_rollup``."""
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in text.splitlines() if line.endswith(" kB")}
    return Memory(rss=found.get("Rss", 0), pss=found.get("Pss", 0))


def descendants(root: int, stats: Iterable[Stat]) -> list[int]:
    """The process and all below it, parents first."""
    children: dict[int, list[int]] = {}
    for stat in stats:
        children.setdefault(stat.parent, []).append(stat.pid)
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def tree(root: int) -> list[int]:
    """The living process tree of a process id, itself included."""
    return descendants(root, _all_stats())


def cpu_seconds(pids: Iterable[int]) -> float:
    """CPU time used so far; those that are gone count nothing here but in the parent that waited for them."""
    return sum(stat.ticks for pid in pids if (stat := _stat(pid))) / TICKS


def memory(pids: Iterable[int]) -> Memory:
    """What the processes hold now."""
    rss = pss = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            one = parse_memory((PROC / str(pid) / "smaps_rollup").read_text())
            rss, pss = rss + one.rss, pss + one.pss
    return Memory(rss, pss)


def reset_peaks(pids: Iterable[int]) -> None:
    """Begin to measure `peak` anew. Raises `OSError` where the kernel does not let us."""
    for pid in pids:
        (PROC / str(pid) / "clear_refs").write_text("5")


def peak(pids: Iterable[int]) -> int:
    """The most bytes of memory (RSS) held since `reset_peaks`, the processes' own peaks added up."""
    lines = [line for pid in pids for line in (PROC / str(pid) / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def command_line(pid: int) -> str:
    """The arguments, separated by blanks; empty when the process is gone."""
    try:
        return (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def running_from(folder: Path) -> list[int]:
    """The processes whose program file lies below the folder."""
    found = []
    for pid in _pids():
        with contextlib.suppress(OSError):
            if (PROC / str(pid) / "exe").readlink().is_relative_to(folder):
                found.append(pid)
    return found


def kill(pids: Iterable[int]) -> None:
    """SIGKILL to those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def pin(pids: Iterable[int], cpus: frozenset[int]) -> None:
    """Let the processes, with all their threads, run on these CPUs alone; an empty set leaves them free."""
    for pid in pids if cpus else ():
        with contextlib.suppress(OSError):
            for thread in (PROC / str(pid) / "task").iterdir():
                os.sched_setaffinity(int(thread.name), cpus)


def _pids() -> list[int]:
    return [int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit()]


def _stat(pid: int) -> Stat | None:
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text())
    except OSError:
        return None


def _all_stats() -> list[Stat]:
    return [stat for pid in _pids() if (stat := _stat(pid))]
