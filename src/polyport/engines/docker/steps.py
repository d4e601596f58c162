"""What one container does next: pure functions of what the daemon shows, what is wanted, and the time."""

import re
import signal
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from polyport.domain.instances import Exit
from polyport.engines.docker import asks
from polyport.engines.docker.ends import End
from polyport.engines.docker.output import parse_time

NOTHING: Final = "nothing"
CREATE: Final = "create"
START: Final = "start"
TERMINATE: Final = "terminate"
KILL: Final = "kill"
REMOVE: Final = "remove"
DROP: Final = "drop"

#: Seconds that a daemon has to take down what a run had before the next one is started, and between two looks.
TIDY_LIMIT, TIDY_PAUSE = 3.0, 0.05
_NEVER = "0001-01-01"
_NOT_FOUND = re.compile(r"executable file not found|no such file or directory|was not found", re.IGNORECASE)

_NOT_ALLOWED = re.compile(r"permission denied|is a directory", re.IGNORECASE)
_FOREIGN = re.compile(r"exec format error", re.IGNORECASE)


class Seen(msgspec.Struct, frozen=True):
    """A container as the daemon shows it. Times as the daemon writes them; empty for never."""

    id: str
    digest: str
    running: bool
    #: Made but never started.
    created: bool
    pid: int | None
    started_at: str
    finished_at: str
    exit_code: int
    out_of_memory: bool
    error: str
    #: Its process ended, and the daemon has yet to take down what that had.
    is_untidy: bool = False
    #: Bytes that it may have; ``None``: as much as there is.
    memory_limit: int | None = None


def read(shown: Mapping[str, Any]) -> Seen:
    """From the daemon's answer to an inspection."""
    state = shown.get("State") or {}
    labels = (shown.get("Config") or {}).get("Labels") or {}
    status = str(state.get("Status", ""))
    return Seen(
        id=str(shown["Id"]),
        digest=labels.get(asks.LABEL_DIGEST, ""),
        # Podman shows what is being stopped as neither running nor ended.
        running=bool(state.get("Running")) or status in {"stopping", "restarting", "paused"},
        created=status in {"created", "configured", "initialized"},
        pid=state.get("Pid") or None,
        started_at=_time(state.get("StartedAt")),
        finished_at=_time(state.get("FinishedAt")),
        exit_code=int(state.get("ExitCode") or 0),
        out_of_memory=bool(state.get("OOMKilled")),
        error=str(state.get("Error") or ""),
        # So Podman calls it; Docker tells of an end when it is through with it.
        is_untidy=status == "stopped",
        memory_limit=int((shown.get("HostConfig") or {}).get("Memory") or 0) or None,
    )


def decide(
    seen: Seen | None, wanted: str | None, kill_at: float | None, start_at: float, now: float
) -> tuple[str, float | None]:
    """The next step towards the wanted digest (``None``: no container), and when to look again if nothing happens.

    ``kill_at``: SIGTERM was sent, then comes SIGKILL. ``start_at``: not to be started before. Epoch seconds.
    """
    if seen is not None and seen.digest != wanted:
        if not seen.running:
            return REMOVE, None
        if kill_at is None:
            return TERMINATE, None
        return (KILL, None) if now >= kill_at else (NOTHING, kill_at)
    if wanted is None:
        return DROP, None
    if seen is not None and seen.running:
        return NOTHING, None
    if now < start_at:
        return NOTHING, start_at
    if seen is not None and seen.is_untidy and now < parse_time(seen.finished_at.encode()) + TIDY_LIMIT:
        # What it takes down late may be the new run's: then nobody reaches that.
        return NOTHING, now + TIDY_PAUSE
    return (START if seen else CREATE), None


def read_exit(seen: Seen, end: End) -> Exit:
    """How its latest run ended, by the daemon and by what was seen of it here. Daemons report a signal as 128 and its
    number."""
    at = parse_time(seen.finished_at.encode())
    reason = "out of memory" if end.out_of_memory or seen.out_of_memory else seen.error
    limit = end.memory_limit or seen.memory_limit
    if seen.exit_code > 128 and seen.exit_code - 128 in signal.valid_signals():
        return Exit(at, None, seen.exit_code - 128, reason, end.memory, limit)
    return Exit(at, seen.exit_code, None, reason, end.memory, limit)


def ran_for(seen: Seen) -> float:
    """Seconds from the start to the end of its latest run."""
    return max(0.0, parse_time(seen.finished_at.encode()) - parse_time(seen.started_at.encode()))


def why_not_started(error: str) -> str:
    """What the daemon says of a start that failed, with what it most likely means before it."""
    if "mount" in error.lower() or "network" in error.lower():
        return error
    if _FOREIGN.search(error):
        return f"the image is for another kind of machine: {error}"
    if _NOT_ALLOWED.search(error):
        return f"entrypoint not executable: {error}"
    if _NOT_FOUND.search(error):
        return f"entrypoint not found: {error}"
    return error


def _time(text: object) -> str:
    return "" if not text or str(text).startswith(_NEVER) else str(text)
