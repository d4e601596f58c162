"""What containers print, by real clients on a real server."""

import time
from collections.abc import Callable

import pytest

from support.server import MODEL_SERVER, Server, create_endpoint, wait_for, wait_for_status, wait_until_gone

GROUP = "/aws/sagemaker/Endpoints/talk"
LINES = 3000
TALKER = (
    f"""
import os, threading, time

def talk():
    for number in range({LINES}):
        print("line", number, os.environ.get("SAGEMAKER_CONTAINER_HOSTNAME", "?"), flush=True)
        if number % 100 == 0:
            time.sleep(0.01)

threading.Thread(target=talk).start()
"""
    + MODEL_SERVER
)


@pytest.mark.slow
def test_every_line_of_every_container_comes_once_and_in_order(make_server: Callable[..., Server]) -> None:
    """Rule: a client that polls from the last time it saw, as `aws logs tail --follow` does, misses nothing while two
    containers print and their files are rotated; after the endpoint was deleted the logs are still there."""
    server = make_server(log_max_bytes=50_000, log_files=50)
    server.image("talker:1", server=TALKER)
    server.start()
    sagemaker, logs = server.client("sagemaker"), server.client("logs")
    create_endpoint(server, "talk", {"Image": "talker:1"}, {"Image": "talker:1"})
    seen: dict[str, dict[str, str]] = {}
    latest = 0

    def poll() -> bool:
        nonlocal latest
        try:
            pages = list(
                logs.get_paginator("filter_log_events").paginate(
                    logGroupName=GROUP, startTime=latest, filterPattern='"line "'
                )
            )
        except logs.exceptions.ResourceNotFoundException:
            return False
        for event in (event for page in pages for event in page["events"]):
            seen.setdefault(event["logStreamName"], {})[event["eventId"]] = event["message"]
            latest = max(latest, event["timestamp"])
        return sum(map(len, seen.values())) >= 2 * LINES

    wait_for(poll, "all lines", 60)
    wait_for_status(sagemaker, "talk", "InService")
    streams = [stream["logStreamName"] for stream in logs.describe_log_streams(logGroupName=GROUP)["logStreams"]]
    assert sorted(seen) == streams
    assert [name.rpartition("/")[2] for name in streams] == ["container-1", "container-2"]
    for lines in seen.values():
        assert [int(text.split()[1]) for text in lines.values()] == list(range(LINES))
    shown = server.command("logs", "talk", "--filter", "line", "--since", "1h").splitlines()
    assert len(shown) == 2 * LINES
    sagemaker.delete_endpoint(EndpointName="talk")
    wait_until_gone(sagemaker, "talk")
    end = logs.filter_log_events(logGroupName=GROUP, startTime=int(time.time() * 1000) - 60_000, filterPattern="line")
    assert end["events"]
    logs.delete_log_group(logGroupName=GROUP)
    assert logs.describe_log_groups()["logGroups"] == []


@pytest.mark.slow
def test_a_live_tail_shows_what_is_printed_from_now_on(make_server: Callable[..., Server]) -> None:
    """Rule: a session starts, then updates come each second; a server that stops does not wait for the session."""
    server = make_server()
    server.image("talker:1", server=TALKER.replace("line", "row"))
    server.start()
    create_endpoint(server, "talk", {"Image": "first:1"})
    logs = server.client("logs", inject_host_prefix=False, read_timeout=20)
    wait_for(lambda: logs.describe_log_groups()["logGroups"], "a group")
    group = logs.describe_log_groups()["logGroups"][0]["logGroupArn"]
    wait_for_status(server.client("sagemaker"), "talk", "InService")
    answer = logs.start_live_tail(logGroupIdentifiers=[group], logEventFilterPattern="row")
    stream = iter(answer["responseStream"])
    assert next(stream)["sessionStart"]["logGroupIdentifiers"] == [group]
    server.client("sagemaker").create_model(
        ModelName="talker",
        PrimaryContainer={"Image": "talker:1"},
        ExecutionRoleArn="arn:aws:iam::123456789012:role/r",
    )
    variant = {"VariantName": "B", "ModelName": "talker", "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    server.client("sagemaker").create_endpoint_config(EndpointConfigName="talker", ProductionVariants=[variant])
    server.client("sagemaker").update_endpoint(EndpointName="talk", EndpointConfigName="talker")
    rows: list[str] = []
    until = time.monotonic() + 60
    while len(rows) < LINES and time.monotonic() < until:
        rows += [result["message"] for result in next(stream)["sessionUpdate"]["sessionResults"]]
    assert [int(text.split()[1]) for text in rows] == list(range(LINES))
    assert server.stop(40) == 0
