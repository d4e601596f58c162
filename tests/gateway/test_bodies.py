"""Bodies that go on while they come: from the client to the first container, from stage to stage, and back."""

import pytest

from gateway.fakes import (
    OK,
    Reply,
    Transport,
    World,
    answer,
    endpoint,
    instance,
    invoke,
    replies,
    serial,
    single,
    variant,
)
from polyport.gateway.calls import invocation
from polyport.gateway.clients import connection as connection_module
from polyport.gateway.clients import reader
from polyport.gateway.clients.connection import EARLY

SIZE = 400_000
BODY = bytes(range(256)) * (SIZE // 256) + b"x" * (SIZE % 256)
REQUEST = invoke("single", BODY, Content_Type="a/b")
HEAD_SIZE = len(REQUEST) - SIZE


@pytest.fixture
def world() -> World:
    return World(single(), serial(), max_body_bytes=10_000_000)


def begin(world: World, size: int = EARLY + HEAD_SIZE) -> Transport:
    """A client that has sent the beginning of a large request."""
    client = world.connect()
    client.receive(REQUEST[:size])
    return client


def warm(world: World, *ports: int) -> None:
    """Connections that are kept, to these containers."""
    for name, of in (("single", (1,)), ("serial", (21, 22, 23))):
        if set(of) & set(ports):
            world.call(invoke(name), *((port, OK) for port in of))
    for port in ports:
        world.pool(port).idle[0].transport.take()  # type: ignore[attr-defined]


# --- from the client to the container


def test_a_large_body_goes_on_while_it_comes(world: World) -> None:
    """Head with the whole length first, then piece by piece; both connections are good for more."""
    client = begin(world)
    container = world.pool(1).accept()
    sent = container.take()
    assert sent.startswith(b"POST /invocations HTTP/1.1\r\n")
    assert b"Content-Length: %d\r\n\r\n" % SIZE in sent
    assert sent.endswith(BODY[:EARLY])
    client.receive(REQUEST[EARLY + HEAD_SIZE : -1])
    assert container.take() == BODY[EARLY:-1]
    client.receive(REQUEST[-1:])
    assert container.take() == BODY[-1:]
    container.receive(OK)
    assert Reply(client.take()).body == b"hi"
    client.receive(invoke("single"))
    world.busy(1).receive(OK)
    assert Reply(client.take()).status == 200
    assert len(world.pool(1).upstreams) == 1


@pytest.mark.parametrize("step", [HEAD_SIZE - 1, 5_000, 16 * 1024, 100_001, 256_000, SIZE])
def test_a_large_body_is_the_same_however_it_is_cut_and_whatever_follows(world: World, step: int) -> None:
    """What comes after the body in the same packet is the next request, not a part of it."""
    raw = REQUEST + invoke("single", b"second") + REQUEST
    client = world.connect()
    container = None
    sent = b""
    for at in range(0, len(raw), step):
        client.receive(raw[at : at + step])
    for body in (BODY, b"second", BODY):
        container = container or world.pool(1).accept()
        sent = container.take()
        assert sent.partition(b"\r\n\r\n")[2] == body
        container.receive(answer(b"%d" % len(body)))
    assert [reply.body for reply in replies(client.take())] == [b"%d" % SIZE, b"6", b"%d" % SIZE]


def test_small_bodies_and_those_in_chunks_are_sent_whole_with_their_length(world: World) -> None:
    """A container is not bothered with half a small request, and never with chunks."""
    client = world.connect()
    client.receive(invoke("single", BODY[:1000])[:-1])
    assert not world.pool(1).users
    client.hang_up()
    client = world.connect()
    client.receive(b"POST /endpoints/single/invocations HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
    client.receive(b"%x\r\n%b\r\n" % (SIZE, BODY))
    assert not world.pool(1).users
    client.receive(b"0\r\n\r\n")
    sent = world.pool(1).accept().take()
    assert b"Content-Length: %d\r\n\r\n" % SIZE in sent
    assert sent.endswith(BODY)


def test_a_slow_client_keeps_no_container_waiting(world: World) -> None:
    """Who does not send fast at first is served when all is there."""
    client = begin(world, HEAD_SIZE + 1000)
    for _ in range(2):
        world.gateway.sweep()
    client.receive(REQUEST[HEAD_SIZE + 1000 : -1])
    assert not world.pool(1).users
    client.receive(REQUEST[-1:])
    assert world.pool(1).accept().take().endswith(BODY)


@pytest.mark.parametrize("piece", [0, 1000])
def test_a_client_that_falls_asleep_in_its_body_is_given_up(world: World, piece: int) -> None:
    """408 when it stops or dribbles; the container's connection is closed."""
    client = begin(world)
    container = world.pool(1).accept()
    at = EARLY + HEAD_SIZE
    for _ in range(reader.BODY_SWEEPS + 1):
        if container.aborted:
            break
        if piece:
            client.receive(REQUEST[at : at + piece])
            at += piece
        world.gateway.sweep()
    assert container.aborted
    reply = Reply(client.take())
    assert (reply.status, reply.headers["connection"]) == (408, "close")
    assert client.wrote_eof


def test_an_unknown_endpoint_is_told_when_the_request_is_whole(world: World) -> None:
    """The connection can go on then."""
    client = world.connect()
    raw = invoke("nobody", BODY)
    client.receive(raw[:-1])
    assert client.take() == b""
    client.receive(raw[-1:] + invoke("single"))
    assert Reply(client.take()).status == 400
    world.pool(1).accept().receive(OK)
    assert Reply(client.take()).status == 200


def test_a_slow_container_stops_the_client(world: World) -> None:
    """Memory for what it does not take is bounded, and time in which the client is held is not the client's."""
    client = begin(world)
    client.receive(REQUEST[EARLY + HEAD_SIZE :][:1000])
    assert client.paused, "there is no connection yet"
    container = world.pool(1).accept()
    assert not client.paused
    container.protocol.pause_writing()
    assert client.paused
    for _ in range(reader.BODY_SWEEPS + 2):
        world.gateway.sweep()
    assert not container.aborted
    container.protocol.resume_writing()
    assert not client.paused
    container.protocol.pause_writing()
    client.receive(REQUEST[EARLY + HEAD_SIZE + 1000 :])
    assert not client.paused, "it is whole, and whether the client stays must be seen"
    container.receive(OK)
    assert Reply(client.take()).status == 200


def test_the_time_of_a_call_begins_when_its_body_is_whole(world: World) -> None:
    """A container cannot answer before; one that does not take the body has no excuse."""
    client = begin(world)
    container = world.pool(1).accept()
    world.loop.advance(50)
    client.receive(REQUEST[EARLY + HEAD_SIZE : -1])
    world.loop.advance(50)
    world.loop.advance(50)
    client.receive(REQUEST[-1:])
    world.loop.advance(50)
    assert client.take() == b""
    world.loop.advance(11)
    assert "timed out" in str(Reply(client.take()).error["Message"])
    assert container.aborted

    client = begin(world)
    container = world.pool(1).accept()
    container.protocol.pause_writing()
    world.loop.advance(61)
    assert "timed out" in str(Reply(client.take()).error["Message"])
    assert client.wrote_eof


def test_a_client_that_goes_in_its_body_takes_the_connection_with_it(world: World) -> None:
    """The container sees a broken request, nobody a whole one."""
    client = begin(world)
    container = world.pool(1).accept()
    client.hang_up()
    assert container.aborted
    assert world.gateway.index.instances["i1"].outstanding == 0


@pytest.mark.parametrize("status", ["413 Payload Too Large", "200 OK"])
def test_an_answer_before_the_request_is_whole_ends_both_connections(world: World, status: str) -> None:
    """The client reads it, and what it still sends is thrown away."""
    client = begin(world)
    container = world.pool(1).accept()
    container.receive(answer(b"no", status))
    reply = Reply(client.take())
    assert reply.status == (200 if status == "200 OK" else 424)
    assert reply.headers["connection"] == "close"
    assert container.aborted
    assert client.wrote_eof
    assert not client.is_closing()
    client.receive(REQUEST[EARLY + HEAD_SIZE :])
    assert not world.pool(1).idle
    for _ in range(connection_module.LINGER_SWEEPS + 1):
        world.gateway.sweep()
    assert client.aborted


def test_a_kept_connection_that_ends_in_the_body_is_replaced_once(world: World) -> None:
    """All that came goes over the new one, and what comes later too."""
    warm(world, 1)
    client = begin(world)
    world.busy(1).hang_up(ConnectionResetError())
    client.receive(REQUEST[EARLY + HEAD_SIZE :][:1000])
    container = world.pool(1).accept()
    client.receive(REQUEST[EARLY + HEAD_SIZE + 1000 :])
    assert container.take().endswith(b"\r\n\r\n" + BODY)
    container.receive(OK)
    assert Reply(client.take()).status == 200


@pytest.mark.parametrize("limit", ["MOST_KEPT", "MOST_PIECES"])
def test_a_body_that_was_not_kept_is_not_sent_again(world: World, limit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So much is not taken by a connection that was closed while it was idle."""
    warm(world, 1)
    monkeypatch.setattr(invocation, limit, 1)
    client = begin(world)
    client.receive(REQUEST[EARLY + HEAD_SIZE :][:1000])
    world.busy(1).hang_up()
    assert Reply(client.take()).status == 424
    assert not world.pool(1).users


def test_a_new_connection_that_ends_in_the_body_is_not_replaced(world: World) -> None:
    """The container may have begun to work."""
    client = begin(world)
    world.pool(1).accept().hang_up()
    assert Reply(client.take()).status == 424
    assert not world.pool(1).users


def test_a_body_waits_for_another_instance_when_one_refuses() -> None:
    """Nothing of it is lost."""
    world = World(endpoint("single", variant(instance("a", 1), instance("b", 2))))
    client = begin(world)
    world.pool(1).refuse()
    container = world.pool(2).accept()
    client.receive(REQUEST[EARLY + HEAD_SIZE :])
    assert container.take().endswith(b"\r\n\r\n" + BODY)
    container.receive(OK)
    assert Reply(client.take()).status == 200


# --- from stage to stage


def first_stage(world: World, raw: bytes) -> tuple[Transport, Transport]:
    """Client, and the first container of a chain when it has answered with these bytes."""
    client = world.connect()
    client.receive(invoke("serial"))
    first = world.busy(21) if world.pool(21).upstreams else world.pool(21).accept()
    first.take()
    first.receive(raw)
    return client, first


def test_a_large_answer_goes_on_to_the_next_stage_while_it_comes(world: World) -> None:
    """With its length and type; then the first connection is kept, the second one's answer goes on likewise."""
    raw = answer(BODY, Content_Type="x/y")
    client, first = first_stage(world, raw[:100_000])
    second = world.pool(22).accept()
    sent = second.take()
    assert b"Content-Type: x/y\r\n" in sent
    assert b"Content-Length: %d\r\n\r\n" % SIZE in sent
    first.receive(raw[100_000:-1])
    second.protocol.pause_writing()
    assert first.paused
    second.protocol.resume_writing()
    first.receive(raw[-1:])
    assert (sent + second.take()).endswith(b"\r\n\r\n" + BODY)
    assert world.pool(21).idle
    second.receive(answer(b"two"))
    third = world.pool(23).accept()
    assert third.take().endswith(b"two")
    third.receive(answer(b"three"))
    assert Reply(client.take()).body == b"three"


def test_an_answer_without_a_length_goes_on_when_it_is_whole(world: World) -> None:
    """No container is sent chunks."""
    raw = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n" % (SIZE, BODY)
    _, first = first_stage(world, raw)
    assert not world.pool(22).users
    first.receive(b"0\r\n\r\n")
    assert world.pool(22).accept().take().endswith(b"Content-Length: %d\r\n\r\n%b" % (SIZE, BODY))


def test_a_stage_that_breaks_off_in_the_middle_is_named_and_ends_the_rest(world: World) -> None:
    """The next one sees a broken request."""
    client, first = first_stage(world, answer(BODY)[:100_000])
    second = world.pool(22).accept()
    first.hang_up()
    assert second.aborted
    reply = Reply(client.take())
    assert "Received server error (0) from one with message" in str(reply.error["Message"])
    assert world.reports == [("i3", "one", "connection closed")]
    assert world.gateway.index.instances["i3"].outstanding == 0


@pytest.mark.parametrize(("is_clogged", "named"), [(False, "one"), (True, "two")])
def test_of_two_stages_the_one_that_is_waited_for_is_named(world: World, is_clogged: bool, named: str) -> None:
    """The one that does not go on with its answer; but the next one, if that does not take what comes."""
    client, first = first_stage(world, answer(BODY)[:100_000])
    second = world.pool(22).accept()
    if is_clogged:
        second.protocol.pause_writing()
    world.loop.advance(61)
    assert f"from container {named}." in str(Reply(client.take()).error["Message"])
    assert first.aborted
    assert second.aborted


def test_a_stage_that_refuses_in_the_middle_ends_the_one_before(world: World) -> None:
    """Its error is the call's."""
    client, first = first_stage(world, answer(BODY)[:100_000])
    world.pool(22).accept().receive(answer(b"no", "400 Bad Request"))
    reply = Reply(client.take())
    assert str(reply.error["Message"]).startswith('Received client error (400) from two with message "no"')
    assert first.aborted


def test_an_instance_whose_answer_goes_on_to_another_is_not_drained_before_it_is_whole() -> None:
    """A stage refused in one instance is had from another, while the first still gives what that stage is to get."""
    world = World(serial("serial", instance("i4", 31, 32, 33)))
    raw = answer(BODY)
    client, first = first_stage(world, raw[:100_000])
    world.pool(22).refuse()
    second = world.pool(32).accept()
    assert world.gateway.index.instances["i3"].outstanding == 1
    other = variant(instance("i4", 31, 32, 33), mode="Serial", hostnames=("one", "two", "three"))
    world.publish(endpoint("serial", other), version=2)
    assert tuple(world.gateway.draining) == ("i3",)
    first.receive(raw[100_000:])
    assert second.take().endswith(BODY)
    assert tuple(world.gateway.draining) == ()
    second.receive(answer(b"two"))
    world.pool(33).accept().receive(OK)
    assert Reply(client.take()).status == 200
    assert world.gateway.index.instances["i4"].outstanding == 0


def test_a_stage_that_answers_before_it_has_all_goes_on_and_is_not_used_again(world: World) -> None:
    """Nor is the one whose answer nobody reads to its end."""
    client, first = first_stage(world, answer(BODY)[:100_000])
    second = world.pool(22).accept()
    second.receive(answer(b"two"))
    assert first.aborted
    assert second.aborted
    third = world.pool(23).accept()
    assert third.take().endswith(b"two")
    third.receive(OK)
    assert Reply(client.take()).status == 200


def test_an_answer_that_says_it_is_too_large_is_refused_before_the_next_stage_sees_any(world: World) -> None:
    """In the known words, with the length that it stated."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10000001\r\n\r\n"
    client, first = first_stage(world, head + BODY[:100_000])
    assert "from one to two is 10000001 bytes" in str(Reply(client.take()).error["Message"])
    assert first.aborted
    assert not world.pool(22).users


def test_a_kept_connection_of_the_next_stage_that_ends_is_replaced(world: World) -> None:
    """As for the first."""
    warm(world, 21, 22)
    raw = answer(BODY)
    client, first = first_stage(world, raw[:100_000])
    second = world.busy(22)
    second.hang_up()
    first.receive(raw[100_000:])
    second = world.pool(22).accept()
    assert second.take().endswith(b"\r\n\r\n" + BODY)
    second.receive(OK)
    world.busy(23).receive(OK)
    assert Reply(client.take()).status == 200


def test_a_client_that_goes_ends_both_stages(world: World) -> None:
    """The one that is sending, and the one that is being sent to."""
    client, first = first_stage(world, answer(BODY)[:100_000])
    second = world.pool(22).accept()
    client.hang_up()
    assert first.aborted
    assert second.aborted


# --- back to the client


@pytest.mark.parametrize("step", [40, 1000, 16 * 1024, 100_001, SIZE])
def test_a_large_answer_is_the_same_however_it_is_cut(world: World, step: int) -> None:
    """And what follows it on the connection is nobody's answer."""
    raw = answer(BODY)
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    for at in range(0, len(raw), step):
        container.receive(raw[at : at + step])
    assert Reply(client.take()).body == BODY
    (kept,) = world.pool(1).idle
    client.receive(invoke("single"))
    kept.transport.receive(raw[:50_000])  # type: ignore[attr-defined]
    kept.transport.receive(raw[50_000:] + OK)  # type: ignore[attr-defined]
    assert Reply(client.take()).body == BODY
    assert kept.transport.is_closing()


def test_a_large_answer_that_breaks_off_breaks_the_client_s(world: World) -> None:
    """Though its pieces pass the parser by."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(answer(BODY)[:100_000])
    container.receive(BODY[:1000])
    container.hang_up()
    assert client.aborted
