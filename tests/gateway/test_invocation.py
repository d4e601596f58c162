"""One call through its containers: what each is sent, what comes back, and what every kind of failure becomes."""

import json

import pytest

from gateway.fakes import (
    ACCOUNT,
    OK,
    Reply,
    World,
    answer,
    direct,
    endpoint,
    instance,
    invoke,
    serial,
    single,
    variant,
)
from polyport.gateway.calls import sessions
from polyport.gateway.containers import upstream as upstream_module

NO_ANSWER = (
    "Amazon SageMaker could not get a response from the single endpoint. This can occur when CPU or memory utilization "
    "is high. To check your utilization, see Amazon CloudWatch. To fix this problem, use an instance type with more "
    "CPU capacity or memory."
)
SEE = (
    "See https://us-east-1.console.aws.amazon.com/cloudwatch/home?region=us-east-1#logEventViewer:group="
    f"/aws/sagemaker/Endpoints/single in account {ACCOUNT} for more information."
)


@pytest.fixture
def world() -> World:
    return World(single(), direct(), serial())


def test_a_container_sees_the_api_s_headers_and_no_others(world: World) -> None:
    """Type, Accept, attributes, inference id and session pass; the rest of what a client sends stays behind."""
    client = world.connect()
    client.receive(
        invoke(
            "single",
            b"body",
            Content_Type="text/csv; charset=utf-8",
            Accept="application/json",
            X_Amzn_SageMaker_Custom_Attributes="trace=1",
            X_Amzn_SageMaker_Inference_Id="id-1",
            X_Amzn_SageMaker_Session_Id="NEW_SESSION",
            X_Amzn_SageMaker_Target_Variant="AllTraffic",
            X_Amzn_SageMaker_Unheard_Of="x",
            Authorization="secret",
            Cookie="secret",
            User_Agent="boto",
            X_Forwarded_For="1.2.3.4",
        )
    )
    assert world.pool(1).accept().take() == (
        b"POST /invocations HTTP/1.1\r\nHost: model.aws.local:1\r\nContent-Type: text/csv; charset=utf-8\r\n"
        b"Accept: application/json\r\nX-Amzn-SageMaker-Custom-Attributes: trace=1\r\n"
        b"X-Amzn-SageMaker-Inference-Id: id-1\r\nX-Amzn-SageMaker-Session-Id: NEW_SESSION\r\n"
        b"Content-Length: 4\r\n\r\nbody"
    )


def test_a_client_that_says_nothing_of_types_gets_the_defaults(world: World) -> None:
    """``application/octet-stream`` and ``*/*``."""
    world.connect().receive(invoke("single", b""))
    sent = world.pool(1).accept().take()
    assert b"Content-Type: application/octet-stream\r\nAccept: */*\r\nContent-Length: 0\r\n\r\n" in sent


def test_an_answer_keeps_body_and_type_and_loses_other_headers(world: World) -> None:
    """The status is 200 for every success; attributes and session headers are lifted, a new session's is renamed."""
    raw = world.call(
        invoke("single"),
        (
            1,
            answer(
                b"\x00\xff body",
                "201 Created",
                Content_Type="text/csv; charset=utf-8",
                X_Amzn_SageMaker_Custom_Attributes="made=1",
                X_Amzn_SageMaker_Session_Id="s1; Expires=2030-01-01T00:00:00Z",
                X_Amzn_SageMaker_Closed_Session_Id="s0",
                Server="uvicorn",
                Set_Cookie="a=b",
                X_Other="x",
            ),
        ),
    )
    reply = Reply(raw)
    assert raw.startswith(b"HTTP/1.1 200 OK\r\nx-amzn-RequestId: ")
    assert [name for name, _ in reply.pairs] == [
        "x-amzn-RequestId",
        "x-Amzn-Invoked-Production-Variant",
        "Date",
        "Server-Timing",
        "Content-Type",
        "X-Amzn-SageMaker-Custom-Attributes",
        "X-Amzn-SageMaker-New-Session-Id",
        "X-Amzn-SageMaker-Closed-Session-Id",
        "Content-Length",
    ]
    assert reply.headers["x-amzn-invoked-production-variant"] == "AllTraffic"
    assert reply.headers["content-type"] == "text/csv; charset=utf-8"
    mark = sessions.mark("i1").decode()
    assert reply.headers["x-amzn-sagemaker-new-session-id"] == f"s1{mark}; Expires=2030-01-01T00:00:00Z"
    assert reply.headers["x-amzn-sagemaker-closed-session-id"] == f"s0{mark}"
    assert reply.body == b"\x00\xff body"


