"""The supervisor of one instance: ``python -I -m polyport.engines.process.supervisor FOLDER``.

Level-triggered: whenever something happens (a poke, a child's end, output, a pause that is over) it does the next step
of each container towards what is wanted. It ends when its specification wants nothing, after clearing the folder away.
SIGTERM makes it end its containers and leave the folder for a successor. When it is killed, the kernel kills the
containers' main processes, and a successor kills whatever else they had started.
"""

import contextlib
import functools
import math
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from polyport.engines import atomic
from polyport.engines.process import files, folders, isolation, processes
from polyport.engines.process.container import DROP, Container, Entry
from polyport.engines.process.isolation import kernel

#: Seconds a successor spends on ending what its predecessor left.
_LEFTOVERS_LIMIT = 5.0
#: Seconds until the state is written again when it could not be.
_PUBLISH_AGAIN = 1.0


#: Seconds between two looks at what containers print, while they print: many small pieces cost as much as a few larger
#: ones then.
_GATHER = 0.005


class Supervisor:
    """All of it. One thread, which waits in epoll."""

    def __init__(self, folder: Path) -> None:
        # where
        self._folder = folder
        self._engine_poke = folder.parent.parent / files.ENGINE_POKE
        # what is wanted
        self._spec: Entry = {"stopping": True, "stop_timeout": 0.0, "containers": []}
        self._leaving = False
        # what is
        self._containers: dict[str, Container] = {}
        self._remembered: dict[str, Entry] = {}
        self._mounted = True
        self._boot_id = processes.read_boot_id()
        self._published: bytes | None = None
        # what wakes it
        self._news = Readiness()
        self._output = Readiness()
        self._anything = select.epoll()
        for one in (self._news, self._output):
            self._anything.register(one.fileno(), select.EPOLLIN)

    def run(self) -> None:
        """Until nothing is wanted any more."""
        self._listen()
        self._read_spec()
        self._end_leftovers()
        self._publish()
        while True:
            self._reap()
            again = self._advance()
            if not self._publish():
                again = time.monotonic() + _PUBLISH_AGAIN
            if not self._containers and not self._wanted():
                break
            self._wait(again)
        self._end_all(lambda: processes.find_descendants(os.getpid()))
        if not self._leaving:
            self._vanish()

    def _listen(self) -> None:
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        self._news.watch(reading, lambda: files.drain(reading))
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._leave)
        poke = files.open_poke(self._folder / files.POKE)
        self._news.watch(poke, functools.partial(self._on_poke, poke))
        kernel.adopt_orphans()

    def _on_poke(self, fd: int) -> None:
        files.drain(fd)
        self._read_spec()

    def _leave(self, *_: object) -> None:
        self._leaving = True

    def _read_spec(self) -> None:
        """An unreadable specification changes nothing; a supervisor that never had one only clears away."""
        spec = files.read_object(self._folder / files.SPEC)
        if spec is not None and isinstance(spec.get("containers"), list):
            self._spec = spec

    def _wanted(self) -> dict[str, Entry]:
        if self._spec["stopping"] or self._leaving:
            return {}
        return {entry["hostname"]: entry for entry in self._spec["containers"]}

    def _end_leftovers(self) -> None:
        """Ends what a killed predecessor left, and takes over its counters. Without its state there was none."""
        state = files.read_object(self._folder / files.STATE)
        if state is None:
            return
        rows = {row["hostname"]: row for row in _rows(state)}
        same_boot = state.get("boot_id") == self._boot_id
        self._end_all(lambda: self._find_leftovers(rows, same_boot))
        self._remembered = {hostname: _remember(row) for hostname, row in rows.items()}

    def _end_all(self, find: Callable[[], set[int]]) -> None:
        """Kills what ``find`` finds until it finds no more."""
        limit = time.monotonic() + _LEFTOVERS_LIMIT
        while (left := find()) and time.monotonic() < limit:
            processes.send(left, signal.SIGKILL)
            time.sleep(0.005)
            self._reap()

    def _find_leftovers(self, rows: dict[str, Entry], same_boot: bool) -> set[int]:
        found: set[int] = set()
        for hostname in {*rows, *(entry["hostname"] for entry in self._spec["containers"])}:
            base = folders.container_folder(self._folder, hostname) / folders.BASE
            row = rows.get(hostname) if same_boot else None
            marks = (row["session"], row["process_started"]) if row else ()
            found |= processes.find_members(processes.Marks(base, *marks))
        return found - {os.getpid()}

    def _reap(self) -> None:
        """Collects every child that ended: main processes, and orphans that became ours."""
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status, used = os.wait4(-1, os.WNOHANG)
                if pid == 0:
                    return
                for container in self._containers.values():
                    container.collect(pid, status, used.ru_maxrss * 1024)

    def _advance(self) -> float | None:
        """One step for each container; the earliest time that one of them wants another."""
        wanted = self._wanted()
        for hostname, entry in wanted.items():
            if hostname not in self._containers:
                self._containers[hostname] = self._make(entry)
        for hostname, container in self._containers.items():
            container.foresee(wanted.get(hostname))
        times = [self._advance_one(container, wanted) for container in list(self._containers.values())]
        return min((at for at in times if at is not None), default=None)

    def _make(self, entry: Entry) -> Container:
        folder = folders.container_folder(self._folder, entry["hostname"])
        remembered = self._remembered.pop(entry["hostname"], {})
        if remembered and remembered["version"] != entry["version"]:
            remembered = {}  # of another specification: neither its counters nor its files are this one's
            with contextlib.suppress(OSError):
                folders.clear(folder)
        return Container(entry, folder, self._output.watch, remembered)

    def _advance_one(self, container: Container, wanted: dict[str, Entry]) -> float | None:
        entry, timeout = wanted.get(container.hostname), self._spec["stop_timeout"]
        try:
            step, again = container.advance(entry, timeout, self._mounted)
        except isolation.Unavailable as error:
            self._mounted = False
            container.note(f"/opt/ml is not shown here, only SAGEMAKER_BASE_DIR: {error}")
            step, again = container.advance(entry, timeout, self._mounted)
        if step == DROP:
            container.close()
            del self._containers[container.hostname]
            if not self._leaving:
                with contextlib.suppress(OSError):  # what resists is cleared, or reported, with the whole instance
                    folders.clear(container.folder)
        return again

    def _publish(self) -> bool:
        """Writes ``state.json`` when it changed, then tells the engine. False when the disk takes no more: the
        containers are not to suffer from that."""
        rows = [container.describe() for container in self._containers.values()]
        state = {"supervisor": os.getpid(), "boot_id": self._boot_id, "containers": rows}
        data = files.dump(state)
        if data == self._published:
            return True
        try:
            atomic.write_atomically(self._folder / files.STATE, data)
        except OSError:
            return False
        self._published = data
        files.poke(self._engine_poke, self._folder.name)
        return True

    def _wait(self, again: float | None) -> None:
        """Until there is news, or it is time. What containers print is moved meanwhile: it asks for no step."""
        until = math.inf if again is None else again
        while True:
            self._anything.poll(None if math.isinf(until) else _left(until))
            moved = self._output.settle(0.0)
            if self._news.settle(min(_GATHER, _left(until)) if moved else 0.0) or not _left(until):
                return

    def _vanish(self) -> None:
        """The name goes in one step, so that nobody ever sees half an instance; clearing may take its time."""
        gone = self._folder.with_name(f"{files.GONE_PREFIX}{self._folder.name}.{os.getpid()}")
        self._folder.rename(gone)
        files.poke(self._engine_poke, self._folder.name)
        folders.clear(gone)


