"""One container inside its supervisor: what it should be, what it is, and the next step between the two."""

import contextlib
import functools
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from polyport.engines import backoff, logs
from polyport.engines.process import folders, isolation, launch, processes
from polyport.engines.process.housing import Housing

NOTHING: Final = "nothing"
START: Final = "start"
TERMINATE: Final = "terminate"
KILL: Final = "kill"
SWEEP: Final = "sweep"
DROP: Final = "drop"

#: Seconds between two looks at processes that were killed but are still there.
_LOOK_AGAIN = 0.02
#: Seconds after which processes that even SIGKILL does not end (stuck in the kernel) are no longer waited for.
_SWEEP_LIMIT = 5.0
_READ_SIZE = 65536
#: So many reads empty a pipe of the largest size that an unprivileged process may give it (1 MiB).
_PIPE_READS = 17

Entry = dict[str, Any]
Watch = Callable[[int, Callable[[], object] | None], None]


class Situation:
    """What `decide` looks at. Times are on the monotonic clock, in seconds."""

    __slots__ = ("alive", "kill_at", "start_at", "sweep_until", "version")

    def __init__(self) -> None:
        #: The version of the specification that it runs, or last ran.
        self.version = -1
        self.alive = False
        #: The main process is gone; others of the container may be left until then at the latest.
        self.sweep_until: float | None = None
        #: SIGTERM was sent; then comes SIGKILL.
        self.kill_at: float | None = None
        self.start_at = 0.0


def decide(it: Situation, wanted: int | None, now: float) -> tuple[str, float | None]:
    """The next step towards the wanted version (``None``: no container), and when to look again if nothing happens."""
    if it.alive:
        if it.version == wanted:
            return NOTHING, None
        if it.kill_at is None:
            return TERMINATE, None
        return (KILL, now + _LOOK_AGAIN) if now >= it.kill_at else (NOTHING, it.kill_at)
    if it.sweep_until is not None:
        return SWEEP, now + _LOOK_AGAIN
    if wanted is None:
        return DROP, None
    if wanted != it.version or now >= it.start_at:
        return START, None
    return NOTHING, it.start_at


