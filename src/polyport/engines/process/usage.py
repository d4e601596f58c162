"""What containers use, added up from ``/proc``: these processes have no cgroup of their own.

One look at the process table serves all containers. Below a container's main process everything is its; what has left
that tree is still below the supervisor, which adopts orphans, and is told by its marks. What keeps a sandbox is older
than what runs in it, and does not count.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from polyport.engines.contract import Usage
from polyport.engines.process import folders, processes, records
from polyport.engines.process.processes import Marks, Process

#: Seconds after which a look is no longer waited for: reading of a process that is stuck in the kernel may take as long
#: as that does.
LIMIT = 5.0
#: Seconds that a share of memory is taken for true while the process's size does not change much: to find it out, the
#: kernel goes through all pages, 10 ms for each GiB.
_SHARE_AGE = 60.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


class Target(msgspec.Struct, frozen=True):
    """A container to be measured. ``main`` is its main process, which started then (clock ticks since boot)."""

    instance_id: str
    hostname: str
    supervisor: int
    main: int
    started: int
    marks: Marks


class Counter:
    """CPU ticks of one run that never go back, although those of children that nobody waited for are lost with them.

    A fall that lasts for two looks is such a loss; one that does not is a child that ended between the look at its
    parent and that at itself.
    """

    __slots__ = ("_base", "_fell", "_highest")

    def __init__(self) -> None:
        self._base = self._highest = 0
        self._fell = False

    def take(self, seen: int) -> int:
        """What the processes have used that are there now; returns what all have."""
        lost = self._highest - seen
        if lost > 0 and not self._fell:
            self._fell = True
            return self._base + self._highest
        self._base += max(0, lost)
        self._highest, self._fell = seen, False
        return self._base + seen


class Share(msgspec.Struct, frozen=True):
    """What one process has of the memory that it shares, in bytes, when it had so many pages."""

    bytes: int
    pages: int
    #: Until when it may be taken for true (monotonic seconds).
    until: float

    def estimate(self, pages: int, now: float) -> int | None:
        """For the same process with so many pages; ``None`` when it has to be found out again."""
        if now >= self.until or abs(pages - self.pages) * 16 > self.pages:
            return None
        return max(0, self.bytes + (pages - self.pages) * _PAGE)


class Meter:
    """Of all containers of an engine: remembers what a single look does not tell."""

    def __init__(self) -> None:
        self._counters: dict[tuple[str, str, int, int], Counter] = {}
        self._shares: dict[tuple[int, int], Share] = {}
        self._look: asyncio.Future[tuple[Usage, ...]] | None = None

    async def measure(self, targets: Iterable[Target], limit: float = LIMIT) -> tuple[Usage, ...]:
        """Of those that run, as an earlier look sees it that is not over yet. Nothing when that takes too long."""
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(asyncio.to_thread(self._measure, tuple(targets)))
        await asyncio.wait((self._look,), timeout=limit)
        return self._look.result() if self._look.done() else ()

    def _measure(self, targets: Sequence[Target]) -> tuple[Usage, ...]:
        """In a thread, but never twice at the same time."""
        table = processes.read_table()
        counters, shares = self._counters, self._shares
        self._counters, self._shares = {}, {}  # of those that are still there
        found = []
        for target, members in find_members(targets, table):
            key = (target.instance_id, target.hostname, target.main, target.started)
            counter = self._counters[key] = counters.get(key) or Counter()
            ticks = counter.take(sum(process.ticks for process in members))
            memory = self._measure_memory(members, shares)
            found.append(Usage(target.instance_id, target.hostname, time.time(), ticks / _TICKS, memory))
        return tuple(found)

    def _measure_memory(self, members: Sequence[Process], shares: Mapping[tuple[int, int], Share]) -> int:
        """Pages that several processes share count once. Where all but the largest process are small, they count with
        each: that is wrong by an eighth at most, and costs nothing."""
        pages = [process.pages for process in members]
        if (sum(pages) - max(pages)) * 8 <= sum(pages):
            return sum(pages) * _PAGE
        return sum(self._find_share(process, shares) for process in members)

    def _find_share(self, process: Process, shares: Mapping[tuple[int, int], Share]) -> int:
        key, now = (process.pid, process.started), time.monotonic()
        known = shares.get(key)
        estimated = known.estimate(process.pages, now) if known else None
        if known is not None and estimated is not None:
            self._shares[key] = known
            return estimated
        own = read_share(process)
        self._shares[key] = Share(own, process.pages, now + _SHARE_AGE)
        return own


def find_targets(folder: Path, state: records.State | None, supervisor: int | None) -> list[Target]:
    """The containers of an instance that run, as the supervisor that lives has written it."""
    if state is None or state.supervisor != supervisor:
        return []
    return [
        Target(
            folder.name,
            row.hostname,
            state.supervisor,
            row.pid,
            row.process_started,
            Marks(folders.container_folder(folder, row.hostname) / folders.BASE, row.session, row.process_started),
        )
        for row in state.containers
        if row.pid is not None
    ]


def find_members(targets: Iterable[Target], table: Mapping[int, Process]) -> Iterator[tuple[Target, list[Process]]]:
    """The processes of each container whose main process lives; that is among them."""
    mains = {target.main: target for target in targets if _is_alive(target, table)}
    supervisors = {target.supervisor for target in mains.values()}
    below: dict[int, list[Process]] = {pid: [] for pid in (*mains, *supervisors)}
    for process in table.values():
        root = _climb(process, table, below)
        if root is not None:
            below[root].append(process)
    for main, target in mains.items():
        strays = {process.pid: process for process in below[target.supervisor] if process.pid != target.supervisor}
        marked = processes.find_marked(target.marks, table, strays.values())
        yield target, [*below[main], *(strays[pid] for pid in processes.with_descendants(marked, strays))]


def read_share(process: Process) -> int:
    """Its own memory, and its part of what it shares with others, in bytes; all it has where that is not told."""
    # One that waits for a disk may hold what the kernel needs for an answer.
    if process.state != "D":
        with contextlib.suppress(OSError, ValueError):
            for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text("ascii").splitlines():
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    return process.pages * _PAGE


def _is_alive(target: Target, table: Mapping[int, Process]) -> bool:
    process = table.get(target.main)
    return process is not None and process.started == target.started and not process.ended


def _climb(process: Process | None, table: Mapping[int, Process], roots: Container[int]) -> int | None:
    """The nearest of the roots above it, or itself."""
    while process is not None:
        if process.pid in roots:
            return process.pid
        process = table.get(process.parent)
    return None
