"""What an action is told: the notification of an alarm as CloudWatch hands it to SNS. Pure."""

from datetime import UTC, datetime
from typing import Any

from polyport.domain.alarms import ACTIONS, AlarmRow, Notice
from polyport.server.actions import book

#: Members of a definition that a notification has, too, in its ``Trigger``.
_TRIGGER = (
    "MetricName",
    "Namespace",
    "Unit",
    "Period",
    "EvaluationPeriods",
    "DatapointsToAlarm",
    "ComparisonOperator",
    "Threshold",
    "Metrics",
)


def message(notice: Notice) -> dict[str, Any]:
    """The body of the notification."""
    alarm, members = notice.alarm, notice.alarm.members
    found = {
        "AlarmName": alarm.name,
        "AlarmDescription": members.get("AlarmDescription"),
        "AWSAccountId": alarm.owner.account,
        "AlarmConfigurationUpdatedTimestamp": _moment(alarm.configured_at),
        "NewStateValue": alarm.state.value,
        "NewStateReason": alarm.reason,
        "StateChangeTime": _moment(alarm.changed_at),
        "Region": alarm.owner.region,
        "AlarmArn": alarm.arn,
        "OldStateValue": notice.before.value,
        **{member: [book.shown(action) for action in members.get(member, ())] for member in ACTIONS.values()},
    }
    if "AlarmRule" in members:
        return found | {"AlarmRule": members["AlarmRule"]}
    return found | {"Trigger": _trigger(members)}


def text(notice: Notice) -> str:
    """For people: a subject and the reason."""
    alarm = notice.alarm
    return f'{alarm.state}: "{alarm.name}" in {alarm.owner.region}\n{alarm.reason}'


def environment(notice: Notice) -> dict[str, str]:
    """For commands."""
    alarm: AlarmRow = notice.alarm
    found = {
        "POLYPORT_ALARM_NAME": alarm.name,
        "POLYPORT_ALARM_ARN": alarm.arn,
        "POLYPORT_ALARM_STATE": alarm.state.value,
        "POLYPORT_ALARM_OLD_STATE": notice.before.value,
        "POLYPORT_ALARM_REASON": alarm.reason,
    }
    # No environment can hold it.
    return {name: value.replace("\0", "") for name, value in found.items()}


def _trigger(members: dict[str, Any]) -> dict[str, Any]:
    found = {name: members[name] for name in _TRIGGER if name in members}
    found["TreatMissingData"] = members.get("TreatMissingData", "missing")
    if "Statistic" in members:
        found |= {"StatisticType": "Statistic", "Statistic": members["Statistic"].upper()}
    elif "ExtendedStatistic" in members:
        found |= {"StatisticType": "ExtendedStatistic", "ExtendedStatistic": members["ExtendedStatistic"]}
    if "MetricName" in members:
        given = members.get("Dimensions", ())
        found["Dimensions"] = [{"name": one["Name"], "value": one["Value"]} for one in given]
    return found


def _moment(seconds: float) -> str:
    """As CloudWatch writes it here."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "+0000"
