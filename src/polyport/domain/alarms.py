"""Alarms that updates watch: a name and a state, as CloudWatch has them."""

from enum import StrEnum
from typing import Any

import msgspec

from polyport.domain import names
from polyport.domain.names import Owner


class AlarmState(StrEnum):
    """As CloudWatch spells it. Only ``ALARM`` rolls an update back."""

    OK = "OK"
    ALARM = "ALARM"
    INSUFFICIENT_DATA = "INSUFFICIENT_DATA"


class AlarmType(StrEnum):
    """As CloudWatch spells it."""

    METRIC = "MetricAlarm"
    COMPOSITE = "CompositeAlarm"


#: Which member of a definition has the actions of a state.
ACTIONS = {
    AlarmState.OK: "OKActions",
    AlarmState.ALARM: "AlarmActions",
    AlarmState.INSUFFICIENT_DATA: "InsufficientDataActions",
}


class AlarmRow(msgspec.Struct, frozen=True):
    """One alarm of one account and region."""

    owner: Owner
    name: str
    state: AlarmState
    #: Epoch seconds at which it came into this state.
    changed_at: float
    #: What it watches: the request of PutMetricAlarm or PutCompositeAlarm as JSON. Empty: it is set by hand alone.
    definition: str = ""
    #: Epoch seconds at which that was given.
    configured_at: float = 0.0
    #: Why it is in its state, in words and as JSON.
    reason: str = ""
    reason_data: str = ""

    @property
    def arn(self) -> str:
        """``arn:aws:cloudwatch:REGION:ACCOUNT:alarm:NAME``."""
        return arn(self.owner, self.name)

    @property
    def members(self) -> dict[str, Any]:
        """The definition's members; none of an alarm that is set by hand alone."""
        found: dict[str, Any] = msgspec.json.decode(self.definition) if self.definition else {}
        return found

    @property
    def type(self) -> AlarmType:
        """An alarm that has a rule is made of other alarms."""
        return AlarmType.COMPOSITE if "AlarmRule" in self.members else AlarmType.METRIC

    @property
    def actions(self) -> tuple[str, ...]:
        """What is to be done now that it is in its state; nothing while its actions are disabled."""
        members = self.members
        if not members.get("ActionsEnabled", True):
            return ()
        return tuple(dict.fromkeys(members.get(ACTIONS[self.state], ())))


class HistoryItem(msgspec.Struct, frozen=True):
    """Something that became of an alarm. ``kind``: ``ConfigurationUpdate``, ``StateUpdate`` or ``Action``; ``data`` is
    JSON; ``type``: what it was then."""

    owner: Owner
    name: str
    at: float
    kind: str
    summary: str
    data: str
    type: AlarmType = AlarmType.METRIC


class Notice(msgspec.Struct, frozen=True):
    """One action of an alarm that came into another state. ``id`` is another for each; ``alarm`` is as it was then."""

    id: str
    action: str
    alarm: AlarmRow
    before: AlarmState


class Errand(msgspec.Struct, frozen=True):
    """A notice that is still to be taken to where it belongs. ``tries``: how often that failed."""

    number: int
    notice: Notice
    tries: int = 0


def arn(owner: Owner, name: str) -> str:
    """``arn:aws:cloudwatch:REGION:ACCOUNT:alarm:NAME``."""
    return f"arn:{names.partition(owner.region)}:cloudwatch:{owner.region}:{owner.account}:alarm:{name}"


def name_of(owner: Owner, reference: str) -> str | None:
    """The name of an owner's alarm, of which ``reference`` is the name or the ARN. ``None``: it is another owner's."""
    if not reference.startswith("arn:"):
        return reference
    prefix = arn(owner, "")
    return reference.removeprefix(prefix) if reference.startswith(prefix) else None
