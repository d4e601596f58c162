"""CloudWatch Logs: groups, streams and events of what containers printed, by an unmodified client."""

from pathlib import Path
from typing import Any

import pytest

from api.harness import Plane, Wire, refusal
from api.test_access import client, denial
from support.people import ACCOUNT, User, allow, table
from telemetry.logs.written import log_of, write

BEGIN = 1_700_000_000.0
GROUP = "/aws/sagemaker/Endpoints/demo"
MISSING = "ResourceNotFoundException"
INVALID = "InvalidParameterException"


@pytest.fixture
def logs(plane: Plane, wire: Wire) -> Any:
    plane.clock = lambda: BEGIN + 100_000
    return wire.client("logs")


@pytest.fixture
def home(plane: Plane, tmp_path: Path) -> Path:
    """Two containers of one instance, with ten lines each in turn."""
    for number, container in enumerate("ab"):
        write(
            log_of(tmp_path, container=container),
            *((BEGIN + line + number / 2, f"{container}{line}") for line in range(10)),
        )
    return tmp_path


def messages(answer: dict[str, Any]) -> list[str]:
    return [event["message"] for event in answer["events"]]


def ms(seconds: float) -> int:
    return int((BEGIN + seconds) * 1000)


def test_each_endpoint_has_a_group(logs: Any, home: Path) -> None:
    """Rule: /aws/sagemaker/Endpoints/NAME, sorted, with what its files hold; pages go on where the last one ended."""
    for name in ("other", "Zed"):
        write(log_of(home, name), (BEGIN + 5, "x"))
    pages = logs.get_paginator("describe_log_groups").paginate(
        logGroupNamePrefix="/aws/", PaginationConfig={"PageSize": 1}
    )
    groups = [group for page in pages for group in page["logGroups"]]
    assert [group["logGroupName"] for group in groups] == [
        GROUP.replace("demo", name) for name in ("Zed", "demo", "other")
    ]
    arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{GROUP}"
    assert (groups[1]["arn"], groups[1]["logGroupArn"]) == (f"{arn}:*", arn)
    assert groups[1]["creationTime"] == ms(0)
    assert groups[1]["storedBytes"] > 500
    assert "retentionInDays" not in groups[1]
    found = logs.describe_log_groups(logGroupNamePattern="oth")["logGroups"]
    assert [group["logGroupName"] for group in found] == [GROUP.replace("demo", "other")]
    assert logs.describe_log_groups(logGroupNamePrefix="/aws/lambda")["logGroups"] == []
    refusal(logs.describe_log_groups, INVALID, logGroupNamePrefix="a", logGroupNamePattern="b")


def test_groups_are_their_owners(wire: Wire, logs: Any, home: Path) -> None:
    """Rule: another region has none of them."""
    elsewhere = wire.client("logs", region="eu-west-1")
    assert elsewhere.describe_log_groups()["logGroups"] == []
    refusal(elsewhere.describe_log_streams, MISSING, logGroupName=GROUP)
    refusal(logs.describe_log_streams, MISSING, logGroupName="/aws/sagemaker/Endpoints/../us-east-1/demo")
    refusal(logs.describe_log_streams, MISSING, logGroupName="/aws/sagemaker/Endpoints/..")


def test_each_container_has_a_stream(logs: Any, home: Path) -> None:
    """Rule: VARIANT/INSTANCE/CONTAINER; without the container where the model has a single one."""
    write(log_of(home, container="primary", instance="i-2"), (BEGIN - 5, "x"))
    streams = logs.describe_log_streams(logGroupName=GROUP)["logStreams"]
    assert [stream["logStreamName"] for stream in streams] == ["V/i-1/a", "V/i-1/b", "V/i-2"]
    assert streams[0]["firstEventTimestamp"] == streams[0]["creationTime"] == ms(0)
    assert streams[0]["lastEventTimestamp"] == ms(9)
    for descending, wanted in ((False, ["V/i-2", "V/i-1/a", "V/i-1/b"]), (True, ["V/i-1/b", "V/i-1/a", "V/i-2"])):
        pages = logs.get_paginator("describe_log_streams").paginate(
            logGroupName=GROUP, orderBy="LastEventTime", descending=descending, PaginationConfig={"PageSize": 1}
        )
        assert [stream["logStreamName"] for page in pages for stream in page["logStreams"]] == wanted
    arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{GROUP}"
    found = logs.describe_log_streams(logGroupIdentifier=arn, logStreamNamePrefix="V/i-1/b")["logStreams"]
    assert [stream["arn"] for stream in found] == [f"{arn}:log-stream:V/i-1/b"]
    refusal(logs.describe_log_streams, INVALID)
    refusal(logs.describe_log_streams, INVALID, logGroupName=GROUP, nextToken="guess")


