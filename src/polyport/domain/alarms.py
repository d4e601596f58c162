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
