"""Traces of calls through a real worker, as a collector gets them."""

import asyncio
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.fakes import Reply, endpoint, invoke, shadow, variant
from gateway.signed import signed
from gateway.sites import Site
from gateway.workers import DEADLINE, FakeContainer, Lab, Visit, instance, wait_for
from polyport.domain.captures import Capture
from polyport.gateway import worker
from polyport.telemetry.capture import records
from support.collector import Collector
from support.people import ALLOW_ALL, User, table

STATE = "vendor=abc,other=1"


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


@pytest.fixture
def traced(lab: Lab, port: int, collector: Collector) -> Site:
    """A worker that traces every call."""
    return Site(lab, port, traces=True, traces_endpoint=collector.url)


def caller(flags: str = "01") -> tuple[str, str, str]:
    """A trace id, a span id, and the header that says both."""
    trace_id, span_id = f"{random.getrandbits(128):032x}", f"{random.getrandbits(64):016x}"
    return trace_id, span_id, f"00-{trace_id}-{span_id}-{flags}"


def seen(container: FakeContainer, name: str = "traceparent", visit: int = -1) -> str | None:
    """A header as the container got it."""
    lines = container.visits[visit].head.decode().split("\r\n")[1:-2]
    [value] = [line.partition(": ")[2] for line in lines if line.partition(":")[0].lower() == name] or [None]
    return value


def request_id(reply: Reply) -> str:
    return str(reply.headers["x-amzn-requestid"])


async def fail(visit: Visit) -> None:
    await visit.answer(b"no", status=b"500 Internal Server Error")


async def double(visit: Visit) -> None:
    await visit.answer(visit.body * 2)


async def break_off(visit: Visit) -> None:
    visit.reset()


def test_a_pipeline_of_three_is_one_trace_with_a_span_for_each_stage(traced: Site, collector: Collector) -> None:
    """The caller's trace goes on: its span is the parent of the call's, that of the stages'; each container is told
    its own stage's span, and the caller's state as it is. Spans have sizes and status."""
    traced.first.behaviour = traced.second.behaviour = double
    trace_id, span_id, header = caller()
    reply = traced.raw(
        invoke("serial", b"abc", traceparent=header, tracestate=STATE, X_Amzn_SageMaker_Inference_Id="mine")
    )
    assert reply.body == b"abc" * 4
    whole, stages = collector.of(request_id(reply))
    assert (whole.trace_id, whole.parent, whole.kind, whole.state) == (trace_id, span_id, "server", STATE)
    assert whole.name == "POST /endpoints/{EndpointName}/invocations"
    assert (
        whole.values.items()
        >= {
            "http.request.method": "POST",
            "http.route": "/endpoints/{EndpointName}/invocations",
            "url.path": "/endpoints/serial/invocations",
            "url.scheme": "http",
            "client.address": "127.0.0.1",
            "http.request.body.size": 3,
            "http.response.body.size": 12,
            "http.response.status_code": 200,
            "cloud.account.id": "123456789012",
            "cloud.region": "us-east-1",
            "polyport.endpoint": "serial",
            "polyport.variant": "AllTraffic",
            "polyport.instance": "x",
            "polyport.inference_id": "mine",
        }.items()
    )
    assert not whole.is_error
    assert "error.type" not in whole.values
    assert [one.name for one in stages] == ["invoke one", "invoke two", "invoke three"]
    sizes = [(one.values["http.request.body.size"], one.values["http.response.body.size"]) for one in stages]
    assert sizes == [(3, 6), (6, 12), (12, 12)]
    for number, (stage, container) in enumerate(zip(stages, (traced.first, traced.second, traced.third), strict=True)):
        assert (stage.trace_id, stage.kind, stage.is_error) == (trace_id, "client", False)
        assert stage.values["http.response.status_code"] == 200
        assert stage.values["polyport.stage"] == number
        assert stage.values["server.port"] == container.port
        assert seen(container) == f"00-{trace_id}-{stage.id}-01"
        assert seen(container, "tracestate") == STATE
        assert whole.began <= stage.began <= stage.ended <= whole.ended
    assert stages[0].ended <= stages[1].began
    assert whole.resource["service.name"] == "polyport"


