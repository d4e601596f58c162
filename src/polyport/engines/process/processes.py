"""Which processes belong to a container, read from ``/proc``.

`Marks` says by what they are known. Several marks, because processes shed them: a daemon leaves its session and its
parent, a worker may get an environment of its own, and a machine may not allow namespaces.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

_PROC = Path("/proc")
_CGROUPS = Path("/sys/fs/cgroup")
_UNLIMITED = 1 << 62


class Process:
    """One row of the process table. ``started`` is in clock ticks since boot and tells apart users of one pid.

    ``ticks``: of CPU that it has used, and those of its children that it has waited for. ``pages``: in memory.
    """

    __slots__ = ("pages", "parent", "pid", "session", "started", "state", "ticks")

    def __init__(self, pid: int, stat: str) -> None:
        # The command in parentheses may itself hold blanks and parentheses: count from the last one.
        fields = stat[stat.rindex(")") + 2 :].split()
        self.pid = pid
        self.state = fields[0]
        self.parent = int(fields[1])
        self.session = int(fields[3])
        self.ticks = sum(map(int, fields[11:15]))
        self.started = int(fields[19])
        self.pages = int(fields[21])

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


class Marks:
    """By what the processes of one container are known.

    They have ``base_dir`` in their environment or see it at ``/opt/ml``, or are of the session that its main process
    leads or led. ``session`` is that one's pid, ``None`` when not known, and ``started`` when it started (clock ticks):
    older processes are never members. The number of a mount namespace would not do: it is given away again at once.
    """

    __slots__ = ("base_dir", "session", "started")

    def __init__(self, base_dir: Path, session: int | None = None, started: int = 0) -> None:
        self.base_dir = base_dir
        self.session = session
        self.started = started


def find_members(marks: Marks) -> set[int]:
    """The living processes that bear one of the marks, and the descendants of such."""
    table = read_table()
    members = with_descendants(find_marked(marks, table, table.values()), table)
    return {pid for pid in members if not table[pid].ended}


def find_marked(marks: Marks, table: Mapping[int, Process], among: Iterable[Process]) -> set[int]:
    """Those among them that bear one of the marks themselves."""
    session = marks.session
    if session is not None and (leader := table.get(session)) and leader.started != marks.started:
        session = None  # the number was given away again
    variable = b"SAGEMAKER_BASE_DIR=" + os.fsencode(marks.base_dir)
    identity = _identify(marks.base_dir)
    return {
        process.pid
        for process in among
        if process.started >= marks.started
        and (process.session == session or _has_variable(process.pid, variable) or _sees(process.pid, identity))
    }


def find_descendants(pid: int) -> set[int]:
    """The living descendants of a process."""
    table = read_table()
    return {found for found in with_descendants({pid}, table) - {pid} if not table[found].ended}


def with_descendants(roots: set[int], table: Mapping[int, Process]) -> set[int]:
    """These, and all below them in the table."""
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


def send(pids: set[int], signal_number: int) -> None:
    """Signals each; those gone by now, or not ours to signal, are passed over."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal_number)


def read_boot_id() -> str:
    """Differs after each boot of the machine: pids of another boot mean nothing."""
    return (_PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()


def find_memory_limit() -> int:
    """Bytes that this process and its children may have together: the machine's, or less by their cgroup."""
    found = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / "self" / "cgroup").read_text("ascii").splitlines():
            _, controllers, path = line.split(":", 2)
            if not controllers or "memory" in controllers.split(","):
                found = min(found, *_limits(_CGROUPS / controllers, path))
    return found


def _limits(root: Path, path: str) -> Iterator[int]:
    """Of a cgroup and of those above it; in a container the path may be one of the machine's, which is not there."""
    yield _UNLIMITED
    for part in (path.lstrip("/"), *map(str, Path(path.lstrip("/")).parents)):
        for name in ("memory.max", "memory.limit_in_bytes"):
            with contextlib.suppress(OSError, ValueError):
                yield int((root / part / name).read_text("ascii"))


def count_oom_kills() -> int:
    """How many processes this machine's kernel has killed for want of memory."""
    with contextlib.suppress(OSError, ValueError):
        for line in (_PROC / "vmstat").read_text("ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _has_variable(pid: int, variable: bytes) -> bool:
    try:
        environment = (_PROC / str(pid) / "environ").read_bytes()
    except OSError:
        return False
    return variable in environment and variable in environment.split(b"\0")


def _sees(pid: int, identity: tuple[int, int] | None) -> bool:
    """Whether that folder is the process's ``/opt/ml``, looked up where the process lives."""
    return identity is not None and _identify(_PROC / str(pid) / "root" / "opt" / "ml") == identity


def _identify(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
