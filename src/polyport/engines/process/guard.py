"""Sees to it that an instance has a living supervisor."""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from polyport.engines import backoff
from polyport.engines.process import files

_OUTPUT = "supervisor.log"

_log = logging.getLogger(__name__)


class Guard:
    """Adopts the supervisor of one folder, or starts one, and another when it ends, after a pause.

    ``on_end`` is called at each end, before the next start; it may `retire` the guard.
    """

    def __init__(self, folder: Path, on_end: "Callable[[Guard], None]") -> None:
        self.pid: int | None = None
        self._folder = folder
        self._on_end = on_end
        self._closed = False
        self._fd = -1
        self._since = 0.0
        self._ends = 0
        self._timer: asyncio.TimerHandle | None = None

    def ensure(self) -> None:
        """Does nothing while one lives, or while the pause before the next one lasts."""
        if self.pid is None and self._timer is None and not self._closed:
            holder = files.lock_holder(self._folder / files.LOCK)
            try:
                if holder is None or not self._adopt(holder):
                    self._follow(start(self._folder))
            except OSError:  # no process or descriptor to be had: the next call tries again
                _log.exception("The supervisor of %s cannot be started.", self._folder)

    def retire(self) -> None:
        """Starts no other supervisor, and stays only to collect the one that is about to end."""
        self._closed = True

    def close(self) -> None:
        """Lets go; a supervisor that lives goes on."""
        self.retire()
        self._unfollow()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _adopt(self, pid: int) -> bool:
        """False when it ended meanwhile. Asking twice makes sure that the descriptor is not a stranger's."""
        try:
            self._follow(pid)
        except ProcessLookupError:
            return False
        if files.lock_holder(self._folder / files.LOCK) != pid:
            self._unfollow()
            return False
        return True

    def _follow(self, pid: int) -> None:
        self._fd = os.pidfd_open(pid)
        self.pid, self._since = pid, time.monotonic()
        asyncio.get_running_loop().add_reader(self._fd, self._ended)

    def _unfollow(self) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1
        self.pid = None

    def _ended(self) -> None:
        pid, self._ends, pause = self.pid, *backoff.plan_restart(self._ends, time.monotonic() - self._since)
        self._unfollow()
        if pid is not None:
            with contextlib.suppress(ChildProcessError):  # an adopted one is not our child
                os.waitpid(pid, os.WNOHANG)
        self._on_end(self)
        if not self._closed:
            self._timer = asyncio.get_running_loop().call_later(pause, self._resume)

    def _resume(self) -> None:
        self._timer = None
        self.ensure()


def start(folder: Path) -> int:
    """Starts the supervisor of ``folder`` in a session of its own and returns its pid. It inherits nothing but a way to
    find its libraries and bubblewrap; what it says itself goes into the folder."""
    command = [sys.executable, "-I", "-m", "polyport.engines.process.supervisor", str(folder)]
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return os.posix_spawn(
        sys.executable,
        command,
        {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "PATH") if name in os.environ},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(folder / _OUTPUT), flags, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM),
    )
