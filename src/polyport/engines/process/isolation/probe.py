"""Which isolation this machine gives, found out by doing it; and which of it the settings ask for.

Run as a program it tries, and prints what it found as JSON: trying means to fork, which a server had better not.
"""

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from polyport.engines.ports import BLOCK
from polyport.engines.process import isolation, launch
from polyport.engines.process.housing import Housing
from polyport.engines.process.isolation import bubblewrap, users
from polyport.errors import UsageError
from polyport.settings import Settings

#: Seconds that all tries together may take.
_LIMIT = 60.0
_MARK = "FOUND "
INSTALL = "Install it (Debian, Ubuntu: apt install bubblewrap; Fedora: dnf install bubblewrap) and restart Polyport"


class Found(msgspec.Struct, frozen=True):
    """For each, why it does not work; empty: it does."""

    bubblewrap: str = "not tried"
    network: str = "not tried"
    mounts: str = "not tried"
    #: Where ``bwrap`` is.
    program: str | None = None


class Choice(msgspec.Struct, frozen=True):
    """What containers of this server get."""

    level: str = isolation.NONE
    #: Their users; ``None``: the server's own.
    users: tuple[int, int] | None = None
    network_problem: str = "The engine is not open yet."

    def user(self, port: int) -> int | None:
        """The user of the container with that port."""
        return None if self.users is None else users.pick(range(*self.users), port, BLOCK)


def choose(settings: Settings, found: Found) -> Choice:
    """Raises `UsageError` when the settings demand what there is not."""
    level = _level(settings.isolation, found)
    return Choice(level=level, users=_users(settings, level), network_problem=_network_problem(level, found))


@functools.lru_cache(maxsize=1)
def find() -> Found:
    """Tries everything once, in a program of its own."""
    command = [sys.executable, "-I", "-m", "polyport.engines.process.isolation.probe"]
    try:
        done = subprocess.run(command, capture_output=True, timeout=_LIMIT, check=False, text=True, errors="replace")
    except (OSError, subprocess.TimeoutExpired) as error:
        return Found(*[f"it could not be tried: {error}"] * 3)
    said = done.stdout.rpartition(_MARK)[2]
    try:
        return msgspec.json.decode(said, type=Found)
    except msgspec.MsgspecError:
        return Found(*[f"it could not be tried: {done.stderr[-500:].strip()}"] * 3)


def _level(wanted: str, found: Found) -> str:
    problems = {isolation.BUBBLEWRAP: found.bubblewrap, isolation.MOUNTS: found.mounts, isolation.NONE: ""}
    if wanted == "auto":
        return next(level for level, problem in problems.items() if not problem)
    if problems[wanted]:
        raise UsageError(
            f"isolation = {wanted!r} does not work here: {problems[wanted]}. `polyport doctor` says what to do; "
            "isolation = 'auto' takes what there is."
        )
    return wanted


def _users(settings: Settings, level: str) -> tuple[int, int] | None:
    """With no isolation at all a user of its own would not find its files: they are in folders closed to others."""
    if os.getuid() != 0 or settings.container_users == "off" or level == isolation.NONE:
        return None
    try:
        ids = users.parse_range(settings.container_user_range)
        if users.pick(ids, 65535, BLOCK) is None:
            raise ValueError(f"{settings.container_user_range!r} is too small: {65535 // BLOCK + 1} ids are needed")
    except ValueError as error:
        raise UsageError(f"container_user_range: {error}") from error
    return ids.start, ids.stop


def _network_problem(level: str, found: Found) -> str:
    if level == isolation.BUBBLEWRAP and not found.network:
        return ""
    text = "EnableNetworkIsolation cannot be kept here: the process engine needs bubblewrap for it, "
    if level != isolation.BUBBLEWRAP and not found.bubblewrap:
        return text + f"and the setting isolation is {level!r}. Set it to 'auto' and restart Polyport."
    if found.program is None:
        return text + f"which is not installed. {INSTALL}; or leave EnableNetworkIsolation out."
    return text + f"which does not work: {found.bubblewrap or found.network}. `polyport doctor` says more."


def _try(level: str, *, network_isolation: bool = False) -> str:
    """Starts a program that way; what went wrong, or nothing."""
    with tempfile.TemporaryDirectory() as folder:
        entry = {
            "command": ["sh", "-c", "exit 7"],
            "environment": {"PATH": "/usr/bin:/bin"},
            "hostname": "probe",
            "port": 0,
            "folder": None,
            "artifacts": {},
            "network_isolation": network_isolation,
        }
        housing = Housing(Path(folder))
        null = os.open(os.devnull, os.O_WRONLY)
        try:
            housing.prepare(entry, level)
            _, status = os.waitpid(housing.start(null, null), 0)
        except (OSError, launch.CannotStart, isolation.Unavailable) as error:
            return str(error) or type(error).__name__
        finally:
            housing.clear(patient=False)
            os.close(null)
        return "" if os.waitstatus_to_exitcode(status) == 7 else f"a program ended with status {status} there"


def main() -> None:
    """Prints a `Found`."""
    program = bubblewrap.find()
    network = _try(isolation.BUBBLEWRAP, network_isolation=True) if program else "bwrap is not installed"
    problem = _try(isolation.BUBBLEWRAP) if network and program else network
    found = Found(problem, network, _try(isolation.MOUNTS), program)
    sys.stdout.write(_MARK + msgspec.json.encode(found).decode())


if __name__ == "__main__":
    main()