def test_an_answer_without_a_type_or_attributes_gets_none(world: World) -> None:
    """Nothing is invented."""
    reply = Reply(world.call(invoke("single"), (1, b"HTTP/1.1 204 No Content\r\n\r\n")))
    assert (reply.status, reply.headers["content-length"], reply.body) == (200, "0", b"")
    assert "content-type" not in reply.headers
    assert "x-amzn-sagemaker-custom-attributes" not in reply.headers


# --- the answer's way back

CHUNKED = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;ext=1\r\nabc\r\n5\r\ndefgh\r\n0\r\nX-Amzn-SageMaker-Custom-Attributes: sneaky\r\n\r\n"
)


def unchunk(data: bytes) -> bytes:
    body = b""
    while True:
        size, _, data = data.partition(b"\r\n")
        if int(size, 16) == 0:
            assert data == b"\r\n"
            return body
        body += data[: int(size, 16)]
        assert data[int(size, 16) :][:2] == b"\r\n"
        data = data[int(size, 16) + 2 :]


@pytest.mark.parametrize("framing", ["length", "chunked", "until the end"])
def test_an_answer_cut_in_two_at_any_byte_is_the_same(framing: str) -> None:
    """Fragmentation of the container's answer at every byte, whatever marks its end."""
    whole = {
        "length": answer(b"abcdefgh", Content_Type="text/plain"),
        "chunked": CHUNKED,
        "until the end": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\nabcdefgh",
    }[framing]
    for cut in range(1, len(whole)):
        world = World(single())
        client = world.connect()
        client.receive(invoke("single"))
        container = world.pool(1).accept()
        container.receive(whole[:cut])
        container.receive(whole[cut:])
        if framing == "until the end":
            container.hang_up()
        reply = Reply(client.take())
        body = unchunk(reply.body) if "transfer-encoding" in reply.headers else reply.body
        assert body == b"abcdefgh", cut
        assert reply.headers["content-type"] == "text/plain"
        assert "x-amzn-sagemaker-custom-attributes" not in reply.headers
        assert world.gateway.index.instances["i1"].outstanding == 0
        assert len(world.pool(1).idle) == (0 if framing == "until the end" else 1)


def test_an_answer_byte_by_byte_is_passed_on_as_it_arrives(world: World) -> None:
    """Nothing waits for the end: what has come of the body is out."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    passed = b""
    for byte in answer(b"abcdefgh"):
        container.receive(bytes([byte]))
        passed += client.take()
        if passed:
            assert passed.endswith(bytes([byte]))
    assert Reply(passed).body == b"abcdefgh"


def test_an_answer_of_unknown_length_is_chunked_as_it_arrives(world: World) -> None:
    """One chunk a piece."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    assert Reply(client.take()).body == b"3\r\nabc\r\n"
    container.receive(b"2\r\nde\r\n1\r\nf\r\n")
    assert client.take() == b"3\r\ndef\r\n"
    container.receive(b"0\r\n\r\n")
    assert client.take() == b"0\r\n\r\n"


def test_interim_answers_are_not_answers(world: World) -> None:
    """100 and 103 are skipped, with their headers."""
    raw = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nContent-Type: x/y\r\n\r\n" + OK
    for cut in range(1, len(raw)):
        client = world.connect()
        client.receive(invoke("single"))
        container = world.busy(1) if world.pool(1).upstreams else world.pool(1).accept()
        container.receive(raw[:cut])
        container.receive(raw[cut:])
        reply = Reply(client.take())
        assert (reply.headers["content-type"], reply.body) == ("text/plain", b"hi")


