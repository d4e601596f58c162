"""Alarms made of alarms, through an unmodified client."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.harness import Plane, Wire, refusal
from polyport.api.monitoring import rules
from polyport.domain.alarms import AlarmState
from polyport.errors import ApiError
from polyport.server import alarming

NOON = 1_700_006_400
STATES = {"a": AlarmState.ALARM, "b": AlarmState.OK, "with space": AlarmState.INSUFFICIENT_DATA}


@pytest.fixture
def cloudwatch(wire: Wire, plane: Plane) -> Any:
    plane.clock = lambda: NOON + 63.0
    return wire.client("cloudwatch")


def put_child(cloudwatch: Any, name: str, state: str = "OK") -> None:
    """An alarm on a metric that never has data, which keeps the state that it is set to."""
    cloudwatch.put_metric_alarm(
        AlarmName=name,
        Namespace="Mine",
        MetricName="Errors",
        Statistic="Sum",
        Period=60,
        EvaluationPeriods=1,
        Threshold=5.0,
        ComparisonOperator="GreaterThanThreshold",
        TreatMissingData="ignore",
    )
    cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="by hand")


def composite(cloudwatch: Any, name: str) -> dict[str, Any]:
    [found] = cloudwatch.describe_alarms(AlarmNames=[name], AlarmTypes=["CompositeAlarm"])["CompositeAlarms"]
    return dict(found)


def test_a_composite_alarm_follows_its_children(cloudwatch: Any, plane: Plane) -> None:
    """Also over two levels at once, and updates see it."""
    put_child(cloudwatch, "errors")
    put_child(cloudwatch, "deploying")
    cloudwatch.put_composite_alarm(AlarmName="bad", AlarmRule='ALARM("errors") AND NOT ALARM(deploying)')
    cloudwatch.put_composite_alarm(AlarmName="above", AlarmRule="ALARM(bad)")
    assert composite(cloudwatch, "bad")["StateValue"] == "INSUFFICIENT_DATA"
    plane.run(alarming.look(plane.context))
    assert composite(cloudwatch, "bad")["StateValue"] == "OK"
    cloudwatch.set_alarm_state(AlarmName="errors", StateValue="ALARM", StateReason="by hand")
    plane.run(alarming.look(plane.context))
    assert composite(cloudwatch, "bad")["StateValue"] == composite(cloudwatch, "above")["StateValue"] == "ALARM"
    assert composite(cloudwatch, "bad")["StateReason"] == ("The rule is true: errors is in ALARM, deploying is in OK.")
    assert plane.run(plane.store.alarms.firing(plane.context.owner, {"above", "bad"})) == {"above", "bad"}
    cloudwatch.set_alarm_state(AlarmName="deploying", StateValue="ALARM", StateReason="by hand")
    plane.run(alarming.look(plane.context))
    assert composite(cloudwatch, "above")["StateValue"] == "OK"
    items = cloudwatch.describe_alarm_history(AlarmTypes=["CompositeAlarm"], HistoryItemType="StateUpdate")
    assert [one["AlarmName"] for one in items["AlarmHistoryItems"]].count("bad") == 3
    assert {one["AlarmType"] for one in items["AlarmHistoryItems"]} == {"CompositeAlarm"}


def test_alarms_are_described_by_type_and_by_kinship(cloudwatch: Any) -> None:
    """Without AlarmTypes metric alarms alone; children and parents with few members, as AWS shows them."""
    put_child(cloudwatch, "errors")
    arn = "arn:aws:cloudwatch:us-east-1:123456789012:alarm:errors"
    cloudwatch.put_composite_alarm(AlarmName="bad", AlarmRule=f"OK({arn})", AlarmActions=["arn:aws:sns:x:y:page"])
    plain = cloudwatch.describe_alarms()
    assert ([one["AlarmName"] for one in plain["MetricAlarms"]], plain["CompositeAlarms"]) == (["errors"], [])
    both = cloudwatch.describe_alarms(AlarmTypes=["MetricAlarm", "CompositeAlarm"], MaxRecords=1)
    assert [one["AlarmName"] for one in both["CompositeAlarms"]] == ["bad"]
    assert both["NextToken"]
    assert composite(cloudwatch, "bad")["AlarmRule"] == f"OK({arn})"
    children = cloudwatch.describe_alarms(ChildrenOfAlarmName="bad")
    assert [sorted(one) for one in children["MetricAlarms"]] == [
        ["AlarmArn", "AlarmName", "StateUpdatedTimestamp", "StateValue"]
    ]
    parents = cloudwatch.describe_alarms(ParentsOfAlarmName="errors")
    assert [sorted(one) for one in parents["CompositeAlarms"]] == [["AlarmArn", "AlarmName"]]
    every = {"AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
    assert cloudwatch.describe_alarms(ActionPrefix="arn:aws:lambda", **every)["CompositeAlarms"] == []
    assert len(cloudwatch.describe_alarms(ActionPrefix="arn:aws:sns", **every)["CompositeAlarms"]) == 1
    refusal(cloudwatch.describe_alarms, "ValidationError", ChildrenOfAlarmName="bad", StateValue="OK")


def test_a_child_in_use_is_not_deleted(cloudwatch: Any) -> None:
    """But together with its only parent. One call deletes one composite alarm at most."""
    for name in ("errors", "slow"):
        put_child(cloudwatch, name)
    cloudwatch.put_composite_alarm(AlarmName="bad", AlarmRule="ALARM(errors)")
    cloudwatch.put_composite_alarm(AlarmName="worse", AlarmRule="ALARM(slow)")
    told = refusal(cloudwatch.delete_alarms, "ValidationError", AlarmNames=["errors", "slow"])
    assert told.startswith("Cannot delete")
    refusal(cloudwatch.delete_alarms, "ValidationError", AlarmNames=["bad", "worse"])
    assert len(cloudwatch.describe_alarms()["MetricAlarms"]) == 2
    cloudwatch.delete_alarms(AlarmNames=["errors", "bad"])
    refusal(cloudwatch.delete_alarms, "ResourceNotFound", 404, AlarmNames=["nobody", "worse"])
    assert cloudwatch.describe_alarms(AlarmTypes=["CompositeAlarm"])["CompositeAlarms"] == []
    assert [one["AlarmName"] for one in cloudwatch.describe_alarms()["MetricAlarms"]] == ["slow"]


def test_rules_that_cannot_be_are_refused(cloudwatch: Any) -> None:
    """Children that are not there, circles, suppressors, and names that are taken."""
    put_child(cloudwatch, "errors")
    cloudwatch.put_composite_alarm(AlarmName="bad", AlarmRule="ALARM(errors)")
    cloudwatch.put_composite_alarm(AlarmName="above", AlarmRule="ALARM(bad)")
    put = cloudwatch.put_composite_alarm
    for rule in ("ALARM(nobody)", "ALARM(arn:aws:cloudwatch:us-east-1:210987654321:alarm:errors)"):
        assert "do not exist" in refusal(put, "ValidationError", AlarmName="new", AlarmRule=rule)
    for rule in ("ALARM(bad)", "ALARM(errors) OR OK(above)"):
        told = refusal(put, "ValidationError", AlarmName="bad", AlarmRule=rule)
        assert told == "AlarmRule would make bad depend on itself."
    periods = {"ActionsSuppressorWaitPeriod": 1, "ActionsSuppressorExtensionPeriod": 1}
    wrong: list[dict[str, Any]] = [
        {"ActionsSuppressor": "bad"},
        periods,
        {"ActionsSuppressor": "nobody", **periods},
        {"ActionsSuppressor": "new", **periods},
        {"ActionsSuppressor": "bad", **periods, "ActionsSuppressorWaitPeriod": -1},
    ]
    for members in wrong:
        told = refusal(put, "ValidationError", AlarmName="new", AlarmRule="ALARM(errors)", **members)
        assert "ActionsSuppressor" in told
    refusal(put, "ValidationError", AlarmName="errors", AlarmRule="TRUE")
    assert "depend" not in composite(cloudwatch, "bad")["AlarmRule"]


def test_whose_actions_are_suppressed_is_shown(cloudwatch: Any, plane: Plane) -> None:
    """By the alarm in ALARM, or by the time for which it is waited."""
    put_child(cloudwatch, "errors", "ALARM")
    put_child(cloudwatch, "deploying")
    cloudwatch.put_composite_alarm(
        AlarmName="bad",
        AlarmRule="ALARM(errors)",
        ActionsSuppressor="arn:aws:cloudwatch:us-east-1:123456789012:alarm:deploying",
        ActionsSuppressorWaitPeriod=60,
        ActionsSuppressorExtensionPeriod=30,
    )
    plane.run(alarming.look(plane.context))
    assert composite(cloudwatch, "bad")["ActionsSuppressedBy"] == "WaitPeriod"
    cloudwatch.set_alarm_state(AlarmName="deploying", StateValue="ALARM", StateReason="by hand")
    shown = composite(cloudwatch, "bad")
    assert shown["ActionsSuppressedBy"] == "Alarm"
    assert shown["ActionsSuppressedReason"] == "Actions suppressed by deploying, which is in ALARM."
    cloudwatch.set_alarm_state(AlarmName="deploying", StateValue="OK", StateReason="by hand")
    plane.clock = lambda: NOON + 200.0
    assert "ActionsSuppressedBy" not in composite(cloudwatch, "bad")


@pytest.mark.parametrize(
    ("rule", "holds"),
    [
        ("TRUE", True),
        ("not true", False),
        ("ALARM(a)", True),
        ('ALARM("a") AND OK( b )', True),
        ("INSUFFICIENT_DATA(with space)", True),
        ("INSUFFICIENT_DATA(gone)", True),
        ("TRUE OR FALSE AND FALSE", True),
        ("(TRUE OR FALSE) AND FALSE", False),
        ("NOT FALSE AND FALSE", False),
        ("NOT (FALSE AND FALSE)", True),
        ("NOT NOT ALARM(a)", True),
        (r'INSUFFICIENT_DATA("quo\"te)")', True),
        ("(" * 200 + "ALARM(a)" + ")" * 200, True),
    ],
)
def test_a_rule_means_what_it_says(rule: str, holds: bool) -> None:
    """NOT binds before AND, AND before OR."""
    assert rules.parse(rule).holds(STATES) is holds


@pytest.mark.parametrize(
    "rule",
    [
        " ", "ALARM()", "ALARM(a", "ALARM(a) OK(b)", "AND TRUE", "TRUE AND", "(TRUE", "TRUE)", "()", "a", "NOT",
        "ALARM(a) && OK(b)", "TRUE NOT FALSE", "ALARMS(a)", "(" * 300 + "TRUE" + ")" * 300,
        " OR ".join(f"ALARM(a{n})" for n in range(101)),
    ],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused_with_its_place(rule: str) -> None:
    """A caller finds the mistake by the character."""
    with pytest.raises(ApiError, match="AlarmRule is not right at character"):
        rules.parse(rule)


@given(st.text('ALRMOKTUEFSND()"\\ xy', max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    """It is a rule, or it is refused."""
    try:
        rule = rules.parse(text)
    except ApiError:
        return
    assert rule.holds({}) in {True, False}


@given(st.recursive(st.sampled_from(["TRUE", "FALSE"]), lambda inner: st.one_of(
    st.tuples(inner, st.sampled_from([" AND ", " OR "]), inner).map("".join), inner.map(lambda x: f"NOT ({x})"),
    inner.map(lambda x: f"({x})"),
), max_leaves=12))  # fmt: skip
def test_rules_are_read_as_python_reads_them(rule: str) -> None:
    """Python has the same operators with the same strength."""
    python = rule.replace("TRUE", "True").replace("FALSE", "False").replace("AND", "and").replace("OR", "or")
    assert rules.parse(rule).holds({}) is eval(python.replace("NOT", "not"))