class Readiness:
    """Files that can be read, and what is to be done then."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._callbacks: dict[int, Callable[[], object]] = {}

    def fileno(self) -> int:
        """Can be read itself whenever one of them can."""
        return self._poll.fileno()

    def watch(self, fd: int, callback: Callable[[], object] | None) -> None:
        """Has ``callback`` called whenever ``fd`` can be read; ``None`` ends that, and may be repeated."""
        if callback is not None:
            self._callbacks[fd] = callback
            self._poll.register(fd, select.EPOLLIN)
        elif self._callbacks.pop(fd, None):
            self._poll.unregister(fd)

    def settle(self, timeout: float) -> bool:
        """Calls what is due, after so many seconds at most. Whether anything was."""
        ready = self._poll.poll(timeout)
        for fd, _ in ready:
            if callback := self._callbacks.get(fd):
                callback()
        return bool(ready)


def _left(until: float) -> float:
    """Seconds until then, on the monotonic clock."""
    return max(0.0, until - time.monotonic())


def _rows(state: Entry) -> list[Entry]:
    """The rows of a state file that can be used, whatever wrote it."""
    rows = state.get("containers")
    return [row for row in rows if _is_row(row)] if isinstance(rows, list) else []


def _is_row(row: object) -> bool:
    numbers = ("version", "process_started", "restarts")
    return (
        isinstance(row, dict)
        and isinstance(row.get("hostname"), str)
        and all(isinstance(row.get(name), int) for name in numbers)
        and isinstance(row.get("session"), int | None)
    )


def _remember(row: Entry) -> dict[str, Any]:
    """What a successor knows of a container: one that ran was ended with its supervisor."""
    if row.get("pid") is None:
        return row
    ended = {"at": time.time(), "signal": int(signal.SIGKILL), "reason": "its supervisor was killed"}
    return {**row, "restarts": row.get("restarts", 0) + 1, "last_exit": ended}


def main() -> None:
    """The program: one argument, the instance's folder. A second supervisor of one instance ends at once."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    os.umask(0o077)
    folder = Path(sys.argv[1])
    try:
        alone = files.take_lock(folder / files.LOCK)
    except FileNotFoundError:
        return  # the instance was removed in between
    if alone:
        Supervisor(folder).run()


if __name__ == "__main__":
    main()