def test_a_slow_reader_stops_the_container_from_filling_memory(world: World) -> None:
    """When the client's buffer is full, the container's connection is not read; then it is again."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(answer(b"a" * 10)[:-5])
    client.protocol.pause_writing()
    assert container.paused
    client.protocol.resume_writing()
    assert not container.paused
    client.protocol.pause_writing()
    container.receive(b"a" * 5)
    assert not container.paused, "a connection goes back to its pool as it came"
    assert world.pool(1).idle


# --- which connections are used again


def test_a_connection_is_used_again_after_a_whole_answer(world: World) -> None:
    """Kept alive; the one used last comes first."""
    for _ in range(3):
        assert Reply(world.call(invoke("single"), (1, OK))).status == 200
    assert len(world.pool(1).upstreams) == 1


@pytest.mark.parametrize(
    "raw",
    [
        answer(Connection="close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
        OK + b"HTTP/1.1 200 OK\r\n",
        OK + OK,
        OK + b"nonsense",
    ],
)
def test_a_connection_in_doubt_is_not_used_again(world: World, raw: bytes) -> None:
    """It says that it ends, or says more than it was asked: the answer stands, the connection does not."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(raw)
    reply = Reply(client.take())
    assert (reply.status, reply.body) == (200, b"hi")
    assert container.is_closing()
    assert not world.pool(1).idle


def test_an_idle_connection_that_speaks_is_dropped(world: World) -> None:
    """Else the next request would get an answer that is not its own."""
    world.call(invoke("single"), (1, OK))
    (idle,) = world.pool(1).idle
    idle.transport.receive(OK)  # type: ignore[attr-defined]
    assert idle.transport.is_closing()
    assert not world.pool(1).idle


def test_an_idle_connection_that_ends_is_forgotten(world: World) -> None:
    """Nobody takes it then."""
    world.call(invoke("single"), (1, OK))
    (idle,) = world.pool(1).idle
    idle.transport.hang_up()  # type: ignore[attr-defined]
    assert not world.pool(1).idle


def test_connections_that_are_not_needed_are_closed_after_a_while(world: World) -> None:
    """The pool shrinks from the end that is used least."""
    world.call(invoke("single"), (1, OK))
    for _ in range(upstream_module.IDLE_SWEEPS + 1):
        (idle,) = world.pool(1).idle
        world.gateway.sweep()
    assert idle.transport.is_closing()
    assert not world.pool(1).idle