def test_a_call_without_a_context_begins_a_trace(traced: Site, collector: Collector) -> None:
    """So does one whose context is malformed, or repeated: the call is none the worse for it."""
    for headers in ({}, {"traceparent": "00-" + "0" * 32 + "-0000000000000001-01"}, {"traceparent": "x"}):
        whole, [stage] = collector.of(request_id(traced.raw(invoke("single", **headers))))
        assert whole.parent == ""
        assert seen(traced.first) == f"00-{whole.trace_id}-{stage.id}-01"
    header = caller()[2]
    twice = invoke("single", traceparent=header).replace(
        b"traceparent", b"traceparent: " + header.encode() + b"\r\ntraceparent", 1
    )
    assert twice.count(b"traceparent: ") == 2
    whole, _ = collector.of(request_id(traced.raw(twice)))
    assert whole.parent == ""


def test_the_same_head_again_is_another_trace(traced: Site, collector: Collector) -> None:
    """What a worker remembers of heads holds no context."""
    found = [collector.of(request_id(traced.raw(invoke("single"))))[0] for _ in range(3)]
    assert len({one.trace_id for one in found}) == 3


def test_a_caller_that_does_not_record_its_trace_is_followed(traced: Site, collector: Collector) -> None:
    """No span is made, and containers are told the same."""
    trace_id, span_id, header = caller("00")
    traced.raw(invoke("serial", traceparent=header, tracestate=STATE))
    assert seen(traced.third) == f"00-{trace_id}-{span_id}-00"
    assert seen(traced.third, "tracestate") == STATE
    collector.of(request_id(traced.raw(invoke("single"))))
    assert trace_id not in {span.trace_id for span in collector.spans}


def test_of_a_share_of_none_only_calls_are_traced_whose_caller_records(
    lab: Lab, port: int, collector: Collector
) -> None:
    """Containers of the others are told that nobody records."""
    site = Site(lab, port, traces=True, traces_endpoint=collector.url, traces_sample=0.0)
    site.raw(invoke("single"))
    first = seen(site.first)
    assert first is not None
    assert first.endswith("-00")
    site.raw(invoke("single"))
    assert seen(site.first) != first
    trace_id, _, header = caller()
    whole, _ = collector.of(request_id(site.raw(invoke("single", traceparent=header))))
    assert whole.trace_id == trace_id
    assert {span.trace_id for span in collector.spans} == {trace_id}


def test_a_container_that_fails_is_seen_in_the_trace(traced: Site, collector: Collector) -> None:
    """Its span and that of the call are errors; the stages after it have none."""
    traced.second.behaviour = fail
    whole, stages = collector.of(request_id(traced.raw(invoke("serial"))))
    assert [one.name for one in stages] == ["invoke one", "invoke two"]
    assert (stages[1].is_error, stages[1].values["error.type"]) == (True, "500")
    assert stages[1].values["http.response.status_code"] == 500
    assert (stages[0].is_error, whole.is_error) == (False, True)
    assert whole.values["error.type"] == "ModelError"
    assert whole.values["http.response.status_code"] == 424


def test_a_broken_connection_and_a_refused_one_say_so(traced: Site, collector: Collector) -> None:
    """With the reason; there is no status."""
    traced.first.behaviour = break_off
    _, [stage] = collector.of(request_id(traced.raw(invoke("single"))))
    assert (stage.is_error, stage.values["error.type"]) == (True, "connection")
    assert stage.description
    assert "http.response.status_code" not in stage.values
    traced.second.refuse()
    reply = traced.raw(invoke("direct", X_Amzn_SageMaker_Target_Container_Hostname="second"))
    whole, [stage] = collector.of(request_id(reply))
    assert whole.values["polyport.target_container"] == "second"
    assert (stage.values["error.type"], stage.values["polyport.container"]) == ("connection", "second")
    assert "polyport.wait" not in stage.values


