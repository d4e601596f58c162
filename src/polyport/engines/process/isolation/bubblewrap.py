"""Sandboxes: bubblewrap makes the namespaces and everything in them, and holds them; the program enters from outside.

So the program is the supervisor's own child: its exit code, the signal that ended it and the signals that are sent to
it are what they would be without a sandbox. `bwrap` is the first process in there: it collects orphans, and when it
ends the kernel ends all others. It ends when it is told to, and with the supervisor, however that ends.
"""

import contextlib
import fcntl
import json
import os
import select
import signal

from polyport.engines.process.isolation import Unavailable, kernel, view
from polyport.engines.process.program import Program

#: Seconds that making a sandbox may take.
_LIMIT = 20.0
_READY = b"ready\n"
#: Keeps the sandbox: says that it is complete, then waits for the end of its input, which the supervisor's end is too.
#: SIGTERM is for the container.
_HOLDER = ("/bin/sh", "-c", "trap '' TERM; echo ready; read -r _")
#: Descriptors of bwrap: its arguments, which name paths and are nobody's business, and where it says what it made.
_ARGUMENTS, _STATUS = 3, 4
_SAID = 2000
#: Characters that the kernel takes.
_HOST_NAME = 64


def find() -> str | None:
    """Where ``bwrap`` is."""
    folders = f"{os.environ.get('PATH', '')}:/usr/local/bin:/usr/bin:/bin".split(":")
    found = (f"{folder}/bwrap" for folder in folders if folder.startswith("/"))
    return next((path for path in found if os.access(path, os.X_OK)), None)


class Sandbox:
    """One, from its making to `end`. ``keeper`` is our child, ``first`` the first process in it, once that is known."""

    def __init__(self, program: Program) -> None:
        self.keeper: int | None = None
        self.first: int | None = None
        self.flags = kernel.CLONE_NEWNS | kernel.CLONE_NEWPID | kernel.CLONE_NEWIPC | kernel.CLONE_NEWUTS
        if program.network_isolation:
            self.flags |= kernel.CLONE_NEWNET
        if os.getuid() != 0:
            self.flags |= kernel.CLONE_NEWUSER
        self._holding = self._output = self._status = self._said = -1
        self._begin(program)

    def wait(self) -> None:
        """Until it is complete. Raises `Unavailable` with bwrap's own words; it must be ended then, too."""
        if not select.select([self._output], [], [], _LIMIT)[0]:
            raise Unavailable(f"bwrap made no sandbox within {_LIMIT:g} s")
        if os.read(self._output, len(_READY)) != _READY:
            words = os.pread(self._said, _SAID, 0).decode("utf-8", "replace").strip()
            raise Unavailable(words or "bwrap ended without a word")
        try:
            self.first = int(json.loads(os.read(self._status, 65536).splitlines()[0])["child-pid"])
        except (ValueError, LookupError) as error:
            raise Unavailable("bwrap does not say what it made: it is too old") from error

    def enter(self, only: int = -1) -> None:
        """Takes the calling process into it, or only into those of its namespaces that are named. Into its list of
        processes come only those that the caller forks from here on. Raises `Unavailable`."""
        if self.first is None:
            raise Unavailable("the sandbox has ended")
        try:
            kernel.setns(os.pidfd_open(self.first), self.flags & only)
        except OSError as error:
            raise Unavailable(f"the sandbox cannot be entered: {error}") from error

    def end(self) -> None:
        """Kills all that is in it, and lets go. May be repeated. All is gone once ``keeper`` is, which ends by itself
        then; it is the caller's to collect."""
        pid = self.first or self.keeper
        if pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.first = None
        for fd in (self._holding, self._output, self._status, self._said):
            if fd >= 0:
                os.close(fd)
        self._holding = self._output = self._status = self._said = -1

    def _begin(self, program: Program) -> None:
        bwrap = find()
        if bwrap is None:
            raise Unavailable("bwrap is not installed")
        view.write_identity(program)
        words = os.memfd_create("arguments")
        with os.fdopen(os.dup(words), "wb") as file:
            file.write(b"".join(os.fsencode(word) + b"\0" for word in _words(program)))
        os.lseek(words, 0, os.SEEK_SET)
        self._said = os.memfd_create("errors")
        (input_end, self._holding), (self._output, output_end), (self._status, status_end) = (
            os.pipe() for _ in range(3)
        )
        command = [bwrap, "--args", str(_ARGUMENTS), "--", *_HOLDER]
        try:
            self.keeper = _spawn(command, (input_end, output_end, self._said, words, status_end))
        finally:
            for fd in (words, input_end, output_end, status_end):
                os.close(fd)


def _words(program: Program) -> list[str]:
    network = ["--unshare-net"] if program.network_isolation else []
    user = ["--unshare-user"] if os.getuid() != 0 else []
    return [
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", *network, *user),
        *("--hostname", program.hostname[:_HOST_NAME], "--die-with-parent", "--new-session", "--cap-drop", "ALL"),
        *("--json-status-fd", str(_STATUS)),
        *view.arguments(program),
        *("--chdir", "/"),
    ]


def _spawn(command: list[str], fds: tuple[int, ...]) -> int:
    """With ``fds`` as its descriptors 0, 1, 2, ..., duplicated upwards first: none may be where another goes."""
    high = [_duplicate_upwards(fd) for fd in fds]
    try:
        return os.posix_spawn(
            command[0],
            command,
            {"PATH": os.defpath},
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(high)],
            setsid=True,
            setsigmask=(),
            setsigdef=(signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD),
        )
    except OSError as error:
        raise Unavailable(f"bwrap cannot be started: {error}") from error
    finally:
        for fd in high:
            os.close(fd)


def _duplicate_upwards(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 16)
