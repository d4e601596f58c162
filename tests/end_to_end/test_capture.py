"""Data capture with boto3 against a running server: what goes in and out of calls is found in the bucket, line by line,
and no trouble with disk or store is a caller's."""

import base64
import contextlib
import json
import os
import re
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.server import Server, call, create_endpoint, wait_for, wait_for_status

KEY = re.compile(
    r"captured/pair/AllTraffic/\d{4}/\d\d/\d\d/\d\d/\d\d-\d\d-\d{3}-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.jsonl"
)
TYPES = {"CsvContentTypes": ["text/csv"], "JsonContentTypes": ["application/json"]}


def create_captured(server: Server, image: str, **capture: Any) -> None:
    """The endpoint ``pair``, in service, with all of its calls captured."""
    sagemaker = server.client("sagemaker")
    sagemaker.create_model(ModelName="pair", PrimaryContainer={"Image": image})
    variant = {"VariantName": "AllTraffic", "ModelName": "pair", "InitialInstanceCount": 1}
    config = {
        "InitialSamplingPercentage": 100,
        "DestinationS3Uri": "s3://bucket/captured",
        "CaptureOptions": [{"CaptureMode": "InputAndOutput"}],
        "CaptureContentTypeHeader": TYPES,
    }
    sagemaker.create_endpoint_config(
        EndpointConfigName="pair",
        ProductionVariants=[{**variant, "InstanceType": "ml.m5.large"}],
        DataCaptureConfig=config | capture,
    )
    sagemaker.create_endpoint(EndpointName="pair", EndpointConfigName="pair")
    wait_for_status(sagemaker, "pair", "InService")