@pytest.mark.parametrize("bytes_sent", range(len(OK)))
def test_a_client_that_goes_takes_the_container_s_connection_with_it(world: World, bytes_sent: int) -> None:
    """At any byte of the answer: closed at once, never pooled, the instance is free again."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    if bytes_sent:
        container.receive(OK[:bytes_sent])
    client.hang_up()
    assert container.aborted
    assert not world.pool(1).idle
    assert world.gateway.index.instances["i1"].outstanding == 0
    assert len(world.gateway.calls) == 0
    container.protocol.connection_lost(None)


def test_a_client_that_goes_while_connecting_leaves_a_connection_for_others(world: World) -> None:
    """It was not used, so it is as good as new; nothing is sent on it."""
    client = world.connect()
    client.receive(invoke("single"))
    client.hang_up()
    assert world.pool(1).accept().take() == b""
    assert len(world.pool(1).idle) == 1
    assert world.gateway.index.instances["i1"].outstanding == 0


# --- at most once


def test_a_kept_connection_that_ends_without_a_byte_of_answer_is_replaced_once(world: World) -> None:
    """It was closed while idle: the container has not seen the request. A second time it has."""
    world.call(invoke("single"), (1, OK))
    client = world.connect()
    client.receive(invoke("single", b"again"))
    world.busy(1).hang_up(ConnectionResetError())
    assert client.take() == b""
    fresh = world.pool(1).accept()
    assert fresh.take().endswith(b"again")
    fresh.hang_up()
    reply = Reply(client.take())
    assert reply.status == 424
    assert not world.pool(1).users, "no third attempt"


def test_a_kept_connection_that_ends_after_a_byte_is_not_replaced(world: World) -> None:
    """The container may have worked."""
    world.call(invoke("single"), (1, OK))
    client = world.connect()
    client.receive(invoke("single"))
    world.busy(1).receive(b"H")
    world.busy(1).hang_up()
    assert Reply(client.take()).status == 424
    assert not world.pool(1).users


def test_a_new_connection_that_ends_is_not_replaced(world: World) -> None:
    """The container has the request."""
    client = world.connect()
    client.receive(invoke("single"))
    world.pool(1).accept().hang_up()
    reply = Reply(client.take())
    assert reply.error["OriginalMessage"] == NO_ANSWER
    assert not world.pool(1).users
    assert world.reports == [("i1", "only", "connection closed")]


def test_an_instance_that_refuses_is_skipped_and_reported() -> None:
    """Nothing was sent, so the call goes to the next instance; new calls avoid the first for a while."""
    world = World(endpoint("two", variant(instance("a", 1), instance("b", 2))))
    client = world.connect()
    client.receive(invoke("two"))
    world.pool(1).refuse()
    world.pool(2).accept().receive(OK)
    assert Reply(client.take()).status == 200
    assert world.reports == [("a", "only", "Connection refused")]
    assert world.gateway.index.instances["a"].outstanding == 0

    client.receive(invoke("two"))
    world.busy(2).receive(OK)
    world.loop.advance(1.5)
    client.receive(invoke("two"))
    assert len(world.pool(1).users) == 1, "it gets another chance"


def test_when_all_instances_refuse_the_call_fails() -> None:
    """Each is tried once."""
    world = World(endpoint("single", variant(instance("a", 1), instance("b", 2))))
    client = world.connect()
    client.receive(invoke("single"))
    world.pool(1).refuse()
    world.pool(2).refuse()
    reply = Reply(client.take())
    assert (reply.status, reply.error["OriginalMessage"]) == (424, NO_ANSWER)
    assert all(one.outstanding == 0 for one in world.gateway.index.instances.values())


def test_reports_of_one_container_come_at_most_once_a_second(world: World) -> None:
    """Control hears of it, and is not shouted at."""
    for _ in range(5):
        world.connect().receive(invoke("single"))
        world.pool(1).refuse()
    assert len(world.reports) == 1
    world.loop.advance(1.1)
    world.connect().receive(invoke("single"))
    world.pool(1).refuse()
    assert len(world.reports) == 2


# --- failures of the container


def error_of(world: World, raw: bytes, name: str = "single") -> dict[str, object]:
    reply = Reply(world.call(invoke(name), (1, raw)))
    assert reply.status == 424
    assert reply.headers["x-amzn-errortype"] == "ModelError"
    return reply.error


def test_a_client_error_of_the_container_is_a_model_error_in_sagemaker_s_words(world: World) -> None:
    """All members, and the whole text."""
    error = error_of(world, answer(b'bad "input"', "400 Bad Request"))
    assert error == {
        "ErrorCode": "CLIENT_ERROR_FROM_MODEL",
        "LogStreamArn": f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:/aws/sagemaker/Endpoints/single",
        "Message": f'Received client error (400) from primary with message "bad "input"". {SEE}',
        "OriginalMessage": 'bad "input"',
        "OriginalStatusCode": 400,
    }


@pytest.mark.parametrize("status", ["500 Internal Server Error", "503 Unavailable", "302 Found", "599 Odd"])
def test_any_other_status_is_a_server_error(world: World, status: str) -> None:
    """5xx, and what is no answer to an invocation."""
    error = error_of(world, answer(b"x", status))
    number = int(status[:3])
    assert error["ErrorCode"] == "INTERNAL_FAILURE_FROM_MODEL"
    assert error["OriginalStatusCode"] == number
    assert error["Message"] == f'Received server error ({number}) from primary with message "x". {SEE}'


def test_a_long_error_is_cut_at_2048_characters(world: World) -> None:
    """Characters, not bytes."""
    error = error_of(world, answer("ä".encode() * 3000, "500 Error"))
    assert error["OriginalMessage"] == "ä" * 2048


def test_an_endless_error_is_read_no_further_than_needed(world: World) -> None:
    """And its connection is closed; the text may end within a character."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(b"HTTP/1.1 500 Error\r\nContent-Length: 1000000000\r\n\r\n")
    while not container.is_closing():
        container.receive("ä".encode() * 1000 + b"\xc3")
        container.receive(b"\xa4") if not container.is_closing() else None
    assert Reply(client.take()).error["OriginalMessage"] == "ä" * 2048