def test_the_events_of_a_stream_are_read_from_the_end_or_the_start(logs: Any, home: Path) -> None:
    """Rule: the last ones unless startFromHead; tokens lead both ways; at an end the token stays."""
    stream = {"logGroupName": GROUP, "logStreamName": "V/i-1/a"}
    assert messages(logs.get_log_events(**stream)) == [f"a{line}" for line in range(10)]
    last = logs.get_log_events(**stream, limit=3)
    assert messages(last) == ["a7", "a8", "a9"]
    assert last["events"][0]["timestamp"] == ms(7)
    before = logs.get_log_events(**stream, limit=3, nextToken=last["nextBackwardToken"])
    assert messages(before) == ["a4", "a5", "a6"]
    again = logs.get_log_events(**stream, limit=3, nextToken=before["nextForwardToken"])
    assert messages(again) == ["a7", "a8", "a9"]
    end = logs.get_log_events(**stream, nextToken=again["nextForwardToken"])
    assert (messages(end), end["nextForwardToken"]) == ([], again["nextForwardToken"])
    write(log_of(home), (BEGIN + 11, "new"))
    assert messages(logs.get_log_events(**stream, nextToken=end["nextForwardToken"])) == ["new"]
    assert messages(logs.get_log_events(**stream, startFromHead=True, limit=2)) == ["a0", "a1"]
    within = logs.get_log_events(**stream, startTime=ms(3), endTime=ms(5))
    assert messages(within) == ["a3", "a4"]
    refusal(logs.get_log_events, MISSING, logGroupName=GROUP, logStreamName="V/i-1/c")
    refusal(logs.get_log_events, INVALID, **stream, nextToken="guess")
    refusal(logs.get_log_events, INVALID, **stream, startTime=5, endTime=5)


def test_the_events_of_a_group_are_filtered(logs: Any, home: Path) -> None:
    """Rule: all streams merged by time, each event with an id of its own that stays; the end is within the times."""
    answer = logs.filter_log_events(logGroupName=GROUP)
    assert messages(answer) == [f"{name}{line}" for line in range(10) for name in "ab"]
    assert answer["events"][1]["logStreamName"] == "V/i-1/b"
    ids = [event["eventId"] for event in answer["events"]]
    assert len(set(ids)) == 20
    pages = logs.get_paginator("filter_log_events").paginate(logGroupName=GROUP, PaginationConfig={"PageSize": 3})
    assert [event["eventId"] for page in pages for event in page["events"]] == ids
    assert messages(logs.filter_log_events(logGroupName=GROUP, filterPattern="?a3 ?b4")) == ["a3", "b4"]
    assert messages(logs.filter_log_events(logGroupName=GROUP, startTime=ms(3), endTime=ms(4))) == ["a3", "b3", "a4"]
    named = logs.filter_log_events(logGroupName=GROUP, logStreamNames=["V/i-1/b"], limit=2)
    assert messages(named) == ["b0", "b1"]
    assert messages(logs.filter_log_events(logGroupName=GROUP, logStreamNamePrefix="V/i-1/a", limit=1)) == ["a0"]
    refusal(logs.filter_log_events, MISSING, logGroupName=GROUP, logStreamNames=["V/i-1/c"])
    refusal(logs.filter_log_events, INVALID, logGroupName=GROUP, nextToken=named["nextToken"])
    assert "pattern" in refusal(logs.filter_log_events, INVALID, logGroupName=GROUP, filterPattern="{ $.a = }")
    refusal(logs.filter_log_events, INVALID, logGroupName=GROUP, startFromHead=False)


