"""Everything else goes to control and comes back as it is."""

import asyncio
from contextlib import closing

import pytest
import uvicorn

from gateway.fakes import Reply, Transport, World, answer, single
from gateway.test_invocation import unchunk
from polyport.gateway import gateway
from polyport.gateway.containers.upstream import Upstream

REQUEST = (
    b"POST /?a=b HTTP/1.1\r\nHost: sagemaker\r\nX-Amz-Target: SageMaker.ListModels\r\nConnection: X-Hop, keep-alive\r\n"
    b"X-Hop: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\nX-Polyport-Request-Id: forged\r\n"
    b"X-Polyport-Secure: 1\r\nX-Polyport-Client: 1.2.3.4:5\r\nX-Double: 1\r\nX-Double: 2\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
)


@pytest.fixture
def world() -> World:
    return World(single())


def test_a_request_reaches_control_with_its_own_headers(world: World) -> None:
    """All but those between client and gateway, which nobody can use to smuggle anything; and what the gateway
    knows: the request's id, the client's address, and whether it came over TLS."""
    client = world.connect()
    client.extra["peername"] = ("192.0.2.7", 4711)
    client.receive(REQUEST)
    control = world.control.accept()
    head, _, body = control.take().partition(b"\r\n\r\n")
    *lines, request_id, address, secure = head.split(b"\r\n")
    assert lines == [
        b"POST /?a=b HTTP/1.1",
        b"Host: sagemaker",
        b"X-Amz-Target: SageMaker.ListModels",
        b"X-Double: 1",
        b"X-Double: 2",
        b"Content-Length: 2",
    ]
    assert body == b"{}"
    control.receive(answer(b"[]", "404 Not Found", X_Any="thing"))
    reply = Reply(client.take())
    assert (reply.status, reply.body, reply.headers["x-any"]) == (404, b"[]", "thing")
    assert request_id == b"x-polyport-request-id: " + reply.headers["x-amzn-requestid"].encode()
    assert (address, secure) == (b"x-polyport-client: 192.0.2.7:4711", b"x-polyport-secure: 0")
    assert "date" in reply.headers
    assert len(world.control.idle) == 1


def test_control_s_own_request_id_and_date_are_kept(world: World) -> None:
    """Once each."""
    client = world.connect()
    client.receive(REQUEST)
    world.control.accept().receive(answer(x_amzn_RequestId="its", Date="then", Connection="keep-alive"))
    pairs = [(name.lower(), value) for name, value in Reply(client.take()).pairs]
    assert [value for name, value in pairs if name == "x-amzn-requestid"] == ["its"]
    assert [value for name, value in pairs if name == "date"] == ["then"]


def asked(world: World, raw: bytes) -> tuple[Transport, Transport]:
    client = world.connect()
    client.receive(raw)
    return client, world.control.accept()


