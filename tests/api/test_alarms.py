"""Alarms on metrics, through an unmodified client."""

from datetime import UTC, datetime
from typing import Any

import pytest
from msgspec.structs import replace

from api.harness import Plane, Wire
from polyport.api.monitoring import evaluation
from polyport.domain.alarms import AlarmState
from polyport.server import alarming

NOON = 1_700_006_400
X, O, _ = 9.0, 1.0, None  # noqa: E741  as CloudWatch's documentation draws them


@pytest.fixture
def cloudwatch(wire: Wire, plane: Plane) -> Any:
    plane.clock = lambda: NOON + 63.0
    return wire.client("cloudwatch")


def put_alarm(cloudwatch: Any, name: str = "errors-high", **changes: Any) -> None:
    usual = {
        "Namespace": "Mine",
        "MetricName": "Errors",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    cloudwatch.put_metric_alarm(AlarmName=name, **usual | changes)


def put_errors(cloudwatch: Any, value: float) -> None:
    datum = {"MetricName": "Errors", "Value": value, "Timestamp": datetime.fromtimestamp(NOON + 1, UTC)}
    cloudwatch.put_metric_data(Namespace="Mine", MetricData=[datum])


def state(cloudwatch: Any, name: str = "errors-high") -> str:
    [found] = cloudwatch.describe_alarms(AlarmNames=[name])["MetricAlarms"]
    return str(found["StateValue"])


def test_an_alarm_fires_and_updates_see_it(cloudwatch: Any, plane: Plane) -> None:
    """The state is where updates look for it."""
    put_alarm(cloudwatch)
    assert state(cloudwatch) == "INSUFFICIENT_DATA"
    put_errors(cloudwatch, 6.0)
    plane.run(alarming.look(plane.context))
    assert state(cloudwatch) == "ALARM"
    assert plane.run(plane.store.alarms.firing(plane.context.owner, {"errors-high"})) == {"errors-high"}
    [found] = cloudwatch.describe_alarms()["MetricAlarms"]
    assert "greater than the threshold (5.0)" in found["StateReason"]
    assert (found["Period"], found["ActionsEnabled"]) == (60, True)


def test_an_alarm_may_watch_metric_math(cloudwatch: Any, plane: Plane) -> None:
    """One of the queries is what it watches."""
    put_errors(cloudwatch, 3.0)
    metric = {"Namespace": "Mine", "MetricName": "Errors"}
    queries = [
        {"Id": "m", "MetricStat": {"Metric": metric, "Period": 60, "Stat": "Sum"}, "ReturnData": False},
        {"Id": "e", "Expression": "m * 2"},
    ]
    cloudwatch.put_metric_alarm(
        AlarmName="math",
        Metrics=queries,
        EvaluationPeriods=1,
        Threshold=6.0,
        ComparisonOperator="GreaterThanOrEqualToThreshold",
    )
    plane.run(alarming.look(plane.context))
    assert state(cloudwatch, "math") == "ALARM"


def test_an_alarm_that_cannot_be_evaluated_holds_up_no_other(
    cloudwatch: Any, plane: Plane, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever is wrong with it: here, a row that another version wrote."""
    put_alarm(cloudwatch, name="a-first")
    [row] = plane.run(plane.store.alarms.all())
    plane.run(plane.store.alarms.define(replace(row, definition='{"MetricName": "x"}')))
    put_alarm(cloudwatch)
    put_errors(cloudwatch, 6.0)
    plane.run(alarming.look(plane.context))
    assert state(cloudwatch) == "ALARM"
    assert "alarm a-first cannot be evaluated" in caplog.text


def test_states_are_set_and_remembered(cloudwatch: Any) -> None:
    """The history has the newest first."""
    put_alarm(cloudwatch)
    cloudwatch.set_alarm_state(AlarmName="errors-high", StateValue="OK", StateReason="by hand")
    cloudwatch.disable_alarm_actions(AlarmNames=["errors-high"])
    [found] = cloudwatch.describe_alarms(StateValue="OK")["MetricAlarms"]
    assert (found["StateReason"], found["ActionsEnabled"]) == ("by hand", False)
    items = cloudwatch.describe_alarm_history(AlarmName="errors-high")["AlarmHistoryItems"]
    assert [one["HistoryItemType"] for one in items] == ["ConfigurationUpdate", "StateUpdate", "ConfigurationUpdate"]
    cloudwatch.enable_alarm_actions(AlarmNames=["errors-high"])
    cloudwatch.delete_alarms(AlarmNames=["errors-high"])
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []
    with pytest.raises(cloudwatch.exceptions.ResourceNotFound):
        cloudwatch.delete_alarms(AlarmNames=["errors-high"])


def test_another_definition_keeps_the_state(cloudwatch: Any) -> None:
    """Until it is evaluated."""
    put_alarm(cloudwatch)
    cloudwatch.set_alarm_state(AlarmName="errors-high", StateValue="ALARM", StateReason="by hand")
    put_alarm(cloudwatch, Threshold=7.0)
    [found] = cloudwatch.describe_alarms()["MetricAlarms"]
    assert (found["StateValue"], found["Threshold"]) == ("ALARM", 7.0)


def test_tags_of_an_alarm_are_shown_and_changed(cloudwatch: Any) -> None:
    """Given with a new alarm or later, and gone with it. Another definition does not touch them."""
    put_alarm(cloudwatch, Tags=[{"Key": "team", "Value": "ml"}])
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:errors-high"
    cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": "stage", "Value": "prod"}])
    put_alarm(cloudwatch, Tags=[{"Key": "team", "Value": "other"}])
    shown = cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"]
    assert shown == [{"Key": "stage", "Value": "prod"}, {"Key": "team", "Value": "ml"}]
    cloudwatch.untag_resource(ResourceARN=arn, TagKeys=["stage", "nothing"])
    assert len(cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"]) == 1
    cloudwatch.delete_alarms(AlarmNames=["errors-high"])
    for wrong in (arn, arn.replace(":1234", ":2109"), arn.replace(":alarm:", ":dashboard/")):
        with pytest.raises(cloudwatch.exceptions.ResourceNotFoundException):
            cloudwatch.list_tags_for_resource(ResourceARN=wrong)
    put_alarm(cloudwatch)
    assert cloudwatch.list_tags_for_resource(ResourceARN=arn)["Tags"] == []
    with pytest.raises(cloudwatch.exceptions.InvalidParameterValueException):
        cloudwatch.tag_resource(ResourceARN=arn, Tags=[{"Key": str(n), "Value": ""} for n in range(51)])


@pytest.mark.parametrize(
    "changes",
    [
        {"DatapointsToAlarm": 2},
        {"ExtendedStatistic": "p99"},
        {"Period": 61},
        {"ComparisonOperator": "GreaterThanUpperThreshold"},
        {"EvaluationPeriods": 20000},
    ],
)
def test_an_alarm_that_makes_no_sense_is_refused(cloudwatch: Any, changes: dict[str, Any]) -> None:
    """And nothing of it is kept."""
    with pytest.raises(cloudwatch.exceptions.ClientError):
        put_alarm(cloudwatch, **changes)
    assert cloudwatch.describe_alarms()["MetricAlarms"] == []


@pytest.mark.parametrize(
    ("values", "missing", "ignore", "breaching", "not_breaching"),
    [
        ((O, _, X, _, X), "OK", "OK", "OK", "OK"),
        ((_, _, _, _, O), "OK", "OK", "OK", "OK"),
        ((_, _, _, _, _), "INSUFFICIENT_DATA", None, "ALARM", "OK"),
        ((O, X, X, _, X), "ALARM", "ALARM", "ALARM", "ALARM"),
        ((_, _, X, _, _), "ALARM", None, "ALARM", "OK"),
    ],
)
def test_missing_data_is_treated_as_documented(
    values: Any, missing: str, ignore: str | None, breaching: str, not_breaching: str
) -> None:
    """Three out of three, as the table in CloudWatch's documentation has it; ``None`` keeps the state."""
    usual = {"EvaluationPeriods": 3, "Threshold": 5.0, "ComparisonOperator": "GreaterThanThreshold"}
    expected = {"missing": missing, "ignore": ignore, "breaching": breaching, "notBreaching": not_breaching}
    for treatment, wanted in expected.items():
        found = evaluation.decide({**usual, "TreatMissingData": treatment}, values)
        assert found.state == (AlarmState(wanted) if wanted else None), treatment


def test_some_of_the_periods_are_enough_if_so_asked() -> None:
    """M out of N."""
    definition = {
        "EvaluationPeriods": 3,
        "DatapointsToAlarm": 2,
        "Threshold": 5.0,
        "ComparisonOperator": "GreaterThanThreshold",
    }
    assert evaluation.decide(definition, (O, O, X, O, X)).state is AlarmState.ALARM
    assert evaluation.decide(definition, (X, X, X, O, O)).state is AlarmState.OK
