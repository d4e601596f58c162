"""Whether the actions of a composite alarm wait for another alarm, its suppressor. Pure.

While the suppressor is in ``ALARM`` they wait. They also wait for it to come there, ``ActionsSuppressorWaitPeriod``
seconds from the alarm's own change, and ``ActionsSuppressorExtensionPeriod`` seconds after it left.
"""

from enum import StrEnum

import msgspec

from polyport.domain import alarms
from polyport.domain.alarms import AlarmRow, AlarmState

#: Seconds until the next look at a suppressor that is in ``ALARM``.
AGAIN = 5.0


class By(StrEnum):
    """``ActionsSuppressedBy``, as CloudWatch spells it."""

    WAIT = "WaitPeriod"
    EXTENSION = "ExtensionPeriod"
    ALARM = "Alarm"


class Hold(msgspec.Struct, frozen=True):
    """Why actions wait, and when (epoch seconds) to look again."""

    by: By
    until: float
    reason: str


def suppressor(alarm: AlarmRow) -> str | None:
    """The name of the alarm that suppresses this one's actions, if one does."""
    reference = alarm.members.get("ActionsSuppressor")
    return alarms.name_of(alarm.owner, reference) if reference else None


def hold(alarm: AlarmRow, other: AlarmRow | None, now: float) -> Hold | None:
    """``alarm`` in its state of now; ``other``: its suppressor. ``None``: its actions need not wait, or not any more.
    A suppressor that is not there suppresses nothing."""
    if other is None:
        return None
    members = alarm.members
    if other.state is AlarmState.ALARM:
        return Hold(By.ALARM, now + AGAIN, f"Actions suppressed by {other.name}, which is in ALARM.")
    waits_until = alarm.changed_at + members.get("ActionsSuppressorWaitPeriod", 0)
    if now < waits_until:
        return Hold(By.WAIT, waits_until, f"Actions wait for {other.name} to come into ALARM.")
    extended_until = other.changed_at + members.get("ActionsSuppressorExtensionPeriod", 0)
    if other.changed_at > alarm.changed_at and now < extended_until:
        return Hold(By.EXTENSION, extended_until, f"Actions wait: {other.name} has left ALARM just now.")
    return None