class Container:
    """Holds the processes of one container and does one step at a time; all in the supervisor's only thread."""

    def __init__(self, entry: Entry, folder: Path, watch: Watch, remembered: Entry) -> None:
        # what it is
        self.hostname: str = entry["hostname"]
        self.entry = entry
        self.folder = folder
        self.situation = Situation()
        self.wanted = True
        # what runs
        self.pid: int | None = None
        self._housing = Housing(folder)
        self._log = _open_log(entry)
        self._watch = watch
        self._pumps: dict[int, tuple[str, logs.Lines]] = {}
        self._epitaph = ""
        self._clock_started = 0.0
        self._oom_kills = 0
        # what it went through
        self.started_at: float | None = remembered.get("started_at")
        self.restarts: int = remembered.get("restarts", 0)
        self.last_exit: Entry | None = remembered.get("last_exit")
        self._ends = 0

    def describe(self) -> Entry:
        """Its row in ``state.json``."""
        return {
            "hostname": self.hostname,
            "version": self.situation.version,
            "phase": self._phase(),
            "pid": self.pid,
            "session": self._housing.marks.session,
            "process_started": self._housing.marks.started,
            "started_at": self.started_at,
            "restarts": self.restarts,
            "last_exit": self.last_exit,
        }

    def foresee(self, wanted: Entry | None) -> None:
        """If its start is due, has what takes time begin: the starts of several containers then wait together."""
        if wanted is None or wanted.get("isolation") != isolation.BUBBLEWRAP or self._housing.is_prepared:
            return
        if decide(self.situation, wanted["version"], time.monotonic())[0] == START:
            self._become(wanted)
            with contextlib.suppress(OSError, isolation.Unavailable):  # its start says so
                self._housing.prepare(wanted, isolation.BUBBLEWRAP)

    def advance(self, wanted: Entry | None, stop_timeout: float, mounted: bool) -> tuple[str, float | None]:
        """Does all that is due now; returns the step it came to rest on and when it wants to be advanced again.

        Raises `isolation.Unavailable` when ``mounted`` asks for what is not to be had, if it can do without.
        """
        self.wanted = wanted is not None
        version = None if wanted is None else wanted["version"]
        while True:
            now = time.monotonic()
            step, again = decide(self.situation, version, now)
            if step == TERMINATE:
                self._terminate(now + stop_timeout)
            elif step == START and wanted is not None:
                self._start(wanted, mounted)
            elif step == KILL:
                self._housing.signal(signal.SIGKILL)
                return step, again
            elif step == NOTHING and self.situation.alive:
                times = [at for at in (again, self._housing.keep_relay()) if at is not None]
                return step, min(times, default=None)
            elif step in (NOTHING, DROP) or not self._sweep(now):
                return step, again

    def collect(self, pid: int, status: int, memory: int) -> None:
        """A child of the supervisor ended, perhaps one of this container's; ``memory`` as `end` has it."""
        if pid == self.pid:
            self.end(status, memory)
        else:
            self._housing.collect(pid)

    def end(self, status: int, memory: int) -> None:
        """Its main process ended with that status of `os.waitpid`. ``memory``: bytes that the largest of it and of
        those that it waited for had at its peak."""
        code = os.waitstatus_to_exitcode(status)
        last: Entry = {"at": time.time(), "code": code} if code >= 0 else {"at": time.time(), "signal": -code}
        if code == -signal.SIGKILL and processes.count_oom_kills() > self._oom_kills:
            last["reason"] = "out of memory"
        last |= {"memory": memory, "memory_limit": processes.find_memory_limit()}
        self._epitaph = f"exited with code {code}" if code >= 0 else f"ended by {_signal_name(-code)}"
        self._plan_restart(last)
        self.pid = None
        self.situation.alive = False
        self.situation.kill_at = None
        self.situation.sweep_until = time.monotonic() + _SWEEP_LIMIT

    def note(self, text: str) -> None:
        """A line of the supervisor's own in its log."""
        self._log.note(text)

    def close(self) -> None:
        """Lets go of its files."""
        self._close_pumps()
        self._log.close()

    def _phase(self) -> str:
        if self.situation.alive:
            return "running"
        if not self.wanted:
            return "stopped"
        return "backoff" if self.last_exit else "starting"

    def _start(self, wanted: Entry, mounted: bool) -> None:
        self._become(wanted)
        reading = self._start_program(mounted)
        if reading is None:
            return
        for fd, stream in zip(reading, ("stdout", "stderr"), strict=True):
            self._pumps[fd] = (stream, logs.Lines())
            self._watch(fd, functools.partial(self._pump, fd))

    def _become(self, wanted: Entry) -> None:
        """If it is another specification, nothing of the old one counts any more."""
        if wanted is self.entry or wanted["version"] == self.entry["version"]:
            return
        if self.situation.version >= 0:
            with contextlib.suppress(OSError):  # better a file too many than no container
                folders.clear(self.folder)
            self.restarts, self.last_exit, self._ends = 0, None, 0
            self._log.close()
            self._log = _open_log(wanted)
        self.entry = wanted

    def _start_program(self, mounted: bool) -> tuple[int, int] | None:
        """The reading ends of its standard output and error; ``None`` when it could not be started."""
        first = self.started_at is None or self.situation.version != self.entry["version"]
        out, err = os.pipe(), os.pipe()
        level = _level(self.entry, mounted)
        try:
            if not self._housing.is_prepared:
                self._housing.prepare(self.entry, level)
            self._oom_kills = processes.count_oom_kills()
            self.pid = self._housing.start(out[1], err[1])
        except (launch.CannotStart, isolation.Unavailable, OSError) as error:
            self._housing.clear(patient=False)
            if isinstance(error, isolation.Unavailable) and _may_do_without(self.entry, level):
                raise
            self._count_start(first)
            self._plan_restart({"at": time.time(), "reason": _explain(error, level)})
            self._log.note(_explain(error, level))
            return None
        else:
            self._count_start(first)
            self.situation.alive = True
            os.set_blocking(out[0], False)
            os.set_blocking(err[0], False)
            return out[0], err[0]
        finally:
            os.close(out[1])
            os.close(err[1])
            if not self.situation.alive:
                os.close(out[0])
                os.close(err[0])

    def _count_start(self, first: bool) -> None:
        self.restarts += 0 if first else 1
        self.started_at, self._clock_started = time.time(), time.monotonic()
        self.situation.version = self.entry["version"]

    def _plan_restart(self, last: Entry) -> None:
        now = time.monotonic()
        self.last_exit = last
        self._ends, pause = backoff.plan_restart(self._ends, now - self._clock_started)
        self.situation.start_at = now + pause

    def _terminate(self, kill_at: float) -> None:
        self.situation.kill_at = kill_at
        self._housing.signal(signal.SIGTERM)

    def _sweep(self, now: float) -> bool:
        """What the main process left behind goes with it, as in a container. True when nothing is left."""
        limit = self.situation.sweep_until
        if not self._housing.clear(patient=limit is not None and now < limit):
            return False
        self.situation.sweep_until = None
        self._drain()
        self._close_pumps()
        self._log.note(self._epitaph)
        return True

    def _pump(self, fd: int) -> bool:
        """Moves what the container printed into its log. False when there is no more."""
        stream, lines = self._pumps[fd]
        try:
            data = os.read(fd, _READ_SIZE)
        except BlockingIOError:
            return False
        if data:
            self._log.write(stream, lines.feed(data))
        else:
            self._watch(fd, None)  # every writer closed it: it would stay readable for ever
        return bool(data)

    def _drain(self) -> None:
        """What is in the pipes now; no more, because a stray that was not found might print for ever."""
        for fd in self._pumps:
            for _ in range(_PIPE_READS):
                if not self._pump(fd):
                    break

    def _close_pumps(self) -> None:
        for fd, (stream, lines) in self._pumps.items():
            self._log.write(stream, lines.flush())
            self._watch(fd, None)
            os.close(fd)
        self._pumps.clear()


def _open_log(entry: Entry) -> logs.Log:
    return logs.Log(Path(entry["log"]), entry["log_max_bytes"], entry["log_files"])


def _level(entry: Entry, mounted: bool) -> str:
    level: str = entry.get("isolation", isolation.MOUNTS)
    return isolation.NONE if level == isolation.MOUNTS and not mounted else level


def _may_do_without(entry: Entry, level: str) -> bool:
    """Without mounts only ``/opt/ml`` is missing, unless a user of its own would not find its files."""
    return level == isolation.MOUNTS and entry.get("user") is None


def _explain(error: Exception, level: str) -> str:
    if isinstance(error, isolation.Unavailable):
        return f"its isolation ({level}) is not to be had: {error}"
    return str(error)


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