def test_an_error_that_is_no_text_could_not_be_loaded(world: World) -> None:
    """No ``with message``."""
    error = error_of(world, answer(b"\xff\xfe\x00", "413 Too Large"))
    assert error["Message"] == (
        f"Received client error (413) from primary and could not load the entire response body. {SEE}"
    )
    assert error["OriginalStatusCode"] == 413


def test_an_error_that_breaks_off_could_not_be_loaded(world: World) -> None:
    """The status is known all the same."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(answer(b"abcdef", "500 Error")[:-3])
    container.hang_up()
    assert "(500) from primary and could not load the entire response body" in str(
        Reply(client.take()).error["Message"]
    )


MALFORMED = {
    "no HTTP": b"nonsense\r\n\r\n",
    "TLS": b"\x15\x03\x01\x00\x02\x02\x16",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "length and chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bare line feeds": OK.replace(b"\r\n", b"\n"),
    "a folded header": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nhi",
    "a header that would add one": b"HTTP/1.1 200 OK\r\nContent-Type: a\rX: y\r\nContent-Length: 2\r\n\r\nhi",
    "NUL": b"HTTP/1.1 200 OK\r\nContent-Type: a\x00b\r\nContent-Length: 2\r\n\r\nhi",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
    "a status too small": b"HTTP/1.1 99 Odd\r\nContent-Length: 0\r\n\r\n",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"".join(b"A%d: b\r\n" % n for n in range(101)) + b"\r\n",
    "a head too long": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 66_000 + b"\r\n\r\n",
    "an endless head": b"HTTP/1.1 200 OK\r\nA: " + b"a" * 66_000,
    "a bad chunk": b"HTTP/1.1 500 Error\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_an_answer_that_is_not_http_is_no_answer(world: World, case: str) -> None:
    """The text for no answer; its connection is closed; control hears why."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(MALFORMED[case])
    reply = Reply(client.take())
    assert reply.status == 424
    if case != "a bad chunk":
        assert reply.error["OriginalMessage"] == NO_ANSWER
        assert reply.error["OriginalStatusCode"] == 0
        assert reply.error["Message"] == f'Received server error (0) from primary with message "{NO_ANSWER}". {SEE}'
    assert container.aborted
    assert "malformed" in world.reports[0][2]


def test_an_answer_that_breaks_off_after_its_head_breaks_the_client_s_too(world: World) -> None:
    """200 is out and cannot be taken back: the connection ends before the length is reached."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(answer(b"abcdef")[:-3])
    container.hang_up()
    assert Reply(client.take()).body == b"abc"
    assert client.aborted


def test_an_answer_in_chunks_that_breaks_off_has_no_last_chunk(world: World) -> None:
    """So that nobody takes the part for the whole."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(CHUNKED[: CHUNKED.index(b"5\r\n")])
    container.receive(b"zzz\r\n")
    assert Reply(client.take()).body == b"3\r\nabc\r\n"
    assert client.aborted


# --- time


def test_a_call_that_takes_too_long_fails_with_sagemaker_s_words(world: World) -> None:
    """Status 0; the container's connection is closed."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    world.loop.advance(59.9)
    assert client.take() == b""
    world.loop.advance(0.2)
    error = Reply(client.take()).error
    said = (
        "Your invocation timed out while waiting for a response from container primary. Review the latency metrics for "
        "each container in Amazon CloudWatch, resolve the issue, and try again."
    )
    assert error["Message"] == f'Received server error (0) from primary with message "{said}". {SEE}'
    assert (error["OriginalMessage"], error["OriginalStatusCode"]) == (said, 0)
    assert error["ErrorCode"] == "INTERNAL_FAILURE_FROM_MODEL"
    assert container.aborted
    assert world.gateway.index.instances["i1"].outstanding == 0
    client.receive(invoke("single"))
    world.pool(1).accept().receive(OK)
    assert Reply(client.take()).status == 200


def test_a_call_that_waits_for_a_connection_has_no_more_time(world: World) -> None:
    """What comes of the connection then is nobody's."""
    client = world.connect()
    client.receive(invoke("single"))
    world.loop.advance(61)
    assert Reply(client.take()).status == 424
    world.pool(1).refuse()
    assert client.take() == b""