def test_an_answer_streams_back_as_it_arrives(world: World) -> None:
    """With its length, or in chunks."""
    client, control = asked(world, b"GET /logs HTTP/1.1\r\nHost: h\r\n\r\n")
    assert b"content-length" not in control.take().lower()
    control.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    body = Reply(client.take()).body
    assert body == b"3\r\nabc\r\n"
    world.loop.advance(1000)
    control.receive(b"1\r\nd\r\n0\r\n\r\n")
    assert unchunk(body + client.take()) == b"abcd"

    client, control = asked(World(), b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    control.receive(answer(b"abcdef")[:-3])
    control.receive(b"def")
    reply = Reply(client.take())
    assert (reply.body, reply.headers["content-length"]) == (b"abcdef", "6")


def test_head_is_answered_by_a_head(world: World) -> None:
    """With the length that GET would have; the connection to control is not used again, the client's is."""
    client, control = asked(world, b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n")
    control.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n")
    reply = Reply(client.take())
    assert (reply.headers["content-length"], reply.body) == ("500", b"")
    assert control.is_closing()
    client.receive(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    assert len(world.control.users) == 1


def test_no_content_has_no_length(world: World) -> None:
    """204 and 304 have no body by their nature."""
    client, control = asked(world, b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
    control.receive(b"HTTP/1.1 204 No Content\r\n\r\n")
    raw = client.take()
    assert raw.startswith(b"HTTP/1.1 204 No Content\r\n")
    assert b"ength" not in raw
    assert len(world.control.idle) == 1


def test_without_control_there_is_a_503_that_says_so(world: World) -> None:
    """/healthz too; invocations are served all the same."""
    client = world.connect()
    client.receive(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")
    world.control.refuse("No such file or directory")
    reply = Reply(client.take())
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")
    assert reply.error["__type"] == "ServiceUnavailable"
    assert reply.error["Message"].startswith("Polyport's control plane cannot be reached (No such file or directory)")


def test_control_that_breaks_off_is_not_asked_twice(world: World) -> None:
    """It may have done what it was asked; whether to ask again is the client's to decide."""
    client, control = asked(world, REQUEST)
    control.hang_up()
    reply = Reply(client.take())
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (502, "InternalFailure")
    assert not world.control.users


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "GET", "OPTIONS"])
def test_over_a_kept_connection_that_breaks_only_what_reads_is_asked_again(world: World, method: str) -> None:
    """Control may have closed it while it was idle, or have been killed in the middle of creating something."""
    request = f"{method} /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n".encode()
    client, control = asked(world, request)
    control.receive(answer())
    client.take()
    client.receive(request)
    control.hang_up()
    if method in ("GET", "OPTIONS"):
        assert client.take() == b""
        world.control.accept().receive(answer(b"new"))
        assert Reply(client.take()).body == b"new"
    else:
        assert Reply(client.take()).status == 502
        assert not world.control.users


def test_a_connection_to_control_is_not_kept_as_long_as_control_would() -> None:
    """So a request hardly ever meets control's closing on its way."""
    with closing(asyncio.new_event_loop()) as loop:
        pool = gateway.unix_pool(loop, "nowhere")
    transports = [Transport(Upstream(pool)) for _ in "ab"]
    for transport in transports:
        pool.put(transport.protocol)
    for _ in range(gateway.CONTROL_IDLE_SWEEPS):
        pool.sweep()
    assert not any(transport.closed for transport in transports)
    pool.sweep()
    assert all(transport.closed for transport in transports)
    assert uvicorn.Config("x:y").timeout_keep_alive > gateway.CONTROL_IDLE_SWEEPS + 1


def test_control_that_does_not_begin_to_answer_is_given_up(world: World) -> None:
    """After the time of an invocation."""
    client, control = asked(world, REQUEST)
    world.loop.advance(61)
    assert Reply(client.take()).status == 502
    assert control.aborted


def test_an_answer_of_control_that_breaks_off_breaks_the_client_s(world: World) -> None:
    """It must not look whole."""
    client, control = asked(world, REQUEST)
    control.receive(answer(b"abcdef")[:-3])
    control.hang_up()
    assert Reply(client.take()).body == b"abc"
    assert client.aborted


def test_a_client_that_goes_takes_its_connection_to_control_with_it(world: World) -> None:
    """And one that only reads slowly slows control down."""
    client, control = asked(world, REQUEST)
    client.protocol.pause_writing()
    assert control.paused
    client.protocol.resume_writing()
    assert not control.paused
    client.hang_up()
    assert control.aborted
    assert len(world.gateway.forwards) == 0


def test_a_body_after_a_head_is_not_passed_on(world: World) -> None:
    """The client would take it for the beginning of its next answer."""
    client = world.connect()
    client.receive(b"HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n")
    world.control.accept().receive(answer(b"HTTP/1.1 200 OK"))
    reply = Reply(client.take())
    assert (reply.status, reply.body) == (200, b"")
    assert not client.is_closing()
