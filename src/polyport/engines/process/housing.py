"""Where one container lives: its folders, its sandbox, the way into that, and who is in there."""

import contextlib
import os
import signal
import time
from pathlib import Path
from typing import Any

from polyport.engines.process import folders, isolation, launch, processes, program
from polyport.engines.process.isolation import relay
from polyport.engines.process.isolation.bubblewrap import Sandbox

#: Seconds until a relay that ended, or could not be started, is started again.
_RELAY_AGAIN = 0.5


class Housing:
    """From one start of the container to its end, and again. All in the supervisor's only thread."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.marks = processes.Marks(folder / folders.BASE)
        self._sandbox: Sandbox | None = None
        self._relay: int | None = None
        #: When the relay is to be started; ``None``: there is one, or none is needed.
        self._relay_at: float | None = None
        self._program: program.Program | None = None

    @property
    def is_prepared(self) -> bool:
        """A sandbox is there or on its way."""
        return self._sandbox is not None

    def prepare(self, entry: dict[str, Any], level: str) -> None:
        """The folders, and the beginning of a sandbox: several can be under way at the same time. Raises `OSError` or
        `isolation.Unavailable`."""
        self._program = program.from_entry(entry, self.folder, level)
        mounted = level != isolation.NONE
        folders.prepare(self.folder, entry["folder"], entry["artifacts"], mounted, self._program.user)
        if level == isolation.BUBBLEWRAP:
            self._sandbox = Sandbox(self._program)

    def start(self, stdout: int, stderr: int) -> int:
        """The program, once it is prepared; returns its pid. Raises `OSError`, `launch.CannotStart` or
        `isolation.Unavailable`."""
        assert self._program is not None
        if self._sandbox is not None:
            self._sandbox.wait()
        pid = launch.launch(self._program, self._sandbox, stdout, stderr)
        process = processes.read(pid)
        self.marks.session, self.marks.started = pid, process.started if process else 0
        if self._program.network_isolation:
            self._relay_at = 0.0
        return pid

    def keep_relay(self) -> float | None:
        """Starts what has to run beside the program; returns when to call again, if that is by time."""
        if self._relay_at is None or self._sandbox is None or self._program is None:
            return None
        if time.monotonic() >= self._relay_at:
            try:
                self._relay = relay.start(self._program.port, self._sandbox, self._program.user)
            except OSError:
                self._relay_at = time.monotonic() + _RELAY_AGAIN
            else:
                self._relay_at = None
        return self._relay_at

    def collect(self, pid: int) -> None:
        """That child of ours ended."""
        if pid == self._relay:
            self._relay, self._relay_at = None, time.monotonic() + _RELAY_AGAIN
        elif self._sandbox is not None and pid == self._sandbox.keeper:
            self._sandbox.keeper = None
            self._leave()

    def signal(self, number: int) -> None:
        """To all processes of the container; SIGKILL ends what keeps the sandbox, and with it everything."""
        if self._sandbox is not None and number == signal.SIGKILL:
            self._sandbox.end()
        processes.send(self._members(), number)

    def clear(self, *, patient: bool) -> bool:
        """After the program's end: ends what it left behind, as a container's end does. True when nothing is left, or
        when there is no ``patient`` waiting any more."""
        self._end_relay()
        if self._sandbox is None:
            left = processes.find_members(self.marks)
            if left and patient:
                processes.send(left, signal.SIGKILL)
                return False
            return True
        self._sandbox.end()
        if self._sandbox.keeper is not None and patient:
            return False
        self._leave()
        return True

    def _members(self) -> set[int]:
        """Those in a sandbox are the children of its first process, and what the program and its children started."""
        found = processes.find_members(self.marks)
        if self._sandbox is not None and self._sandbox.first is not None:
            found |= processes.find_descendants(self._sandbox.first)
            found.discard(self._sandbox.first)
        return found

    def _leave(self) -> None:
        if self._sandbox is not None:
            self._sandbox.end()
        self._sandbox = None

    def _end_relay(self) -> None:
        self._relay_at = None
        if self._relay is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._relay, signal.SIGKILL)
            self._relay = None