def test_an_answer_that_takes_too_long_to_end_is_broken_off(world: World) -> None:
    """The deadline is for the whole call."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    container.receive(OK[:-1])
    world.loop.advance(61)
    assert client.aborted
    assert container.aborted


def test_many_calls_share_one_timer(world: World) -> None:
    """And each has its own deadline."""
    clients = []
    for _ in range(10):
        client = world.connect()
        client.receive(invoke("single"))
        clients.append(client)
        world.loop.advance(5)
        assert len(world.loop.timers) == 1
    world.loop.advance(16)
    assert [bool(client.take()) for client in clients] == [True] + [True] + [False] * 8
    world.loop.advance(100)
    assert all(client.take() for client in clients[2:])
    assert not world.loop.timers


# --- serial


def test_a_chain_feeds_each_answer_to_the_next_container(world: World) -> None:
    """Body and Content-Type verbatim; the client's Accept is for the last one only; the last answer is the answer."""
    client = world.connect()
    client.receive(invoke("serial", b"0", Content_Type="text/csv", Accept="application/json"))
    first = world.pool(21).accept()
    assert first.take() == (
        b"POST /invocations HTTP/1.1\r\nHost: one:21\r\nContent-Type: text/csv\r\nAccept: */*\r\n"
        b"Content-Length: 1\r\n\r\n0"
    )
    first.receive(answer(b"01", Content_Type="text/csv; charset=utf-8"))
    second = world.pool(22).accept()
    assert second.take() == (
        b"POST /invocations HTTP/1.1\r\nHost: two:22\r\nContent-Type: text/csv; charset=utf-8\r\nAccept: */*\r\n"
        b"Content-Length: 2\r\n\r\n01"
    )
    second.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n0\r\n2\r\n12\r\n0\r\n\r\n")
    third = world.pool(23).accept()
    assert third.take() == (
        b"POST /invocations HTTP/1.1\r\nHost: three:23\r\nContent-Type: application/octet-stream\r\n"
        b"Accept: application/json\r\nContent-Length: 3\r\n\r\n012"
    )
    third.receive(answer(b"0123", Content_Type="application/json"))
    reply = Reply(client.take())
    assert (reply.status, reply.body, reply.headers["content-type"]) == (200, b"0123", "application/json")
    assert all(len(world.pool(port).idle) == 1 for port in (21, 22, 23))


def test_custom_attributes_go_along_until_a_container_sets_its_own(world: World) -> None:
    """Which then go to the next, and to the client unless a later one sets its own."""
    mine, its = "X-Amzn-SageMaker-Custom-Attributes: mine", "X-Amzn-SageMaker-Custom-Attributes: its"
    client = world.connect()
    client.receive(invoke("serial", X_Amzn_SageMaker_Custom_Attributes="mine", X_Amzn_SageMaker_Inference_Id="7"))
    first = world.pool(21).accept()
    assert mine in (seen := first.take().decode())
    assert "Inference-Id: 7" in seen
    first.receive(OK)
    second = world.pool(22).accept()
    assert mine in second.take().decode()
    second.receive(answer(X_Amzn_SageMaker_Custom_Attributes="its"))
    third = world.pool(23).accept()
    assert its in (seen := third.take().decode())
    assert mine not in seen
    assert "Inference-Id: 7" in seen
    third.receive(OK)
    assert Reply(client.take()).headers["x-amzn-sagemaker-custom-attributes"] == "its"


def test_a_chain_without_attributes_from_containers_returns_none(world: World) -> None:
    """The client's own are not an answer."""
    request = invoke("serial", X_Amzn_SageMaker_Custom_Attributes="mine")
    reply = Reply(world.call(request, (21, OK), (22, OK), (23, OK)))
    assert reply.status == 200
    assert "x-amzn-sagemaker-custom-attributes" not in reply.headers


