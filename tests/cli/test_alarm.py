"""`polyport alarm` as a user runs it, on a home of the test's own."""

import json
from typing import Any

from cli.running import Run, printed, refused, told
from support.people import ACCOUNT, OTHER, REGION


def listed(polyport: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(printed(polyport("alarm", "ls", "--json")))
    return found


def test_an_alarm_is_made_set_listed_and_removed(polyport: Run) -> None:
    """It belongs to the account and the region of the settings, as an unsigned client's endpoints do."""
    assert told(polyport("alarm", "set", "errors-high", "ALARM")) == ["errors-high is ALARM."]
    [alarm] = listed(polyport)
    assert (alarm["alarm"], alarm["state"]) == ("errors-high", "ALARM")
    assert (alarm["account"], alarm["region"]) == (ACCOUNT, REGION)
    assert told(polyport("alarm", "set", "errors-high", "ok")) == ["errors-high is OK."]
    [alarm] = listed(polyport)
    assert alarm["state"] == "OK"
    assert "errors-high" in printed(polyport("alarm", "ls"))
    assert told(polyport("alarm", "rm", "errors-high")) == ["errors-high is removed."]
    assert listed(polyport) == []


def test_accounts_and_regions_have_alarms_of_their_own(polyport: Run) -> None:
    """One name, three alarms."""
    polyport("alarm", "set", "errors-high", "OK")
    polyport("alarm", "set", "errors-high", "ALARM", "--account", OTHER)
    polyport("alarm", "set", "errors-high", "INSUFFICIENT_DATA", "--region", "eu-central-1")
    assert [(row["account"], row["region"], row["state"]) for row in listed(polyport)] == [
        (ACCOUNT, "eu-central-1", "INSUFFICIENT_DATA"),
        (ACCOUNT, REGION, "OK"),
        (OTHER, REGION, "ALARM"),
    ]
    polyport("alarm", "rm", "errors-high")
    assert len(listed(polyport)) == 2


def test_what_cannot_be_an_alarm_is_refused_in_one_line(polyport: Run) -> None:
    """Names as `AlarmName` has them, states as CloudWatch has them; nothing is written."""
    assert "1 to 255 characters" in refused(polyport("alarm", "set", "  ", "ALARM"))
    assert "1 to 255 characters" in refused(polyport("alarm", "set", "x" * 256, "ALARM"))
    assert polyport("alarm", "set", "errors-high", "LOUD").status == 2
    assert "12 digits" in refused(polyport("alarm", "set", "errors-high", "ALARM", "--account", "me"))
    assert listed(polyport) == []


def test_an_alarm_that_is_not_there_cannot_be_removed(polyport: Run) -> None:
    """A slip in the name is told."""
    assert refused(polyport("alarm", "rm", "eror")) == "There is no alarm eror. See polyport alarm ls."
