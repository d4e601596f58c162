"""Starts the main process of a container: fork, a session of its own, its mounts, its folder, exec."""

import os
import signal
from pathlib import Path

from polyport.engines.process import folders, isolation

#: What Python ignores or a supervisor handles, back to what a program expects.
_RESET = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
_UNAVAILABLE = b"mounts: "


class CannotStart(Exception):
    """The program could not be started; the text says why."""


class Program:
    """What to start, and where. ``protected`` are paths that the container must not write to."""

    def __init__(
        self,
        command: list[str],
        environment: dict[str, str],
        folder: Path,
        artifacts: dict[str, str],
        protected: list[str],
    ) -> None:
        self.command = command
        self.environment = environment
        self.folder = folder
        self.artifacts = artifacts
        self.protected = protected


def launch(program: Program, stdout: int, stderr: int, mounted: bool) -> int:
    """Starts it and returns its pid once it runs its own code.

    ``mounted`` asks for mounts of its own. Raises `CannotStart`, and `isolation.Unavailable` when it was the mounts.
    """
    reading, writing = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        _become(program, stdout, stderr, writing, parent, mounted)
    os.close(writing)
    # Exec closes the pipe: no word means that it worked.
    with os.fdopen(reading, "rb") as pipe:
        trouble = pipe.read()
    if not trouble:
        return pid
    os.waitpid(pid, 0)
    if trouble.startswith(_UNAVAILABLE):
        raise isolation.Unavailable(trouble[len(_UNAVAILABLE) :].decode("utf-8", "replace"))
    raise CannotStart(trouble.decode("utf-8", "replace"))


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


def _become(program: Program, stdout: int, stderr: int, report: int, parent: int, mounted: bool) -> None:
    """In the child. Never returns: the program takes over, or ``report`` tells why not."""
    try:
        os.setsid()
        isolation.die_with(parent)
        if mounted:
            base, stage = program.folder / folders.BASE, program.folder / folders.STAGE
            isolation.enter(base, stage, program.artifacts, program.protected)
            isolation.die_with(parent)
        _connect(stdout, stderr, report)
        os.chdir(program.folder / folders.WORK)
        os.umask(0o022)
        executable = find_program(program.command[0], program.environment.get("PATH", os.defpath))
        os.execve(executable, program.command, program.environment)  # noqa: S606 - there is to be no shell
    except isolation.Unavailable as error:
        os.write(report, _UNAVAILABLE + str(error).encode())
    except CannotStart as error:
        os.write(report, str(error).encode("utf-8", "replace"))
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must not run on as a second supervisor
        os.write(report, f"entrypoint cannot be started: {error}".encode("utf-8", "replace"))
    finally:
        os._exit(127)


def _connect(stdout: int, stderr: int, report: int) -> None:
    """Standard input, output and error; every other descriptor but ``report`` (closed by exec) is closed."""
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(stdout, 1)
    os.dup2(stderr, 2)
    os.closerange(3, report)
    os.closerange(report + 1, os.sysconf("SC_OPEN_MAX"))
    for number in _RESET:
        signal.signal(number, signal.SIG_DFL)