def test_a_failing_stage_is_named_and_later_ones_are_not_called(world: World) -> None:
    """By its host name, where a single container is ``primary``."""
    reply = Reply(world.call(invoke("serial"), (21, OK), (22, answer(b"no", "500 Error"))))
    assert reply.status == 424
    assert str(reply.error["Message"]).startswith('Received server error (500) from two with message "no". See')
    assert not world.pool(23).users
    assert world.gateway.index.instances["i3"].outstanding == 0


def test_a_stage_that_breaks_off_in_its_answer_fails_the_call(world: World) -> None:
    """Nothing was passed on, so it is an ordinary error; its part is not given to the next."""
    client = world.connect()
    client.receive(invoke("serial"))
    first = world.pool(21).accept()
    first.receive(answer(b"abcdef")[:-1])
    first.hang_up()
    reply = Reply(client.take())
    assert reply.status == 424
    assert "Received server error (0) from one with message" in str(reply.error["Message"])
    assert not world.pool(22).users
    assert world.reports == [("i3", "one", "connection closed")]


def test_a_stage_that_answers_too_much_fails_the_call() -> None:
    """Both containers, the size and the limit are named."""
    world = World(serial(), max_body_bytes=10)
    reply = Reply(world.call(invoke("serial"), (21, answer(b"a" * 11))))
    assert reply.status == 424
    assert str(reply.error["Message"]).startswith(
        "Received response from one with status code 200. However, the request payload from one to two is 11 bytes, "
        "which has exceeded the maximum limit of 10 bytes. See"
    )


def test_one_deadline_covers_all_stages_and_names_the_one_that_is_waited_for(world: World) -> None:
    """Time that the first took is missing for the second."""
    client = world.connect()
    client.receive(invoke("serial"))
    first = world.pool(21).accept()
    world.loop.advance(40)
    first.receive(OK)
    second = world.pool(22).accept()
    world.loop.advance(25)
    assert "timed out while waiting for a response from container two" in str(Reply(client.take()).error["Message"])
    assert second.aborted


def test_a_chain_goes_on_in_another_instance_when_a_stage_refuses() -> None:
    """The stage has not seen its request; those before are not asked twice."""
    world = World(serial("serial", instance("i4", 31, 32, 33)))
    client = world.connect()
    client.receive(invoke("serial"))
    world.pool(21).accept().receive(OK)
    world.pool(22).refuse()
    assert not world.pool(31).users
    world.pool(32).accept().receive(OK)
    assert world.gateway.index.instances["i3"].outstanding == 0
    assert world.gateway.index.instances["i4"].outstanding == 1
    world.pool(33).accept().receive(OK)
    assert Reply(client.take()).status == 200
    assert world.gateway.index.instances["i4"].outstanding == 0


@pytest.mark.parametrize("stage", [0, 1, 2])
def test_a_client_that_goes_stops_the_chain_where_it_is(world: World, stage: int) -> None:
    """Its connection is closed, the following containers are not called."""
    client = world.connect()
    client.receive(invoke("serial"))
    for port in range(21, 21 + stage):
        world.pool(port).accept().receive(OK)
    container = world.pool(21 + stage).accept()
    client.hang_up()
    assert container.aborted
    assert all(len(world.pool(port).idle) == 1 for port in range(21, 21 + stage))
    assert all(not world.pool(port).users for port in (21, 22, 23))
    assert world.gateway.index.instances["i3"].outstanding == 0


def test_texts_name_the_console_of_the_partition() -> None:
    """China and GovCloud have their own."""
    world = World(endpoint("cn", variant(instance("i", 1)), region="cn-north-1"))
    scope = "AWS4-HMAC-SHA256 Credential=AK/20260101/cn-north-1/sagemaker/aws4_request, SignedHeaders=host, Signature=0"
    reply = Reply(world.call(invoke("cn", Authorization=scope), (1, answer(b"x", "500 Error"))))
    assert "https://cn-north-1.console.amazonaws.cn/cloudwatch/" in str(reply.error["Message"])
    assert str(reply.error["LogStreamArn"]).startswith("arn:aws-cn:logs:cn-north-1:")
    assert json.loads(reply.body) == reply.error