def captured(home: Path, bucket: str = "bucket") -> list[dict[str, Any]]:
    """All lines in the bucket folder, in the order of their files."""
    files = sorted((home / "buckets" / bucket).rglob("*.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().splitlines()]


def metric(server: Server, name: str) -> float:
    """The sum of a metric's values over its labels, as Prometheus reads it."""
    with urllib.request.urlopen(f"{server.url}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith(name))


def test_calls_are_found_in_the_bucket(make_server: Callable[..., Server]) -> None:
    """Each as one line of JSON under SageMaker's key, with both bodies by their content type, and the caller's
    inference id; DescribeEndpoint says that capture has started, and `/metrics` counts."""
    server = make_server(capture_interval=1).start()
    create_captured(server, "first:1")
    runtime = server.client("sagemaker-runtime")
    call(runtime, "pair", b"1,2,3\n", InferenceId="mine-1")
    runtime.invoke_endpoint(EndpointName="pair", Body=b'{"a": 1}', ContentType="application/json")["Body"].read()
    answer = runtime.invoke_endpoint(EndpointName="pair", Body=b"\x00\xff")
    answer["Body"].read()
    streamed = runtime.invoke_endpoint_with_response_stream(EndpointName="pair", Body=b"s", ContentType="text/csv")
    with contextlib.closing(streamed["Body"]) as events:
        assert b"".join(event["PayloadPart"]["Bytes"] for event in events) == b"s|first,text/csv"
    lines = wait_for(lambda: (found := captured(server.home)) and len(found) == 4 and found, "all lines to arrive")
    assert all(
        KEY.fullmatch(str(file.relative_to(server.home / "buckets" / "bucket")))
        for file in (server.home / "buckets" / "bucket").rglob("*")
        if file.is_file()
    )
    order = ["1,2,3\n", '{"a": 1}', "AP8=", "s"]
    # Two workers write two files.
    lines.sort(key=lambda line: order.index(line["captureData"]["endpointInput"]["data"]))
    sides = [line["captureData"] for line in lines]
    assert [side["endpointInput"] for side in sides] == [
        {"observedContentType": "text/csv", "mode": "INPUT", "data": "1,2,3\n", "encoding": "CSV"},
        {"observedContentType": "application/json", "mode": "INPUT", "data": '{"a": 1}', "encoding": "JSON"},
        {"observedContentType": "application/octet-stream", "mode": "INPUT", "data": "AP8=", "encoding": "BASE64"},
        {"observedContentType": "text/csv", "mode": "INPUT", "data": "s", "encoding": "CSV"},
    ]
    outputs = [side["endpointOutput"] for side in sides]
    assert {(one["observedContentType"], one["mode"], one["encoding"]) for one in outputs} == {
        ("text/plain; from=first", "OUTPUT", "BASE64")
    }
    assert base64.b64decode(outputs[0]["data"]) == b"1,2,3\n|first,text/csv"
    assert base64.b64decode(outputs[3]["data"]) == b"s|first,text/csv"
    about = [line["eventMetadata"] for line in lines]
    assert about[0]["inferenceId"] == "mine-1"
    assert about[2].keys() == {"eventId", "inferenceTime"}
    assert about[2]["eventId"] == answer["ResponseMetadata"]["RequestId"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", about[2]["inferenceTime"])
    assert {line["eventVersion"] for line in lines} == {"0"}
    assert server.client("sagemaker").describe_endpoint(EndpointName="pair")["DataCaptureConfig"] == {
        "EnableCapture": True,
        "CaptureStatus": "Started",
        "CurrentSamplingPercentage": 100,
        "DestinationS3Uri": "s3://bucket/captured",
        "KmsKeyId": "",
    }
    wait_for(lambda: metric(server, "polyport_captured_calls_total") == 4, "the count of captured calls")
    assert metric(server, "polyport_capture_drops_total") == 0


def test_the_last_calls_are_sent_when_the_server_stops(make_server: Callable[..., Server]) -> None:
    """However long the interval is."""
    server = make_server(engine="fake", capture_interval=3600).start()
    create_captured(server, "any:1", CaptureOptions=[{"CaptureMode": "Input"}])
    call(server.client("sagemaker-runtime"), "pair", b"last")
    assert server.stop() == 0
    [line] = captured(server.home)
    assert line["captureData"].keys() == {"endpointInput"}


def test_what_a_killed_server_had_written_is_sent_by_the_next(make_server: Callable[..., Server]) -> None:
    """A death loses at most what was not yet written."""
    server = make_server(engine="fake", capture_interval=3600).start()
    create_captured(server, "any:1")
    call(server.client("sagemaker-runtime"), "pair", b"written")
    spool = server.home / "capture"
    wait_for(lambda: any(file.stat().st_size for file in spool.glob("worker-*/*.spool")), "the call to be written")
    wait_for(lambda: b"written" in b"".join(f.read_bytes() for f in spool.glob("worker-*/*.spool")), "all of it")
    server.kill()
    assert captured(server.home) == []
    server.start()
    [line] = wait_for(lambda: captured(server.home), "the call to arrive")
    assert line["captureData"]["endpointInput"]["data"] == "written"
    wait_for(lambda: not list(spool.rglob("*.spool")), "the spool to be empty")


@pytest.mark.slow
def test_a_dead_store_drops_captures_and_nothing_else(make_server: Callable[..., Server], closed_port: int) -> None:
    """Calls go on and are answered as ever. As many captures as the spool may hold wait; the others are counted. Once
    there is a store again, those that waited are sent."""
    server = make_server(
        engine="fake",
        capture_interval=1,
        capture_spool_bytes=100_000,
        s3_endpoint_url=f"http://127.0.0.1:{closed_port}",
    ).start()
    create_captured(server, "any:1", CaptureOptions=[{"CaptureMode": "Input"}])
    runtime = server.client("sagemaker-runtime")
    sent = 0
    while not metric(server, "polyport_capture_drops_total"):
        assert b"x" * 5000 in call(runtime, "pair", b"x" * 5000)
        sent += 1
        assert sent < 10_000
    dropped = metric(server, 'polyport_capture_drops_total{account="123456789012"')
    assert dropped >= 1
    wait_for(lambda: metric(server, "polyport_capture_send_failures_total"), "a try to fail")
    assert b"more" in call(runtime, "pair", b"more")
    waiting = sum(file.stat().st_size for file in (server.home / "capture").rglob("*.spool"))
    assert 20_000 < waiting <= 100_000
    assert server.stop() == 0
    assert "captured calls wait for s3://bucket/captured" in server.log()
    assert "spool full" in server.log()
    del server.settings["s3_endpoint_url"]
    server.start()
    lines = wait_for(lambda: captured(server.home), "what waited to arrive")
    wait_for(lambda: not list((server.home / "capture").rglob("*.spool")), "all of it")
    assert 4 <= len(captured(server.home)) < sent
    assert lines[0]["captureData"]["endpointInput"]["data"] == "x" * 5000


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """The folder ``capture`` of the first server's home, with less than half a megabyte behind it."""
    folder = tmp_path / "h0" / "capture"
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=False, capture_output=True)


@pytest.mark.slow
def test_a_full_disk_drops_captures_and_nothing_else(full_disk: Path, make_server: Callable[..., Server]) -> None:
    """Calls go on and are answered as ever; what was written before is sent, what was not is counted."""
    server = make_server(engine="fake", capture_interval=3600)
    full_disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=400k,mode=700", "tmpfs", str(full_disk)]
    if os.geteuid() or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no file system of limited size can be mounted here")
    server.start()
    create_captured(server, "any:1", CaptureOptions=[{"CaptureMode": "Input"}])
    runtime = server.client("sagemaker-runtime")
    sent = 0
    while not metric(server, "polyport_capture_drops_total"):
        assert b"x" * 20_000 in call(runtime, "pair", b"x" * 20_000)
        sent += 1
        assert sent < 10_000
    assert b"more" in call(runtime, "pair", b"more")
    assert server.stop() == 0
    assert "the disk is nearly full" in server.log()
    assert "disk: " in server.log()
    lines = captured(server.home)
    assert 1 <= len(lines) < sent + 1
    assert not list(full_disk.rglob("*.spool"))


def test_the_example_of_the_docs_works(make_server: Callable[..., Server], monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/observability.md, to the letter, on an endpoint that had no capture."""
    page = (Path(__file__).parents[2] / "docs" / "observability.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page[page.index("## Data capture") :], re.DOTALL)
    server = make_server(engine="fake", capture_interval=1).start()
    create_endpoint(server, "churn", {"Image": "any:1"}, mode="Single")
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    wait_for_status(sagemaker, "churn", "InService")
    call(runtime, "churn", b"before")
    for name, value in {
        "AWS_ENDPOINT_URL": server.url,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": "polyport",
        "AWS_SECRET_ACCESS_KEY": "polyport",
    }.items():
        monkeypatch.setenv(name, value)
    exec(compile(example, "docs/observability.md", "exec"), {})  # the page is ours
    described = wait_for_status(sagemaker, "churn", "InService")
    assert described["DataCaptureConfig"]["CaptureStatus"] == "Started"
    call(runtime, "churn", b"after")
    [line] = wait_for(lambda: captured(server.home, "captures"), "the call to arrive")
    assert line["captureData"]["endpointInput"]["data"] == "after"


@pytest.fixture
def closed_port() -> int:
    """A port of this machine where nobody listens."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
