"""Data capture in a worker: which calls are captured, what is kept of them, and that no caller notices."""

import base64
import errno
import json
import logging
import os
import random
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.fakes import OK, Reply, Transport, World, answer, endpoint, instance, invoke, shadow, variant
from gateway.sites import Site
from gateway.workers import Lab, Visit, wait_for
from gateway.workers import instance as real_instance
from polyport.domain import captures as told
from polyport.domain.captures import Capture
from polyport.gateway.captures.captures import REPORT_SWEEPS
from polyport.gateway.clients.connection import EARLY
from polyport.telemetry.capture import records

STREAM = "invocations-response-stream"
LARGE = bytes(range(256)) * 1024


def capture(**fields: Any) -> Capture:
    """Everything, as text where it is CSV."""
    return Capture(
        **{
            "destination": "s3://bucket/captured",
            "percentage": 100,
            "takes_input": True,
            "takes_output": True,
            "csv_types": ("text/csv", "text/plain"),
        }
        | fields
    )


def captured(**fields: Any) -> Any:
    """An endpoint ``e`` with one instance at port 1."""
    return endpoint("e", variant(instance("i", 1), capture=capture(**fields)))


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., World]:
    def make(*endpoints: Any, **options: Any) -> World:
        return World(*(endpoints or (captured(),)), capture_folder=str(tmp_path / "capture"), **options)

    return make


@pytest.fixture
def world(make: Callable[..., World]) -> World:
    return make()


def lines(world: World) -> list[dict[str, Any]]:
    """What is in the spool when the worker has ended."""
    world.gateway.close()
    found = []
    for file in sorted(Path(world.gateway.options.capture_folder).rglob("*.spool"), key=lambda file: file.name[9:]):
        found += [json.loads(line) for line in records.read(file.read_bytes())[1]]
    return found


def sides(world: World) -> list[dict[str, Any]]:
    return [line["captureData"] for line in lines(world)]


def is_idle(world: World) -> bool:
    """Nothing is held, no instance has a call."""
    return not world.gateway.captures.held and not any(
        one.outstanding for one in world.gateway.index.instances.values()
    )


def dropped(world: World, name: str = "AllTraffic") -> dict[str, int]:
    return dict(world.gateway.captures.tallies["123456789012", "us-east-1", "e", name].dropped)


def call(world: World, *answers: tuple[int, bytes], body: bytes = b"asked", **headers: str) -> Reply:
    return Reply(world.call(invoke("e", body, **headers), *(answers or ((1, OK),))))


def test_both_bodies_of_a_call_are_kept(world: World) -> None:
    """As they went in and came out, with the types that were said, the id that the caller sees, and its own."""
    reply = call(world, Content_Type="text/csv; header=absent", X_Amzn_SageMaker_Inference_Id="mine")
    assert reply.body == b"hi"
    [line] = lines(world)
    assert line["captureData"] == {
        "endpointInput": {
            "observedContentType": "text/csv; header=absent",
            "mode": "INPUT",
            "data": "asked",
            "encoding": "CSV",
        },
        "endpointOutput": {"observedContentType": "text/plain", "mode": "OUTPUT", "data": "hi", "encoding": "CSV"},
    }
    assert line["eventMetadata"]["eventId"] == reply.headers["x-amzn-requestid"]
    assert line["eventMetadata"]["inferenceId"] == "mine"
    assert is_idle(world)


@pytest.mark.parametrize("side", ["Input", "Output"])
def test_a_side_that_is_not_wanted_is_absent(make: Callable[..., World], side: str) -> None:
    """`CaptureOptions` says which."""
    world = make(captured(takes_input=side == "Input", takes_output=side == "Output"))
    call(world)
    [found] = sides(world)
    assert found.keys() == {f"endpoint{side}"}


def test_an_answer_without_a_type_has_none_in_its_line(world: World) -> None:
    """Nothing was observed; what the caller did not say is what its container was told."""
    call(world, (1, answer(b"hi")))
    [found] = sides(world)
    assert found["endpointInput"]["observedContentType"] == "application/octet-stream"
    assert "observedContentType" not in found["endpointOutput"]


def test_as_many_calls_are_captured_as_the_percentage_says(make: Callable[..., World]) -> None:
    """By chance for each call: in the long run exactly; here within five standard deviations."""
    world = make(captured(percentage=30))
    chance = random.Random(7)
    for _ in range(1000):
        world.draws = [chance.random()]
        call(world)
    assert 228 <= len(lines(world)) <= 372