def test_what_the_engine_says_is_marked(logs: Any, home: Path) -> None:
    """Rule: a container's end is among its lines, and nobody takes it for one of them."""
    path = log_of(home)
    path.write_bytes(path.read_bytes() + b"2026-01-01T00:00:00.000000Z system exited with code 4\n")
    answer = logs.get_log_events(logGroupName=GROUP, logStreamName="V/i-1/a", limit=1)
    assert messages(answer) == ["[polyport] exited with code 4"]


def test_retention_hides_what_is_too_old(plane: Plane, logs: Any, home: Path) -> None:
    """Rule: days that AWS knows; from the call on older events are not shown; without a policy all are."""
    plane.clock = lambda: BEGIN + 86_400 + 5
    logs.put_retention_policy(logGroupName=GROUP, retentionInDays=1)
    assert logs.describe_log_groups()["logGroups"][0]["retentionInDays"] == 1
    assert messages(logs.filter_log_events(logGroupName=GROUP))[0] == "a5"
    stream = logs.get_log_events(logGroupName=GROUP, logStreamName="V/i-1/b", startFromHead=True)
    assert messages(stream)[0] == "b5"
    logs.delete_retention_policy(logGroupName=GROUP)
    assert messages(logs.filter_log_events(logGroupName=GROUP))[0] == "a0"
    assert "not 2" in refusal(logs.put_retention_policy, INVALID, logGroupName=GROUP, retentionInDays=2)
    refusal(logs.put_retention_policy, MISSING, logGroupName=GROUP + "x", retentionInDays=1)


def test_a_group_is_deleted_with_all_it_has(logs: Any, home: Path) -> None:
    """Rule: it is gone; a container that prints on begins it anew."""
    logs.put_retention_policy(logGroupName=GROUP, retentionInDays=1)
    logs.delete_log_group(logGroupName=GROUP)
    assert logs.describe_log_groups()["logGroups"] == []
    refusal(logs.delete_log_group, MISSING, logGroupName=GROUP)
    assert not log_of(home).parents[2].exists()
    write(log_of(home), (BEGIN + 20, "on"))
    assert messages(logs.filter_log_events(logGroupName=GROUP)) == ["on"]


def test_logs_are_for_those_who_may_read_them(plane: Plane, wire: Wire, logs: Any, home: Path) -> None:
    """Rule: IAM's actions on the group, on the stream for GetLogEvents; the audit log has the call."""
    arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{GROUP}"
    reader = User("bob", allow(f"{arn}:*", action="logs:FilterLogEvents"))
    narrow = User("eve", allow(f"{arn}:log-stream:V/i-1/a", action="logs:GetLogEvents"))
    plane.gate.take(table(reader, narrow))
    bob, eve = client(wire, reader, "logs"), client(wire, narrow, "logs")
    assert len(bob.filter_log_events(logGroupName=GROUP)["events"]) == 20
    assert plane.records[-1].read_only
    assert plane.records[-1].request_parameters == {"logGroupName": GROUP}
    assert len(bob.filter_log_events(logGroupIdentifier=arn)["events"]) == 20
    assert f"on resource: {arn}:log-stream:" in denial(bob.delete_log_group, logGroupName=GROUP)
    denial(bob.describe_log_groups)
    denial(bob.filter_log_events, logGroupName=GROUP + "x")
    assert len(eve.get_log_events(logGroupName=GROUP, logStreamName="V/i-1/a")["events"]) == 10
    denial(eve.get_log_events, logGroupName=GROUP, logStreamName="V/i-1/b")


def test_what_breaks_the_model_has_the_name_that_logs_has_for_it(wire: Wire, logs: Any, home: Path) -> None:
    """Rule: InvalidParameterException where SageMaker says ValidationException."""
    careless = wire.client("logs", careless=True)
    text = refusal(careless.filter_log_events, INVALID, logGroupName=GROUP, limit=10_001)
    assert text.startswith("1 validation error detected: Value '10001' at 'limit'")