def test_a_time_out_is_seen_in_the_trace(lab: Lab, port: int, collector: Collector) -> None:
    """The stage that was waited for has it."""
    site = Site(lab, port, traces=True, traces_endpoint=collector.url, invocation_timeout=0.2)
    site.second.behaviour = Visit.until_gone
    whole, stages = collector.of(request_id(site.raw(invoke("serial"))))
    assert [one.values.get("error.type") for one in stages] == [None, "timeout"]
    assert whole.is_error


def test_a_call_that_is_refused_has_a_span_of_its_own(traced: Site, collector: Collector) -> None:
    """The caller's mistake is not an error of the server."""
    _, span_id, header = caller()
    whole, stages = collector.of(request_id(traced.raw(invoke("nowhere", traceparent=header))))
    assert stages == []
    assert (whole.parent, whole.is_error) == (span_id, False)
    assert whole.values["error.type"] == "ValidationError"
    assert whole.values["http.response.status_code"] == 400
    assert whole.values["polyport.endpoint"] == "nowhere"


def test_another_instance_is_another_attempt(lab: Lab, port: int, collector: Collector) -> None:
    """One that refuses the connection has a span, and so has the one that takes the call."""
    site = Site(lab, port, traces=True, traces_endpoint=collector.url)
    dead = lab.container()
    dead.refuse()
    site.publish(endpoint("two", variant(instance("dead", dead), instance("live", site.first))))
    attempts: list[Any] = []
    # Which one is tried first is drawn; one that refused is avoided for a second.
    for _ in range(200):
        _, attempts = collector.of(request_id(site.raw(invoke("two"))))
        if len(attempts) == 2:
            break
    assert [one.values["polyport.instance"] for one in attempts] == ["dead", "live"]
    assert [one.is_error for one in attempts] == [True, False]