@pytest.mark.parametrize(("draw", "expected"), [(0.2999, 1), (0.3, 0)])
def test_a_draw_decides(make: Callable[..., World], draw: float, expected: int) -> None:
    """Below the percentage it is captured. So 0 captures nothing and 100 everything."""
    world = make(captured(percentage=30))
    # The choice of an instance draws nothing where there is one.
    world.draws = [draw]
    call(world)
    assert len(lines(world)) == expected


def test_a_pipeline_is_captured_at_its_ends(make: Callable[..., World]) -> None:
    """What the first container got and the last one answered; nothing of what is between."""
    chain = variant(instance("c", 1, 2, 3), mode="Serial", hostnames=("a", "b", "c"), capture=capture())
    world = make(endpoint("e", chain))
    stages = [(port, answer(b"from %d" % port, Content_Type="text/csv")) for port in (1, 2, 3)]
    assert call(world, *stages).body == b"from 3"
    [found] = sides(world)
    assert base64.b64decode(found["endpointInput"]["data"]) == b"asked"
    assert found["endpointOutput"]["data"] == "from 3"


def test_a_direct_call_is_captured_at_its_container(make: Callable[..., World]) -> None:
    """The one that was named."""
    pair = variant(instance("c", 1, 2), mode="Direct", hostnames=("a", "b"), capture=capture())
    world = make(endpoint("e", pair))
    call(world, (2, answer(b"from b", Content_Type="text/csv")), X_Amzn_SageMaker_Target_Container_Hostname="b")
    [found] = sides(world)
    assert found["endpointOutput"]["data"] == "from b"


