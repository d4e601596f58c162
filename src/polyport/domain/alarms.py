"""Alarms that updates watch: a name and a state, as CloudWatch has them."""

from enum import StrEnum

import msgspec

from polyport.domain.names import Owner


class AlarmState(StrEnum):
    """As CloudWatch spells it. Only ``ALARM`` rolls an update back."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class AlarmRow(msgspec.Struct, frozen=True):
    """One alarm of one account and region."""

    owner: Owner
    name: str
    state: AlarmState
    #: Epoch seconds at which it came into this state.
    changed_at: float
    #: What it watches: PutMetricAlarm's request as JSON. Empty: it is set by hand alone.
    definition: str = ""
    #: Epoch seconds at which that was given.
    configured_at: float = 0.0
    #: Why it is in its state, in words and as JSON.
    reason: str = ""
    reason_data: str = ""


class HistoryItem(msgspec.Struct, frozen=True):
    """Something that became of an alarm. ``kind``: ``ConfigurationUpdate`` or ``StateUpdate``; ``data`` is JSON."""

    owner: Owner
    name: str
    at: float
    kind: str
    summary: str
    data: str
