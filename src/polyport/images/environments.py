"""Virtual environments, made by uv: locked first, then installed from the lock alone."""

import hashlib
import platform
import subprocess
import sys
import sysconfig
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec
import uv

from polyport.errors import ImageError
from polyport.images import pip_settings

#: Lines of uv's output that an error shows.
SHOWN_LINES = 30
#: They would point uv at an environment of the server's, or bend the Python that it asks.
NOT_PASSED_ON = {
    "VIRTUAL_ENV",
    "CONDA_PREFIX",
    "CONDA_DEFAULT_ENV",
    "PYTHONHOME",
    "PYTHONPATH",
    "UV_PYTHON",
    "UV_SYSTEM_PYTHON",
    "UV_PROJECT_ENVIRONMENT",
}
#: What a sealed environment's Python leaves alone; outputs appear when they are printed.
VARIABLES = {"PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Lock(msgspec.Struct, frozen=True):
    """Resolved requirements. ``text`` is kept with the image; ``options`` are the indexes that uv found things in: they
    may hold passwords and are used for the installation alone."""

    text: str = ""
    options: str = ""

    @property
    def count(self) -> int:
        """How many packages."""
        return sum(line[:1].isalnum() or line[:1] == "." for line in self.text.splitlines())


class Uv:
    """Runs uv for one build. ``say`` gets its lines as they come; ``held`` is a file descriptor that uv keeps open, so
    that a lock outlives us as long as uv does."""

    def __init__(self, environ: Mapping[str, str], say: Callable[[str], None], held: int) -> None:
        self.environment = _environment(environ)
        self.say = say
        self.held = held

    def compile(
        self, folder: Path, requirements: str, into: Path, previous: str, target: tuple[str, ...] | None = None
    ) -> Lock:
        """Resolves the requirements file of ``folder`` and writes to ``into``. Versions of the ``previous`` lock stay
        as long as they fit: the same folder gives the same image tomorrow. ``target`` are uv's options for another
        Python than our own."""
        into.write_text(previous, encoding="utf-8")
        emit = ("--emit-index-url", "--emit-find-links", "--emit-build-options")
        quiet = ("--no-header", "--no-annotate", "--generate-hashes")
        self.run(
            folder, "pip", "compile", requirements, "--output-file", str(into), *quiet, *emit, *(target or _python())
        )
        lines = into.read_text(encoding="utf-8").splitlines()
        options = [line for line in lines if line.startswith("-")]
        text = [line for line in lines if line and not line.startswith(("-", "#"))]
        return Lock("".join(f"{line}\n" for line in text), "".join(f"{line}\n" for line in options))

    def install(self, lock: Lock, venv: Path, folder: Path, scratch: Path) -> None:
        """Makes a virtual environment at ``venv`` that may be moved, and installs what the lock names. ``folder`` is
        where relative paths in the lock begin."""
        self.run(folder, "venv", str(venv), "--relocatable", "--no-project", *_python())
        if not lock.text:
            return
        scratch.write_text(lock.options + lock.text, encoding="utf-8")
        python = ("--python", str(venv / "bin" / "python"))
        self.run(folder, "pip", "sync", str(scratch), "--require-hashes", "--compile-bytecode", *python)

    def run(self, folder: Path, *arguments: str) -> None:
        """uv with these arguments, ``folder`` being the current one. Raises `ImageError` with its last lines."""
        tail: deque[str] = deque(maxlen=SHOWN_LINES)
        process = subprocess.Popen(
            [uv.find_uv_bin(), *arguments],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            pass_fds=(self.held,),
            umask=0o022,  # containers may run as other users than the one who builds
            text=True,
            errors="replace",
        )
        with process:
            try:
                for line in process.stderr or ():
                    tail.append(line.rstrip())
                    self.say(line.rstrip())
                process.wait()
            except BaseException:
                process.kill()
                raise
        if process.returncode:
            words = "\n".join(line for line in tail if line) or f"it ended with {process.returncode}"
            raise ImageError(f"uv {' '.join(arguments[:2])} failed:\n{words}")


def key(lock: Lock) -> str:
    """Names the environment that a lock makes: the same lock shares one, on the same Python and kind of machine."""
    return hashlib.sha256("\n".join((*machine(), lock.text)).encode()).hexdigest()


def machine() -> tuple[str, str, str]:
    """Python's name, its version, and the platform: with another one an environment has to be made anew."""
    return platform.python_implementation(), platform.python_version(), sysconfig.get_platform()


def is_usable(venv: Path) -> bool:
    """Is it there, and is the Python still there that it points at?"""
    return (venv / "bin" / "python").exists()


def compile_bytecode(venv: Path, folder: Path) -> None:
    """Bytecode beside the image's own modules, for a quicker start. One that does not compile will say so when run."""
    command = [str(venv / "bin" / "python"), "-I", "-m", "compileall", "-q", str(folder)]
    subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def variables(venv: Path) -> dict[str, str]:
    """What makes a process run in the environment: its programs are found first."""
    return {"PATH": f"{venv / 'bin'}:{SYSTEM_PATH}", "VIRTUAL_ENV": str(venv), **VARIABLES}


def _python() -> tuple[str, str]:
    """The Python that the server itself runs on."""
    return "--python", sys.executable


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The user's own, with indexes, proxies and caches as they are set; no Python is ever downloaded."""
    given = {name: value for name, value in environ.items() if name not in NOT_PASSED_ON}
    defaults = {"UV_COMPILE_BYTECODE_TIMEOUT": "600"}
    fixed = {"UV_PYTHON_DOWNLOADS": "never", "UV_NO_PROGRESS": "1", "NO_COLOR": "1"}
    return {**defaults, **pip_settings.as_uv(environ), **given, **fixed}
