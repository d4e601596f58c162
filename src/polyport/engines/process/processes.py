"""Which processes belong to a container, read from ``/proc``.

Three signs count, and descent from a process that bears one: the container's session, unless a stranger leads a session
of that number by now, and the container's own ``SAGEMAKER_BASE_DIR`` in the environment, which finds processes that
left the session (daemons) even after their parents and their supervisor are gone.
"""

import contextlib
import os
from pathlib import Path

_PROC = Path("/proc")


class Process:
    """One row of the process table. ``started`` is in clock ticks since boot and tells apart users of one pid."""

    __slots__ = ("parent", "pid", "session", "started", "state")

    def __init__(self, pid: int, stat: str) -> None:
        # The command in parentheses may itself hold blanks and parentheses: count from the last one.
        fields = stat[stat.rindex(")") + 2 :].split()
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.started = int(fields[19])

    @property
    def ended(self) -> bool:
        """It is a zombie: nothing is left to signal."""
        return self.state in "ZX"


def read(pid: int) -> Process | None:
    """The process, or ``None`` when there is none."""
    try:
        return Process(pid, (_PROC / str(pid) / "stat").read_text("utf-8", "replace"))
    except (OSError, ValueError):
        return None


def read_table() -> dict[int, Process]:
    """All processes of the machine that can be seen."""
    with os.scandir(_PROC) as entries:
        pids = [int(entry.name) for entry in entries if entry.name.isdigit()]
    return {pid: process for pid in pids if (process := read(pid))}


def find_members(base_dir: str, session: int | None, since: int = 0) -> set[int]:
    """The living processes of the container whose ``SAGEMAKER_BASE_DIR`` is ``base_dir``.

    ``session`` is the pid that its main process has or had; ``since`` when that one started (clock ticks): older
    processes are never members.
    """
    table = read_table()
    if session is not None and (leader := table.get(session)) and leader.started != since:
        session = None  # the number was given away again
    mark = b"SAGEMAKER_BASE_DIR=" + os.fsencode(base_dir)
    roots = {p.pid for p in table.values() if p.started >= since and (p.session == session or _bears(p.pid, mark))}
    members = _with_descendants(roots, table)
    return {pid for pid in members if not table[pid].ended}


def send(pids: set[int], signal_number: int) -> None:
    """Signals each; those gone by now, or not ours to signal, are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal_number)


def read_boot_id() -> str:
    """Differs after each boot of the machine: pids of another boot mean nothing."""
    return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()


def count_oom_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / "vmstat").read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _bears(pid: int, mark: bytes) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return mark in environment and mark in environment.split(b"\0")


def _with_descendants(roots: set[int], table: dict[int, Process]) -> set[int]:
    children: dict[int, list[int]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process.pid)
    found, waiting = set(roots), list(roots)
    while waiting:
        for child in children.get(waiting.pop(), ()):
            if child not in found:
                found.add(child)
                waiting.append(child)
    return found
