"""The clock: calls are refused whose signature is more than five minutes off, and records are read by their times."""

import contextlib
import ctypes
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from polyport.cli.doctor.findings import OK, TROUBLE, WARNING, Finding, Machine

#: Seconds that files may be ahead of the clock: they may be on another machine's disk.
TOLERANCE = 60.0
#: Of the end of the audit log, so many bytes are looked at.
_TAIL = 256 * 1024
#: Files that a server writes all the time.
_WRITTEN = ("polyport.db", "polyport.db-wal", "metrics.db", "metrics.db-wal", "run/lock")
_SYNC = "Synchronise it: systemctl enable --now chrony (or systemd-timesyncd)."
_STAMP = re.compile(r"Signature (?:expired: |not yet current: )(\d{8}T\d{6}Z)")
#: What adjtimex(2) answers when nothing keeps the clock right.
_UNSYNCHRONISED = 5


def check_clock(machine: Machine) -> Iterator[Finding]:
    """Against what the home was written at, what the kernel says, and what clients signed."""
    now = time.time()
    ahead = newest(machine.settings.home) - now
    if ahead > TOLERANCE:
        found = f"it shows {_show(now)}, but the home was written at {_show(now + ahead)}"
        yield Finding("clock", TROUBLE, found, f"Set it right: new rows look older than old ones. {_SYNC}")
    elif is_unsynchronised():
        yield Finding("clock", WARNING, f"it shows {_show(now)}, and nothing keeps it right, the kernel says", _SYNC)
    else:
        yield Finding("clock", OK, f"it shows {_show(now)}")
    if machine.settings.audit_log:
        yield from _clients(machine.settings.home / machine.settings.audit_log)


def newest(home: Path) -> float:
    """When a server wrote to the home last, in epoch seconds; 0: never."""
    times = [0.0]
    for name in _WRITTEN:
        with contextlib.suppress(OSError):
            times.append((home / name).stat().st_mtime)
    return max(times)


def is_unsynchronised() -> bool:
    """Whether the kernel says so; where it does not tell, it is not."""
    try:
        # `struct timex` has at most 208 bytes; with no mode set, nothing is changed.
        answer: int = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(256))
    except (OSError, AttributeError):
        return False
    return answer == _UNSYNCHRONISED


def _clients(audit: Path) -> Iterator[Finding]:
    """Those that were refused because of their clock, or of ours, of late."""
    offsets = list(read_offsets(audit))
    if offsets:
        last = offsets[-1]
        yield Finding(
            "clients' clocks",
            WARNING,
            f"{_count(len(offsets))} refused lately for it; the latest client was {_span(last)} {_side(last)}",
            "Set the clock of those clients right, or this machine's when it is many of them.",
        )


def read_offsets(audit: Path) -> Iterator[float]:
    """Of refused calls at the end of the log: seconds that the client's clock was ahead (negative: behind)."""
    try:
        with audit.open("rb") as file:
            file.seek(max(0, audit.stat().st_size - _TAIL))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        signed, at = _STAMP.search(line), re.search(r'"eventTime":"([0-9TZ:-]+)"', line)
        if signed and at:
            with contextlib.suppress(ValueError):
                yield (
                    datetime.strptime(signed[1], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC) - datetime.fromisoformat(at[1])
                ).total_seconds()


def _side(offset: float) -> str:
    return "ahead" if offset > 0 else "behind"


def _span(seconds: float) -> str:
    return f"{abs(seconds) / 60:.0f} minutes"


def _show(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")


def _count(calls: int) -> str:
    return "a call was" if calls == 1 else f"{calls} calls were"
