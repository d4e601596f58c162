"""InvokeEndpointWithResponseStream: frames as botocore reads them."""

import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from gateway.fakes import OK, Reply, World, answer, direct, invoke, serial, single
from gateway.test_invocation import unchunk
from polyport.gateway.calls import streaming

STREAM = "invocations-response-stream"


@pytest.fixture
def world() -> World:
    return World(single(), direct(), serial())


def frames(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """Messages as botocore's decoder finds them, checksums checked."""
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(message.headers, message.payload) for message in buffer]


def payload(data: bytes) -> bytes:
    found = frames(data)
    assert all(headers[":event-type"] == "PayloadPart" for headers, _ in found)
    assert all(headers[":message-type"] == "event" for headers, _ in found)
    assert all(headers[":content-type"] == "application/octet-stream" for headers, _ in found)
    return b"".join(part for _, part in found)


def test_chunks_become_frames_as_they_arrive(world: World) -> None:
    """The container's type has a header of its own; Accept comes from the stream's header."""
    client = world.connect()
    client.receive(invoke("single", b"q", STREAM, Accept="no/no", X_Amzn_SageMaker_Accept="text/event-stream"))
    container = world.pool(1).accept()
    assert b"\r\nAccept: text/event-stream\r\n" in container.take()
    container.receive(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
    )
    reply = Reply(client.take())
    assert reply.headers["content-type"] == "application/vnd.amazon.eventstream"
    assert reply.headers["x-amzn-sagemaker-content-type"] == "text/event-stream"
    assert reply.headers["x-amzn-invoked-production-variant"] == "AllTraffic"
    assert reply.headers["transfer-encoding"] == "chunked"
    body = reply.body
    assert payload(unchunk(body + b"0\r\n\r\n")) == b"abc"
    container.receive(b"3\r\ndef\r\n0\r\n\r\n")
    body += client.take()
    assert [part for _, part in frames(unchunk(body))] == [b"abc", b"def"]
    assert len(world.pool(1).idle) == 1


@pytest.mark.parametrize("raw", [answer(b"abcdef"), answer(b"")])
def test_an_answer_of_known_length_streams_too(world: World, raw: bytes) -> None:
    """An empty one has no frame at all."""
    reply = Reply(world.call(invoke("single", operation=STREAM), (1, raw)))
    assert payload(unchunk(reply.body)) == raw.partition(b"\r\n\r\n")[2]


def test_a_large_piece_becomes_frames_that_sdks_take(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A payload has a limit."""
    monkeypatch.setattr(streaming, "MAX_PAYLOAD", 4)
    reply = Reply(world.call(invoke("single", operation=STREAM), (1, answer(b"0123456789"))))
    assert [part for _, part in frames(unchunk(reply.body))] == [b"0123", b"4567", b"89"]


def test_it_streams_from_a_named_container_and_from_the_last_of_a_chain(world: World) -> None:
    """The others of a chain are taken whole."""
    request = invoke("direct", operation=STREAM, X_Amzn_SageMaker_Target_Container_Hostname="second")
    assert payload(unchunk(Reply(world.call(request, (12, OK))).body)) == b"hi"
    raw = world.call(invoke("serial", operation=STREAM), (21, OK), (22, OK), (23, answer(b"last")))
    assert payload(unchunk(Reply(raw).body)) == b"last"


def test_errors_before_the_first_byte_are_ordinary_errors(world: World) -> None:
    """Validation, and what the container says."""
    reply = Reply(world.call(invoke("single", operation=STREAM), (1, answer(b"no", "500 Error"))))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (424, "ModelError")
    assert Reply(world.call(invoke("direct", operation=STREAM))).status == 400
    reply = Reply(world.call(invoke("single", operation=STREAM, X_Amzn_SageMaker_Session_Id="NEW_SESSION")))
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "ValidationError")


def begun(world: World) -> tuple[Any, Any]:
    client = world.connect()
    client.receive(invoke("single", operation=STREAM))
    container = world.pool(1).accept()
    container.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    return client, container


def test_a_stream_that_breaks_says_so_in_band(world: World) -> None:
    """ModelStreamError, StreamBroken; the HTTP message ends properly, and the connection goes on."""
    client, container = begun(world)
    container.hang_up(ConnectionResetError())
    (_, first), (headers, error) = frames(unchunk(Reply(client.take()).body))
    assert first == b"abc"
    assert headers[":message-type"] == "exception"
    assert headers[":exception-type"] == "ModelStreamError"
    assert headers[":content-type"] == "application/json"
    assert json.loads(error)["ErrorCode"] == "StreamBroken"
    assert "primary" in json.loads(error)["Message"]
    client.receive(invoke("single"))
    world.pool(1).accept().receive(OK)
    assert Reply(client.take()).status == 200


def test_a_stream_has_more_time_than_a_call_and_says_when_it_is_over(world: World) -> None:
    """Eight minutes; SageMaker's own text."""
    client, container = begun(world)
    world.loop.advance(479)
    container.receive(b"1\r\nd\r\n")
    world.loop.advance(2)
    *_, (headers, error) = frames(unchunk(Reply(client.take()).body))
    assert headers[":exception-type"] == "ModelStreamError"
    assert json.loads(error) == {
        "ErrorCode": "ModelInvocationTimeExceeded",
        "Message": "Your model primary did not complete sending the inference response in the allotted time.",
    }
    assert container.aborted


def test_a_client_that_leaves_a_stream_ends_it(world: World) -> None:
    """Its container is told at once."""
    client, container = begun(world)
    client.hang_up()
    assert container.aborted
    assert world.gateway.index.instances["i1"].outstanding == 0
    assert len(world.gateway.streams) == 0


def test_http_1_0_gets_the_frames_and_then_the_end(world: World) -> None:
    """No chunks."""
    request = invoke("single", operation=STREAM).replace(b"HTTP/1.1", b"HTTP/1.0")
    client = world.connect()
    client.receive(request)
    world.pool(1).accept().receive(answer(b"abc"))
    assert payload(Reply(client.take()).body) == b"abc"
    assert client.closed