def test_a_stream_is_kept_as_the_container_said_it(world: World) -> None:
    """Its parts together, without the frames that the caller gets."""
    client = world.connect()
    client.receive(invoke("e", b"q", STREAM, Content_Type="text/csv"))
    container = world.pool(1).accept()
    container.receive(b"HTTP/1.1 200 OK\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    container.receive(b"3\r\ndef\r\n0\r\n\r\n")
    [found] = sides(world)
    assert found["endpointOutput"] == {
        "observedContentType": "text/csv",
        "mode": "OUTPUT",
        "data": "abcdef",
        "encoding": "CSV",
    }


def test_a_stream_that_breaks_off_is_not_captured(world: World) -> None:
    """Though it ends with a frame of its own: a part must not be taken for the whole."""
    client = world.connect()
    client.receive(invoke("e", b"q", STREAM))
    container = world.pool(1).accept()
    container.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    container.hang_up()
    assert b"ModelStreamError" in client.take()
    assert is_idle(world)
    assert lines(world) == []


@pytest.mark.parametrize("trouble", ["refused", "broken", "error", "cut", "gone"])
def test_calls_that_fail_are_not_captured(world: World, trouble: str) -> None:
    """Nor counted as dropped: there is no answer to learn from."""
    client = world.connect()
    client.receive(invoke("e"))
    pool = world.pool(1)
    if trouble == "refused":
        pool.refuse()
    else:
        container = pool.accept()
        if trouble == "broken":
            container.hang_up()
        elif trouble == "error":
            container.receive(answer(b"no", "500 Internal Server Error"))
        else:
            container.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\npart")
            (container if trouble == "cut" else client).hang_up()
    assert is_idle(world)
    assert dropped(world) == {}
    assert lines(world) == []


def begin_large(world: World) -> tuple[Transport, Transport, bytes]:
    """A call whose body goes on to its container while it comes: the client, the container, and what is to come."""
    request = invoke("e", LARGE)
    at = len(request) - len(LARGE) + EARLY + 100
    client = world.connect()
    client.receive(request[:at])
    return client, world.pool(1).accept(), request[at:]


@pytest.mark.parametrize("piece", [100, 30_000])
def test_large_bodies_are_kept_whole(world: World, piece: int) -> None:
    """Those that go on while they come, in pieces of any size, both ways."""
    client, container, rest = begin_large(world)
    for at in range(0, len(rest), piece):
        client.receive(rest[at : at + piece])
    assert container.take().endswith(b"\r\n\r\n" + LARGE)
    raw = answer(LARGE)
    for at in range(0, len(raw), piece):
        container.receive(raw[at : at + piece])
    assert Reply(client.take()).body == LARGE
    [found] = sides(world)
    assert base64.b64decode(found["endpointInput"]["data"]) == LARGE
    assert base64.b64decode(found["endpointOutput"]["data"]) == LARGE


def test_an_answer_before_the_body_is_whole_is_dropped(world: World) -> None:
    """Half of a request is not what was answered."""
    client, container, _ = begin_large(world)
    container.receive(OK)
    assert Reply(client.take()).status == 200
    assert dropped(world) == {"body not whole": 1}
    assert is_idle(world)


def test_a_call_over_its_bound_is_dropped_whole(make: Callable[..., World]) -> None:
    """The caller has its answer; nothing of it is held any longer."""
    world = make(capture_max_call_bytes=50_000)
    client = world.connect()
    client.receive(invoke("e"))
    container = world.pool(1).accept()
    raw = answer(b"x" * 100_000)
    container.receive(raw[:40_000])
    assert 30_000 < world.gateway.captures.held <= 50_000
    container.receive(raw[40_000:60_000])
    assert world.gateway.captures.held == 0
    container.receive(raw[60_000:])
    assert len(Reply(client.take()).body) == 100_000
    assert dropped(world) == {"too large": 1}
    assert lines(world) == []


def test_calls_that_there_is_no_room_for_are_dropped(make: Callable[..., World], monkeypatch: Any) -> None:
    """While the disk does not take what waits: as much as may be held is held, the rest is counted."""
    is_free = threading.Event()
    writev = os.writev
    monkeypatch.setattr(os, "writev", lambda *given: is_free.wait(20) and writev(*given))
    world = make(capture_max_bytes=40_000)
    for _ in range(10):
        assert call(world, body=b"x" * 5000).status == 200
        world.gateway.sweep()
    assert 30_000 < world.gateway.captures.held <= 40_000
    is_free.set()
    [*kept] = lines(world)
    assert 4 <= len(kept) < 10
    assert dropped(world) == {"no room": 10 - len(kept)}
    assert is_idle(world)


def test_a_full_disk_drops_and_counts(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Calls go on; the log says why, once a minute; captures go on once there is room."""
    writev, full = os.writev, [True]

    def write(*given: Any) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return writev(*given)

    monkeypatch.setattr(os, "writev", write)
    world = make()
    for _ in range(REPORT_SWEEPS):
        assert call(world).status == 200
        world.gateway.sweep()
        world.gateway.captures._wait()
    assert is_idle(world)
    full[0] = False
    assert call(world).status == 200
    assert len(lines(world)) == 1
    assert dropped(world) == {"disk": REPORT_SWEEPS}
    assert "No space left on device" in caplog.text
    assert caplog.text.count("calls captured") <= 2


def test_a_worker_that_gets_no_thread_goes_on(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was to be written is lost and counted; the rest of what is done each second is done."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        assert call(world).status == 200
        world.gateway.sweep()
    assert len(world.counts) == 1
    assert call(world).status == 200
    assert len(lines(world)) == 1
    assert dropped(world) == {"disk": 1}
    assert "can't start new thread" in caplog.text
    assert is_idle(world)


def test_a_copy_is_captured_under_its_shadows_name(make: Callable[..., World]) -> None:
    """Both lines have the same event id: what the two answered can be compared."""
    other = shadow(instance("s", 2), name="Shadow", capture=capture())
    world = make(endpoint("e", variant(instance("p", 1), capture=capture()), shadows=(other,)))
    assert call(world, Content_Type="text/csv").body == b"hi"
    world.loop.advance(0)
    world.pool(2).accept().receive(answer(b"from the shadow", Content_Type="text/csv"))
    found = lines(world)
    assert {line["captureData"]["endpointOutput"]["data"] for line in found} == {"hi", "from the shadow"}
    assert {line["captureData"]["endpointInput"]["data"] for line in found} == {"asked"}
    assert len({line["eventMetadata"]["eventId"] for line in found}) == 1
    kept = {key[3]: tally.kept for key, tally in world.gateway.captures.tallies.items()}
    assert kept == {"AllTraffic": 1, "Shadow": 1}
    assert is_idle(world)


def test_the_access_log_is_as_ever(make: Callable[..., World], tmp_path: Path) -> None:
    """Whoever looks on passes the way on."""
    world = make(access_log=str(tmp_path / "access.jsonl"))
    call(world)
    call(world, (1, answer(b"no", "500 Internal Server Error")))
    lines(world)
    logged = [json.loads(line) for line in (tmp_path / "access.jsonl").read_text().splitlines()]
    assert [(line["endpoint"], line["variant"], line["status"]) for line in logged] == [
        ("e", "AllTraffic", 200),
        ("e", "AllTraffic", 424),
    ]


def test_endpoints_without_capture_have_no_witness(tmp_path: Path, make: Callable[..., World]) -> None:
    """And a home where nothing is captured gets no folder."""
    world = make(endpoint("e", variant(instance("i", 1))))
    call(world)
    world.gateway.sweep()
    assert lines(world) == []
    assert world.gateway.captures.tallies == {}
    assert not (tmp_path / "capture").exists()


def test_control_is_told_sums_and_only_news(make: Callable[..., World]) -> None:
    """What changed; all of it again on a new connection."""
    world = make()
    heard: list[told.Captures] = []
    world.gateway.captures._tell = heard.append
    call(world)
    world.gateway.sweep()
    world.gateway.captures._wait()
    world.gateway.sweep()
    world.gateway.sweep()
    assert [one.kept for message in heard for one in message.variants] == [1]
    world.gateway.captures.repeat()
    assert heard[-1] == heard[0]


# With real sockets


async def shout(visit: Visit) -> None:
    await visit.answer(visit.body.upper(), b"text/csv")


def test_a_worker_captures_writes_and_tells(lab: Lab, port: int, tmp_path: Path) -> None:
    """A process, a container, boto3: what was called is in the spool, sealed once it is old enough, and control hears
    of it. After a table without capture nothing more is captured."""
    site = Site(lab, port, capture_folder=str(tmp_path / "capture"), capture_interval=0.5)
    container = lab.container(shout)
    site.publish(endpoint("e", variant(real_instance("i", container), capture=capture())))
    for number in range(20):
        answered = site.runtime.invoke_endpoint(EndpointName="e", Body=b"call %d" % number, ContentType="text/csv")
        assert answered["Body"].read() == b"CALL %d" % number
    ready = tmp_path / "capture" / "ready"

    def sealed() -> list[str]:
        files = sorted(ready.glob("*.spool"), key=lambda file: file.name[9:])
        found = [json.loads(line) for file in files for line in records.read(file.read_bytes())[1]]
        return [line["captureData"]["endpointOutput"]["data"] for line in found]

    wait_for(lambda: len(sealed()) == 20, "all calls to be sealed")
    assert sealed() == [f"CALL {number}" for number in range(20)]
    wait_for(
        lambda: lab.control.of(told.Captures) and lab.control.of(told.Captures)[-1].variants[0].kept == 20, "the sums"
    )
    site.publish(endpoint("e", variant(real_instance("i", container))))
    site.runtime.invoke_endpoint(EndpointName="e", Body=b"unseen", ContentType="text/csv")["Body"].read()
    site.process.terminate()
    assert site.process.wait(20) == 0
    assert len(sealed()) == 20
    assert not list((tmp_path / "capture").glob("worker-*")), "an orderly end leaves no folder"


def test_a_dead_workers_file_is_there(lab: Lab, port: int, tmp_path: Path) -> None:
    """SIGKILL: what was written is whole, up to the last call that was."""
    site = Site(lab, port, capture_folder=str(tmp_path / "capture"), capture_interval=3600)
    site.publish(endpoint("e", variant(real_instance("i", lab.container(shout)), capture=capture())))
    site.runtime.invoke_endpoint(EndpointName="e", Body=b"kept", ContentType="text/csv")["Body"].read()

    def written() -> list[bytes]:
        files = list((tmp_path / "capture").glob("worker-*/*.spool"))
        return [line for file in files if file.stat().st_size for line in records.read(file.read_bytes())[1]]

    wait_for(written, "the call to be written")
    site.process.kill()
    site.process.wait()
    [line] = written()
    assert json.loads(line)["captureData"]["endpointInput"]["data"] == "kept"


def test_the_log_tells_of_drops_once_a_minute(make: Callable[..., World], caplog: pytest.LogCaptureFixture) -> None:
    """With the reasons, and not again while nothing is new."""
    caplog.set_level(logging.WARNING, "polyport")
    world = make(capture_max_call_bytes=10)
    call(world)
    for _ in range(3 * REPORT_SWEEPS):
        world.gateway.sweep()
    assert caplog.text.count("variant AllTraffic: 0 calls captured, 1 not (too large: 1)") == 1
