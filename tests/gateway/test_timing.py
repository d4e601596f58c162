"""Where the time of a call went, and how much each stage may take."""

import re

import pytest

from gateway.fakes import Reply, World, answer, direct, endpoint, instance, invoke, serial, single, variant
from polyport.gateway import gateway
from polyport.gateway.calls import course, invocation, refusal, timing


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A gateway whose clocks all are the loop's."""
    made = World(single(), direct(), serial())
    follow(made, monkeypatch)
    return made


def follow(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (gateway, course, invocation, refusal):
        monkeypatch.setattr(module, "monotonic", world.loop.time)


def times(raw: bytes) -> list[tuple[str, float]]:
    """What Server-Timing says, as name and milliseconds."""
    metrics = Reply(raw).headers["server-timing"].split(", ")
    pairs = [re.fullmatch(r"(\S+);dur=(\d+\.\d\d)", metric) for metric in metrics]
    return [(pair[1], float(pair[2])) for pair in pairs if pair]


def test_an_answer_tells_the_gateway_s_time_and_the_container_s(world: World) -> None:
    """The container has the time from its request to the first byte of its answer; connecting is the gateway's."""
    client = world.connect()
    client.receive(invoke("direct", X_Amzn_SageMaker_Target_Container_Hostname="second"))
    world.loop.advance(0.002)
    container = world.pool(12).accept()
    world.loop.advance(0.25)
    container.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    assert times(client.take()) == [("gateway", 2.0), ("second", 250.0)]
    world.loop.advance(5)
    container.receive(b"hi")
    assert client.take() == b"hi"


def test_each_stage_of_a_pipeline_has_its_time(world: World) -> None:
    """In their order."""
    client = world.connect()
    client.receive(invoke("serial"))
    for port, seconds in ((21, 0.1), (22, 0.02), (23, 0.003)):
        container = world.pool(port).accept()
        world.loop.advance(seconds)
        container.receive(answer())
    assert times(client.take()) == [("gateway", 0.0), ("one", 100.0), ("two", 20.0), ("three", 3.0)]


def test_an_error_tells_the_time_as_far_as_the_call_came(world: World) -> None:
    """The stage that failed has its time too; later ones are not named."""
    client = world.connect()
    client.receive(invoke("serial"))
    container = world.pool(21).accept()
    world.loop.advance(0.1)
    container.receive(answer())
    container = world.pool(22).accept()
    world.loop.advance(0.2)
    container.receive(answer(b"no", "500 Oops"))
    raw = client.take()
    assert Reply(raw).status == 424
    assert times(raw) == [("gateway", 0.0), ("one", 100.0), ("two", 200.0)]


def test_a_container_that_was_never_asked_has_no_time(world: World) -> None:
    """Nobody listens: all the time is the gateway's."""
    client = world.connect()
    client.receive(invoke("single"))
    world.loop.advance(0.5)
    world.pool(1).refuse()
    assert times(client.take()) == [("gateway", 500.0)]


def test_a_refusal_tells_the_time_too(world: World) -> None:
    """Before any container is chosen."""
    assert times(world.call(invoke("nowhere"))) == [("gateway", 0.0)]


def test_a_response_stream_tells_the_time_to_its_first_byte(world: World) -> None:
    """In its head."""
    client = world.connect()
    client.receive(invoke("single", operation="invocations-response-stream"))
    container = world.pool(1).accept()
    world.loop.advance(1.5)
    container.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    assert times(client.take()) == [("gateway", 0.0), ("only", 1500.0)]


def test_only_invocations_are_timed(world: World) -> None:
    """Control says itself what there is to say."""
    client = world.connect()
    client.receive(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    world.control.accept().receive(answer())
    assert "server-timing" not in Reply(client.take()).headers


@pytest.mark.parametrize("name", ["single", "nowhere"])
def test_a_setting_turns_it_off(name: str) -> None:
    """For those to whom it tells too much."""
    world = World(single(), server_timing=False)
    answers = [(1, answer())] if name == "single" else []
    assert "server-timing" not in Reply(world.call(invoke(name), *answers)).headers


def test_a_hostname_stays_one_name_whatever_it_holds() -> None:
    """It can add neither a metric nor a parameter."""
    assert timing.opening("a,b;dur=1 c\r\nX: y") == b", a_b_dur_1_c__X__y;dur="
    world = World(endpoint("e", variant(instance("i", 1), hostnames=("a,b;c",))))
    assert [name for name, _ in times(world.call(invoke("e"), (1, answer())))] == ["gateway", "a_b_c"]


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_stage_has_its_own_limit_beside_the_call_s(stage: int) -> None:
    """The error names the stage that did not begin its answer; its connection is closed."""
    world = World(serial(), stage_timeout=3)
    client = world.connect()
    client.receive(invoke("serial"))
    for port in (21, 22, 23)[:stage]:
        world.loop.advance(2)
        world.pool(port).accept()
        world.loop.advance(2)
        world.busy(port).receive(answer())
    container = world.pool(21 + stage).accept()
    world.loop.advance(2.5)
    assert not client.written
    world.loop.advance(0.5)
    name = ("one", "two", "three")[stage]
    error = Reply(client.take()).error
    assert f"timed out while waiting for a response from container {name}." in error["Message"]
    assert container.aborted
    assert not world.loop.timers or world.loop.timers[0][0] > world.loop.now + 40, "only the whole call's is left"


def test_an_answer_that_was_begun_is_not_cut_by_the_stage_s_limit() -> None:
    """It has what the whole call has."""
    world = World(single(), stage_timeout=3)
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    world.loop.advance(10)
    container.receive(b"hi")
    assert client.take().endswith(b"\r\n\r\nhi")
    assert world.gateway.stages is not None
    assert not len(world.gateway.stages)


def test_a_stage_s_time_begins_anew_with_a_new_connection() -> None:
    """The kept one was closed before it could have been heard."""
    world = World(single(), stage_timeout=3)
    world.call(invoke("single"), (1, answer()))
    client = world.connect()
    client.receive(invoke("single"))
    world.loop.advance(2)
    world.busy(1).hang_up()
    world.pool(1).accept()
    world.loop.advance(2)
    world.busy(1).receive(answer(b"late"))
    assert client.take().endswith(b"late")


def test_a_client_that_leaves_takes_its_stage_s_limit_along() -> None:
    """No timer fires for nobody."""
    world = World(single(), stage_timeout=3)
    client = world.connect()
    client.receive(invoke("single"))
    world.pool(1).accept()
    client.hang_up()
    assert world.gateway.stages is not None
    assert not len(world.gateway.stages)


def test_a_stage_s_time_begins_when_it_has_its_whole_request() -> None:
    """A body that is still coming from the client is not the container's delay."""
    world = World(single(), stage_timeout=3)
    client = world.connect()
    body = b"x" * 600_000
    request = invoke("single", body)
    client.receive(request[:-100_000])
    container = world.pool(1).accept()
    world.loop.advance(5)
    assert not client.written
    client.receive(request[-100_000:])
    world.loop.advance(2.9)
    assert not client.written
    world.loop.advance(0.1)
    assert "timed out" in Reply(client.take()).error["Message"]
    assert container.aborted


def test_a_stage_s_time_begins_when_the_stage_before_is_at_its_end() -> None:
    """Its answer goes on while it comes; how long that takes is not the next one's delay."""
    world = World(serial(), stage_timeout=3)
    client = world.connect()
    client.receive(invoke("serial"))
    one = world.pool(21).accept()
    whole = answer(b"x" * 1_000_000)
    one.receive(whole[:-100])
    two = world.pool(22).accept()
    world.loop.advance(5)
    assert not client.written
    one.receive(whole[-100:])
    world.loop.advance(3)
    assert "from container two." in Reply(client.take()).error["Message"]
    assert two.aborted
    assert not one.aborted
