"""Starts the main process of a container: fork, a session of its own, its own view of the machine, exec."""

import os
import signal
from pathlib import Path

from polyport.engines.process import folders, isolation
from polyport.engines.process.isolation import kernel, mounts, users
from polyport.engines.process.isolation.bubblewrap import Sandbox
from polyport.engines.process.program import Program

#: What Python, a supervisor or the one who started the server (nohup, a shell's background) ignores or handles, back to
#: what a program expects.
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
_UNAVAILABLE = b"unavailable: "
_STARTED = b"started: "


class CannotStart(Exception):
    """The program could not be started; the text says why."""


def launch(program: Program, sandbox: Sandbox | None, stdout: int, stderr: int) -> int:
    """Starts it and returns its pid once it runs its own code. It is our child, also in a sandbox.

    Raises `CannotStart`, and `isolation.Unavailable` when it was its own view of the machine that could not be had.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _Child(program, sandbox, stdout, stderr, writing).run(parent)
    os.close(writing)
    # Exec closes the pipe: no word means that it worked.
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read()
    before, started, after = said.partition(_STARTED)
    if started:
        os.waitpid(pid, 0)  # it went ahead into the sandbox; the program is its sibling
        number, _, after = after.partition(b"\n")
        pid, said = int(number), before + after
    if not said:
        return pid
    os.waitpid(pid, 0)
    if said.startswith(_UNAVAILABLE):
        raise isolation.Unavailable(said[len(_UNAVAILABLE) :].decode("utf-8", "replace"))
    raise CannotStart(said.decode("utf-8", "replace"))


def find_program(name: str, path: str) -> str:
    """The file that ``name`` means, as a shell would find it from the working folder. Raises `CannotStart`."""
    candidates = [name] if "/" in name else [f"{folder or '.'}/{name}" for folder in path.split(":")]
    found = [Path(candidate) for candidate in candidates if Path(candidate).is_file()]
    for candidate in found:
        if os.access(candidate, os.X_OK):
            return str(candidate)
    if found:
        raise CannotStart(f"entrypoint not executable: {found[0]}")
    where = "" if "/" in name else f" in the container's PATH ({path})"
    raise CannotStart(f"entrypoint not found: there is no {name!r}{where}")


class _Child:
    """The other side of the fork. Nothing of it returns: the program takes over, or ``report`` tells why not."""

    def __init__(self, program: Program, sandbox: Sandbox | None, stdout: int, stderr: int, report: int) -> None:
        self.program = program
        self.sandbox = sandbox
        self.stdout = stdout
        self.stderr = stderr
        self.report = report

    def run(self, parent: int) -> None:
        try:
            if self.sandbox is not None:
                self._enter(self.sandbox)
            else:
                os.setsid()
                self._die_with(parent)
                self._mount()
            self._connect()
            os.chdir(self.program.folder / folders.WORK)
            os.umask(0o022)
            self._confine()
            if self.sandbox is None:
                self._die_with(parent)
            else:  # it sees no parent there; when the supervisor ends, the sandbox does with all that is in it
                kernel.die_with_parent()
            self._execute()
        except isolation.Unavailable as error:
            self._tell(_UNAVAILABLE + str(error).encode())
        except CannotStart as error:
            self._tell(str(error).encode("utf-8", "replace"))
        except BaseException as error:  # noqa: BLE001 - whatever it is, it must not run on as a second supervisor
            self._tell(f"entrypoint cannot be started: {error}".encode("utf-8", "replace"))
        finally:
            os._exit(127)

    def _enter(self, sandbox: Sandbox) -> None:
        """A process never changes its own process list, but that of its children: it is a second one that goes on."""
        sandbox.enter()
        pid = kernel.fork_sibling()
        if pid:
            self._tell(_STARTED + b"%d\n" % pid)
            os._exit(0)
        os.setsid()

    def _mount(self) -> None:
        program = self.program
        if program.level != isolation.MOUNTS:
            return
        own, reached = program.own_folders, [*program.paths, *program.protected, *program.artifacts.values()]
        stage = program.folder / folders.STAGE
        reached = [*map(str, (*own, stage)), *reached] if program.user is not None else []
        mounts.enter(program.base, stage, program.artifacts, program.protected, reached)

    def _confine(self) -> None:
        """Under bubblewrap no program has capabilities, whoever runs it; elsewhere none that has its own user."""
        if self.sandbox is not None or self.program.user is not None:
            users.become(self.program.user)

    def _die_with(self, parent: int) -> None:
        kernel.die_with_parent()
        if os.getppid() != parent:  # it ended before we asked
            os._exit(1)

    def _execute(self) -> None:
        program = self.program
        executable = find_program(program.command[0], program.environment.get("PATH", os.defpath))
        os.execve(executable, program.command, program.environment)  # noqa: S606 - there is to be no shell

    def _tell(self, text: bytes) -> None:
        os.write(self.report, text)

    def _connect(self) -> None:
        """Standard input, output and error; every other descriptor but ``report`` (closed by exec) is closed."""
        null = os.open(os.devnull, os.O_RDONLY)
        os.dup2(null, 0)
        os.dup2(self.stdout, 1)
        os.dup2(self.stderr, 2)
        os.closerange(3, self.report)
        os.closerange(self.report + 1, os.sysconf("SC_OPEN_MAX"))
        for number in _RESET:
            signal.signal(number, signal.SIG_DFL)
