"""How much memory containers came to have, for the time line: when it grew much, and when it is nearly all. Pure."""

import msgspec

from polyport.domain import diagnosis
from polyport.engines.contract import Usage

#: It is news when it has grown by so much since it was news last.
GROWTH = 2.0
#: And from when on it is nearly all, in parts of the limit.
NEARLY_ALL = (0.8, 0.9, 0.95)


class Peak(msgspec.Struct, frozen=True):
    """Of one run of a container, in bytes."""

    bytes: int = 0
    #: What was told last.
    told: int = 0
    #: By which a new run is told from this one.
    cpu_seconds: float = 0.0


def observe(before: Peak | None, usage: Usage) -> tuple[Peak, str]:
    """Take note of what it uses; what is news of it, in words, or nothing."""
    if before is None or usage.cpu_seconds < before.cpu_seconds:
        before = Peak()
    peak = Peak(max(before.bytes, usage.memory), before.told, usage.cpu_seconds)
    if not _is_news(before.told, peak.bytes, usage.memory_limit):
        return peak, ""
    limit = f" of {diagnosis.describe_bytes(usage.memory_limit)}" if usage.memory_limit else ""
    told = msgspec.structs.replace(peak, told=peak.bytes)
    return told, f"{diagnosis.describe_bytes(peak.bytes)}{limit} in use"


def _is_news(told: int, now: int, limit: int | None) -> bool:
    if not told or now >= told * GROWTH:
        return True
    return limit is not None and any(told < part * limit <= now for part in NEARLY_ALL)
