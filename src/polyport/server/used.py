"""What containers used when they were last looked at, in a file of the home: for `polyport top`, and for nobody who can
ask for a metric.
"""

import contextlib
from collections.abc import Iterable
from pathlib import Path

import msgspec

from polyport.engines import atomic

FILE = "used.json"


class Used(msgspec.Struct, frozen=True):
    """One container of one instance. ``at`` in epoch seconds, memory in bytes."""

    instance: str
    hostname: str
    at: float
    #: Percent of one CPU since the look before; ``None``: there was none.
    cpu: float | None
    memory: int
    #: ``None``: only the machine limits it.
    memory_limit: int | None = None


def write(home: Path, used: Iterable[Used]) -> None:
    """Replace the file. Nothing is said of a disk that takes no more: others will."""
    with contextlib.suppress(OSError):
        atomic.write_atomically(home / "run" / FILE, msgspec.json.encode(tuple(used)))


def read(home: Path, since: float) -> dict[tuple[str, str], Used]:
    """By instance and hostname, what was seen from then on."""
    try:
        found = msgspec.json.decode((home / "run" / FILE).read_bytes(), type=tuple[Used, ...])
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return {(each.instance, each.hostname): each for each in found if each.at >= since}