def test_a_stage_that_hands_on_its_answer_while_it_comes_ends_with_it(traced: Site, collector: Collector) -> None:
    """Spans of two stages then overlap, and each has the whole size."""
    size = 2_000_000

    async def large(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * (size // 2))
        while not traced.second.connections:  # noqa: ASYNC110 - nobody would set an event
            await asyncio.sleep(0.01)
        await visit.say(b"x" * (size // 2))

    traced.first.behaviour = large
    reply = traced.raw(invoke("serial"))
    assert len(reply.body) == size
    _, stages = collector.of(request_id(reply))
    assert [one.values["http.response.body.size"] for one in stages] == [size] * 3
    assert [one.values["http.request.body.size"] for one in stages] == [2, size, size]
    assert stages[1].began < stages[0].ended


def test_a_response_stream_is_traced_to_its_end(traced: Site, collector: Collector) -> None:
    """The size is that of what the container said, without the frames."""
    reply = traced.raw(invoke("single", b"streamed", "invocations-response-stream"))
    whole, [stage] = collector.of(request_id(reply))
    assert whole.name == "POST /endpoints/{EndpointName}/invocations-response-stream"
    assert whole.values["http.response.body.size"] == stage.values["http.response.body.size"] == 8
    assert whole.values["http.response.size"] > 8


def test_a_stream_that_breaks_off_is_an_error(traced: Site, collector: Collector) -> None:
    """Though its status is 200."""

    async def half(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
        visit.reset()

    traced.first.behaviour = half
    whole, [stage] = collector.of(request_id(traced.raw(invoke("single", operation="invocations-response-stream"))))
    assert (whole.values["http.response.status_code"], whole.is_error) == (200, True)
    assert stage.values["error.type"] == "connection"


def test_a_caller_that_leaves_is_no_error(traced: Site, collector: Collector) -> None:
    """The call has a span that tells it, and so has the stage that was broken off."""
    traced.first.behaviour = Visit.until_gone
    with traced.connect() as client:
        client.sendall(invoke("single"))
        traced.visited(traced.first)
    [whole] = collector.wait_for(lambda spans: [one for one in spans if one.kind == "server"])[:1]
    [stage] = [one for one in collector.spans if one.kind == "client"]
    assert (whole.values["error.type"], stage.values["error.type"]) == ("ClientGone", "cancelled")
    assert not whole.is_error
    assert not stage.is_error


def test_a_copy_for_a_shadow_variant_is_in_nobodys_trace(traced: Site, collector: Collector) -> None:
    """Its container is told no context: the caller's trace is of what its answer took."""
    traced.publish(
        endpoint("copied", variant(instance("p", traced.first)), shadows=(shadow(instance("q", traced.second)),))
    )
    reply = traced.raw(invoke("copied", traceparent=caller()[2]))
    whole, stages = collector.of(request_id(reply))
    traced.visited(traced.second)
    assert seen(traced.second) is None
    assert [one.values["polyport.container"] for one in stages] == ["only"]
    assert whole.values["polyport.instance"] == "p"


@pytest.mark.parametrize("trouble", ["away", "refusing", "hanging"])
def test_calls_go_on_whatever_becomes_of_the_collector(lab: Lab, port: int, collector: Collector, trouble: str) -> None:
    """None waits for it, and neither does the end of the worker for long."""
    endpoint_url = "http://127.0.0.1:9" if trouble == "away" else collector.url
    collector.status = 503
    collector.hangs = trouble == "hanging"
    site = Site(lab, port, traces=True, traces_endpoint=endpoint_url)
    for _ in range(30):
        assert site.raw(invoke("single", b"x")).body == b"x"
    if trouble != "away":
        wait_for(lambda: collector.headers, "the collector to be asked")
    assert site.raw(invoke("single", b"still")).body == b"still"
    site.process.terminate()
    assert site.process.wait(DEADLINE) == 0


def test_a_worker_that_cannot_trace_says_why_and_is_not_started_again(
    lab: Lab, port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its exit status tells its parent that starting it again is of no use."""
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "sometimes")
    assert lab.start(port, traces=True).wait(DEADLINE) == worker.EXIT_USAGE


def test_a_worker_that_ends_sends_its_last_spans(traced: Site, collector: Collector) -> None:
    """They are not left to the next second, which there is none of."""
    reply = traced.raw(invoke("single"))
    traced.process.terminate()
    assert traced.process.wait(DEADLINE) == 0
    assert [one for one in collector.spans if one.values.get("aws.request_id") == request_id(reply)]


def test_a_body_that_goes_on_while_it_comes_is_one_span(traced: Site, collector: Collector) -> None:
    """With the size of the whole."""
    body = b"b" * 3_000_000
    with traced.connect() as client:
        head = invoke("single", body)[: -len(body)]
        client.sendall(head + body[:1_000_000])
        client.sendall(body[1_000_000:])
        client.settimeout(DEADLINE)
        answer = b""
        while len(answer) < len(body):
            answer += client.recv(2**20)
    whole, [stage] = collector.of(request_id(Reply(answer)))
    assert whole.values["http.request.body.size"] == stage.values["http.request.body.size"] == len(body)
    assert stage.values["http.response.body.size"] == len(body)


def test_the_access_log_and_traces_look_on_at_the_same_calls(
    lab: Lab, port: int, collector: Collector, tmp_path: Path
) -> None:
    """Each has every call, whether it goes well, fails, or is refused; shadow variants get their copies, too."""
    site = Site(lab, port, traces=True, traces_endpoint=collector.url, access_log=str(tmp_path / "log"))
    copied = shadow(instance("q", site.third))
    site.publish(
        endpoint("good", variant(instance("p", site.first)), shadows=(copied,)),
        endpoint("bad", variant(instance("f", site.second))),
    )
    site.second.behaviour = fail
    replies = [site.raw(invoke(name)) for name in ("good", "bad", "nowhere", "good")]
    assert [reply.status for reply in replies] == [200, 424, 400, 200]
    for reply, stages in zip(replies, (1, 1, 0, 1), strict=True):
        assert len(collector.of(request_id(reply))[1]) == stages
    site.visited(site.third, 2)
    site.process.terminate()
    assert site.process.wait(DEADLINE) == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [line for line in lines if "shadow" not in line]
    assert [line["request_id"] for line in told] == [request_id(reply) for reply in replies]
    assert [line["instance"] for line in told] == ["p", "f", "", "p"]


def test_signed_calls_are_traced_too(lab: Lab, port: int, collector: Collector) -> None:
    """The context need not be signed. Heads that are remembered once they are verified hold none: each call has a
    trace of its own."""
    ann = User("ann", ALLOW_ALL)
    lab.control.access = table(ann)
    site = Site(lab, port, traces=True, traces_endpoint=collector.url)
    with site.connect() as client:
        client.settimeout(DEADLINE)
        found = []
        for after in ((), (), (("traceparent", caller()[2]),), (), (("traceparent", caller()[2]),)):
            client.sendall(signed(ann, after=after))
            whole, [stage] = collector.of(request_id(Reply(client.recv(65536))))
            assert whole.trace_id == (after[0][1].split("-")[1] if after else whole.trace_id)
            assert seen(site.first) == f"00-{whole.trace_id}-{stage.id}-01"
            found.append(whole.trace_id)
    assert len(set(found)) == 5


def test_without_traces_containers_get_the_callers_context_as_it_is(site: Site) -> None:
    """A worker that takes no part in a trace does not break it either."""
    header = caller()[2]
    site.raw(invoke("serial", traceparent=header, TraceState=STATE))
    for container in (site.first, site.second, site.third):
        assert seen(container) == header
        assert seen(container, "tracestate") == STATE
    site.raw(invoke("single", X_Amzn_Trace_Id="Root=1-5759e988-bd862e3fe1be46a994272793"))
    assert (seen(site.first), seen(site.first, "x-amzn-trace-id")) == (None, None)


@pytest.mark.parametrize("operation", ["invocations", "invocations-response-stream"])
@pytest.mark.parametrize("flags", ["01", "00"])
def test_a_call_can_be_traced_copied_and_captured(
    lab: Lab, port: int, collector: Collector, tmp_path: Path, operation: str, flags: str
) -> None:
    """Whoever looks on at a call sees it as if alone, also one of a trace that is not recorded."""
    site = Site(
        lab, port, traces=True, traces_endpoint=collector.url, capture_folder=str(tmp_path), capture_interval=0.1
    )
    capture = Capture(
        "s3://bucket/kept", 100, takes_input=True, takes_output=True, csv_types=("text/csv", "text/plain")
    )
    site.first.behaviour = double
    site.publish(
        endpoint(
            "e", variant(instance("i", site.first), capture=capture), shadows=(shadow(instance("s", site.second)),)
        )
    )
    trace_id, _, header = caller(flags)
    reply = site.raw(invoke("e", b"abc", operation, traceparent=header, Content_Type="text/csv"))
    assert b"abcabc" in reply.body
    assert seen(site.first, "traceparent").split("-")[1] == trace_id

    def kept() -> list[Any]:
        files = (tmp_path / "ready").glob("*.spool")
        return [json.loads(line) for file in files for line in records.read(file.read_bytes())[1]]

    [line] = wait_for(kept, "the capture")
    assert line["eventMetadata"]["eventId"] == request_id(reply)
    assert line["captureData"]["endpointInput"]["data"] == "abc"
    assert line["captureData"]["endpointOutput"]["data"] == "abcabc"
    wait_for(lambda: site.second.visits, "the copy")
    if flags == "01":
        whole, [stage] = collector.of(request_id(reply))
        assert (whole.trace_id, stage.values["http.response.body.size"]) == (trace_id, 6)
