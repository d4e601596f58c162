"""The client's side of a connection: what is HTTP, what is refused, and in which order answers come."""

import uuid

import pytest

from gateway.fakes import OK, Reply, Transport, World, answer, invoke, replies, single
from polyport.gateway.clients import connection as connection_module
from polyport.gateway.clients import reader
from polyport.gateway.clients.request import MAX_HEAD

PATH = b"/endpoints/single/invocations"


@pytest.fixture
def world() -> World:
    return World(single(), max_body_bytes=1000)


def refused(world: World, data: bytes) -> Reply:
    """What a connection answers to bytes that must be refused: an error, then its end."""
    client = world.connect()
    client.receive(data)
    assert client.wrote_eof, "the connection ends"
    reply = Reply(client.take())
    assert reply.headers["connection"] == "close"
    uuid.UUID(reply.headers["x-amzn-requestid"])
    assert reply.error["Message"]
    assert not any(pool.users or pool.upstreams for pool in world.pools.values()), "no container sees any of it"
    client.hang_up()
    assert not world.gateway.connections
    return reply


def head(*lines: bytes, first: bytes = b"POST " + PATH + b" HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: h", *lines, b"", b""])


MALFORMED = {
    "both Content-Length and Transfer-Encoding": head(b"Content-Length: 3", b"Transfer-Encoding: chunked")
    + b"0\r\n\r\n",
    "both, the other way round": head(b"Transfer-Encoding: chunked", b"Content-Length: 3") + b"0\r\n\r\n",
    "two equal Content-Lengths": head(b"Content-Length: 3", b"Content-Length: 3") + b"abc",
    "two different Content-Lengths": head(b"Content-Length: 3", b"Content-Length: 4") + b"abcd",
    "a list of lengths": head(b"Content-Length: 3, 3") + b"abc",
    "a signed length": head(b"Content-Length: +3") + b"abc",
    "a negative length": head(b"Content-Length: -3") + b"abc",
    "an endless length": head(b"Content-Length: " + b"9" * 30),
    "an empty length": head(b"Content-Length: "),
    "a coding that is not chunked": head(b"Transfer-Encoding: gzip") + b"abc",
    "a coding before chunked": head(b"Transfer-Encoding: gzip, chunked") + b"0\r\n\r\n",
    "chunked twice": head(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "chunked in HTTP/1.0": b"POST " + PATH + b" HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a blank before the colon": head(b"Content-Length : 3") + b"abc",
    "a folded header": head(b"A: b", b" c"),
    "a header that begins with a blank": b"POST " + PATH + b" HTTP/1.1\r\n Host: h\r\n\r\n",
    "bare line feeds": head().replace(b"\r\n", b"\n"),
    "one bare line feed": b"POST " + PATH + b" HTTP/1.1\r\nHost: h\nA: b\r\n\r\n",
    "a bare carriage return": head(b"A: b\rC: d"),
    "NUL in a value": head(b"A: b\x00c"),
    "a control character in a value": head(b"A: b\x01c"),
    "DEL in a value": head(b"A: b\x7fc"),
    "a control character in a name": head(b"A\x01: b"),
    "an empty name": head(b": b"),
    "a line without a colon": head(b"nonsense"),
    "a control character in the target": head(first=b"POST /endpoints/a\x01b HTTP/1.1"),
    "no Host": b"POST " + PATH + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    "two Hosts": head(b"Host: other"),
    "two authorizations": head(b"Authorization: a", b"Authorization: b"),
    "two target containers": head(b"X-Amzn-SageMaker-Target-Container-Hostname: a")[:-2]
    + b"x-amzn-sagemaker-target-container-hostname: b\r\n\r\n",
    "HTTP/2": head(first=b"POST " + PATH + b" HTTP/2.0"),
    "HTTP/0.9": b"GET /\r\n\r\n",
    "another protocol": head(first=b"SETUP / RTSP/1.0"),
    "an unknown method": head(first=b"FETCH / HTTP/1.1"),
    "a method in lower case": head(first=b"post / HTTP/1.1"),
    "CONNECT": head(first=b"CONNECT h:80 HTTP/1.1"),
    "a target that is no path": head(first=b"POST nonsense HTTP/1.1"),
    "an upgrade": head(b"Connection: upgrade", b"Upgrade: websocket"),
    "a chunk size that is no number": head(b"Transfer-Encoding: chunked") + b"xyz\r\n",
    "a chunk size beyond all": head(b"Transfer-Encoding: chunked") + b"f" * 17 + b"\r\n",
    "a chunk with bare line feeds": head(b"Transfer-Encoding: chunked") + b"1\na\n0\n\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "too many headers": head(*(b"A%d: b" % number for number in range(100))),
    "a head that is too long": head(*(b"A%d: %b" % (number, b"b" * 1000) for number in range(66))),
    "one header that is too long": head(b"A: " + b"b" * MAX_HEAD),
    "a target that is too long": head(first=b"POST /" + b"a" * MAX_HEAD + b" HTTP/1.1"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_not_http_is_refused_with_400_and_the_connection_ends(world: World, case: str) -> None:
    """Conflicting lengths, folding, bare line ends, control characters, limits: 400, closed, seen by no container."""
    reply = refused(world, MALFORMED[case])
    assert reply.status == 400
    assert reply.headers["x-amzn-errortype"] == "MalformedHttpRequestException"


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_not_http_is_refused_also_when_it_comes_byte_by_byte(world: World, case: str) -> None:
    """Where packets end must not matter."""
    client = world.connect()
    for byte in MALFORMED[case]:
        if client.wrote_eof:
            break
        client.receive(bytes([byte]))
    assert Reply(client.take()).status == 400
    assert client.wrote_eof


def test_a_head_without_an_end_is_refused_once_it_is_too_long(world: World) -> None:
    """Memory for a head that does not end is bounded."""
    client = world.connect()
    client.receive(b"GET / HTTP/1.1\r\nHost: h\r\nA: ")
    sent = 0
    while not client.wrote_eof:
        client.receive(b"x" * 1000)
        sent += 1000
        assert sent < MAX_HEAD + 2000
    assert Reply(client.take()).status == 400


def test_trailers_and_chunk_extensions_without_an_end_are_refused(world: World) -> None:
    """What follows a body in chunks, or comes with its sizes, is bounded like a head."""
    for opening in (b"1\r\na\r\n0\r\nA: ", b"1;"):
        client = world.connect()
        client.receive(head(b"Transfer-Encoding: chunked") + opening)
        sent = 0
        while not client.wrote_eof:
            client.receive(b"x" * 1000)
            sent += 1000
            assert sent < MAX_HEAD + 2000
        assert Reply(client.take()).status == 400


def test_a_hundred_headers_and_64_kib_are_served(world: World) -> None:
    """The limits are as documented, not lower."""
    lines = [b"A%d: %b" % (number, b"b" * 600) for number in range(97)]
    request = head(*lines, b"Content-Length: 2") + b"{}"
    assert len(lines) + 3 == 100
    assert Reply(world.call(request, (1, OK))).status == 200


# --- bodies


@pytest.mark.parametrize("step", [1, 2, 3, 7, 10_000])
def test_a_request_is_the_same_however_it_is_cut_into_packets(world: World, step: int) -> None:
    """Fragmentation at every byte."""
    request = invoke("single", b"0123456789", Content_Type="text/csv", Accept="a/b")
    client = world.connect()
    for at in range(0, len(request), step):
        client.receive(request[at : at + step])
    container = world.pool(1).accept()
    sent = container.take()
    assert sent.startswith(b"POST /invocations HTTP/1.1\r\nHost: model.aws.local:1\r\n")
    assert sent.endswith(b"Content-Length: 10\r\n\r\n0123456789")
    container.receive(OK)
    assert Reply(client.take()).body == b"hi"


def test_a_request_cut_in_two_at_any_byte_is_the_same(world: World) -> None:
    """Each cut in turn, over one kept connection."""
    request = invoke("single", b"0123456789", Content_Type="text/csv")
    client = world.connect()
    for cut in range(1, len(request)):
        client.receive(request[:cut])
        assert client.take() == b""
        client.receive(request[cut:])
        container = world.busy(1) if world.pool(1).upstreams else world.pool(1).accept()
        assert container.take().endswith(b"0123456789")
        container.receive(OK)
        assert Reply(client.take()).status == 200
    assert len(world.pool(1).upstreams) == 1


def test_a_body_in_chunks_reaches_the_container_with_its_length(world: World) -> None:
    """Chunk sizes, extensions and trailers stay behind; so do headers hidden in trailers."""
    request = head(b"Transfer-Encoding: Chunked", b"Content-Type: a/b")
    request += b"3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nX-Amzn-SageMaker-Custom-Attributes: sneaky\r\n\r\n"
    client = world.connect()
    for byte in request:
        client.receive(bytes([byte]))
    sent = world.pool(1).accept().take()
    assert sent.endswith(b"Content-Length: 5\r\n\r\nabcde")
    assert b"sneaky" not in sent
    assert b"chunked" not in sent.lower()


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(world: World) -> None:
    """413 with the length limit, at the head already."""
    reply = refused(world, head(b"Content-Length: 1001"))
    assert reply.status == 413
    assert reply.headers["x-amzn-errortype"] == "RequestEntityTooLargeException"
    assert reply.error["Message"].startswith("HTTP content length exceeded 1000 bytes.")


def test_a_body_in_chunks_is_refused_as_soon_as_it_is_too_large(world: World) -> None:
    """Counted while it comes."""
    request = head(b"Transfer-Encoding: chunked") + b"3e8\r\n" + b"a" * 1000 + b"\r\n1\r\nb"
    assert refused(world, request).status == 413


def test_a_body_of_exactly_the_limit_is_served(world: World) -> None:
    """The limit is inclusive."""
    assert Reply(world.call(invoke("single", b"a" * 1000), (1, OK))).status == 200


def test_a_client_that_is_refused_in_the_middle_can_go_on_sending_for_a_while(world: World) -> None:
    """Closing with unread data would reset the connection, and the client would not see the answer."""
    client = world.connect()
    client.receive(head(b"Content-Length: 5000") + b"a" * 100)
    assert client.wrote_eof
    assert not client.is_closing()
    client.receive(b"a" * 4900)
    client.receive(invoke("single"))
    assert not world.pool(1).users, "nothing is served any more"
    for _ in range(connection_module.LINGER_SWEEPS):
        world.gateway.sweep()
    assert not client.aborted
    world.gateway.sweep()
    assert client.aborted


def test_a_client_that_expects_it_is_told_to_continue(world: World) -> None:
    """Expect: 100-continue, once the head is found in order."""
    client = world.connect()
    client.receive(head(b"Content-Length: 2", b"Expect: 100-continue"))
    assert client.take() == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.receive(b"{}")
    container = world.pool(1).accept()
    assert b"expect" not in container.take().lower()
    container.receive(OK)
    assert Reply(client.take()).status == 200


def test_continue_does_not_overtake_an_earlier_answer(world: World) -> None:
    """Answers, interim ones too, come in order."""
    client = world.connect()
    client.receive(invoke("single"))
    client.receive(head(b"Content-Length: 2", b"Expect: 100-continue"))
    assert client.take() == b""
    world.pool(1).accept().receive(OK)
    assert client.take().endswith(b"\r\n\r\nhiHTTP/1.1 100 Continue\r\n\r\n")
    client.receive(b"{}")
    world.busy(1).receive(OK)
    assert Reply(client.take()).status == 200


def test_a_body_too_large_gets_no_continue_but_413(world: World) -> None:
    """That is what the expectation is for."""
    assert refused(world, head(b"Content-Length: 1001", b"Expect: 100-continue")).status == 413


def test_any_other_expectation_fails(world: World) -> None:
    """417."""
    assert refused(world, head(b"Content-Length: 0", b"Expect: miracles")).status == 417


# --- order, and the end of connections


def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    """One after the other, however many came at once."""
    client = world.connect()
    client.receive(b"".join(invoke("single", b"%d" % number) for number in range(5)))
    for number in range(5):
        container = world.busy(1) if world.pool(1).upstreams else world.pool(1).accept()
        assert container.take().endswith(b"\r\n\r\n%d" % number)
        container.receive(answer(b"answer %d" % number))
    assert [reply.body for reply in replies(client.take())] == [b"answer %d" % number for number in range(5)]


@pytest.mark.parametrize(("count", "body"), [(100, b""), (30, bytes(5000))], ids=["many", "large"])
def test_a_client_that_asks_for_much_at_once_is_not_read_until_it_has_its_answers(count: int, body: bytes) -> None:
    """A few small requests wait in line, more stay in the kernel."""
    world = World(single())
    client = world.connect()
    client.receive(b"".join([invoke("single", body)] * 5))
    assert not client.paused, "else it could not be seen that it leaves"
    for _ in range(count - 5):
        client.receive(invoke("single", body))
    assert client.paused
    for number in range(count):
        assert client.paused or number == count - 1
        (world.busy(1) if number else world.pool(1).accept()).receive(OK)
    assert [reply.status for reply in replies(client.take())] == [200] * count
    assert not client.paused


def test_nothing_begins_while_the_client_does_not_take_its_answers(world: World) -> None:
    """Else whoever asks and does not read could fill the memory with answers."""
    client = world.connect()
    client.receive(b"".join([invoke("single", b"1"), invoke("nobody"), invoke("single", b"2")]))
    client.protocol.pause_writing()
    world.pool(1).accept().receive(OK)
    assert len(replies(client.take())) == 1
    client.receive(invoke("single", b"3"))
    assert client.take() == b""
    client.protocol.resume_writing()
    (refusal,) = replies(client.take())
    assert refusal.status == 400
    for number in (b"2", b"3"):
        container = world.busy(1)
        assert container.take().endswith(b"\r\n\r\n" + number)
        container.receive(OK)
    assert len(replies(client.take())) == 2
    client.protocol.resume_writing()
    assert client.take() == b""


def test_pipelined_refusals_are_answered_in_order_too(world: World) -> None:
    """Thousands of them in one packet, without recursion."""
    client = world.connect()
    client.receive(b"".join(invoke("nobody", b"") for _ in range(3000)) + invoke("single"))
    world.pool(1).accept().receive(OK)
    found = replies(client.take())
    assert [reply.status for reply in found] == [400] * 3000 + [200]
    assert len({reply.headers["x-amzn-requestid"] for reply in found}) == 3001


def test_what_comes_after_nonsense_is_not_served_and_what_came_before_is(world: World) -> None:
    """The refusal waits for its turn, and is the last."""
    client = world.connect()
    client.receive(invoke("single") + b"nonsense\r\n\r\n" + invoke("single"))
    assert client.take() == b""
    world.pool(1).accept().receive(OK)
    assert [reply.status for reply in replies(client.take())] == [200, 400]
    assert client.wrote_eof
    assert not world.pool(1).users


def test_connection_close_is_obeyed(world: World) -> None:
    """The answer says so too, and nothing after it is read."""
    client = world.connect()
    client.receive(invoke("single", Connection="close") + invoke("single"))
    world.pool(1).accept().receive(OK)
    (reply,) = replies(client.take())
    assert reply.headers["connection"] == "close"
    assert client.closed


def test_http_1_0_closes_unless_told_to_keep_alive(world: World) -> None:
    """And gets no chunks: an answer of unknown length ends with the connection."""
    plain = b"POST " + PATH + b" HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}"
    client = world.connect()
    client.receive(plain)
    world.pool(1).accept().receive(OK)
    assert Reply(client.take()).headers["connection"] == "close"
    assert client.closed

    client = world.connect()
    client.receive(plain.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"))
    world.busy(1).receive(OK)
    assert Reply(client.take()).headers["connection"] == "keep-alive"
    assert not client.closed

    client.receive(plain.replace(b"\r\n\r\n", b"\r\nConnection: keep-alive\r\n\r\n"))
    world.busy(1).receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    world.busy(1).receive(b"3\r\ndef\r\n0\r\n\r\n")
    reply = Reply(client.take())
    assert reply.body == b"abcdef"
    assert "transfer-encoding" not in reply.headers
    assert client.closed


def test_targets_in_absolute_form_and_percent_encoding_are_understood(world: World) -> None:
    """As proxies and careful clients write them."""
    for path in (
        "http://polyport:7070/endpoints/single/invocations",
        "/endpoints/s%69ngle/invocations",
        f"{PATH.decode()}?a=b",
    ):
        assert Reply(world.call(invoke("", path=path), (1, OK))).status == 200, path


def test_head_of_a_runtime_path_is_answered_without_a_body(world: World) -> None:
    """As HTTP wants it, with the length that the body would have."""
    raw = world.call(b"HEAD " + PATH + b" HTTP/1.1\r\nHost: h\r\n\r\n")
    reply = Reply(raw)
    assert reply.status == 404
    assert int(reply.headers["content-length"]) > 0
    assert reply.body == b""


@pytest.mark.parametrize(
    "request_",
    [b"HEAD / HTTP/1.1\r\n\r\n", b"HEAD / HTTP/1.1\r\nHost: h\r\nA: \0\r\n\r\n"],
    ids=["no Host", "a bad value"],
)
def test_head_that_is_refused_is_answered_without_a_body_too(world: World, request_: bytes) -> None:
    """What cannot be read otherwise was a HEAD nevertheless: its client waits for a head, and reads no body."""
    reply = Reply(world.call(request_))
    assert (reply.status, reply.headers["connection"]) == (400, "close")
    assert int(reply.headers["content-length"]) > 0
    assert reply.body == b""


def test_what_comes_after_a_head_and_is_no_request_is_told_so(world: World) -> None:
    """It is no HEAD because the request before was one."""
    raw = world.call(b"HEAD " + PATH + b" HTTP/1.1\r\nHost: h\r\n\r\nnonsense")
    assert raw.endswith(b'"}')
    assert raw.count(b"MalformedHttpRequestException") == 1


# --- slow clients


def ticks(world: World, count: int) -> None:
    for _ in range(count):
        world.gateway.sweep()


def test_an_idle_connection_is_closed_after_a_while(world: World) -> None:
    """Quietly: no request, no answer."""
    client = world.connect()
    ticks(world, connection_module.IDLE_SWEEPS)
    assert not client.closed
    ticks(world, 1)
    assert client.closed
    assert client.take() == b""


def test_a_head_that_dribbles_in_is_refused_with_408(world: World) -> None:
    """A byte now and then does not keep it alive."""
    client = world.connect()
    for byte in b"GET / HTTP/1.1\r\nHost: h\r\nA: " + b"b" * 100:
        if client.wrote_eof:
            break
        client.receive(bytes([byte]))
        ticks(world, 1)
    assert Reply(client.take()).status == 408


def test_a_body_that_stops_coming_is_refused_with_408(world: World) -> None:
    """As long as it comes, however slowly, it has its time."""
    client = world.connect()
    client.receive(head(b"Content-Length: 100"))
    for _ in range(3):
        ticks(world, reader.BODY_SWEEPS)
        client.receive(b"a")
    assert client.take() == b""
    ticks(world, reader.BODY_SWEEPS + 1)
    assert Reply(client.take()).status == 408
    assert not world.pool(1).users


def test_a_connection_that_waits_for_an_answer_is_not_idle(world: World) -> None:
    """The call has its own deadline."""
    client = world.connect()
    client.receive(invoke("single"))
    ticks(world, 1000)
    assert not client.is_closing()
    world.pool(1).accept().receive(OK)
    assert Reply(client.take()).status == 200


# --- our own mistakes


def test_a_mistake_of_ours_is_a_500_with_a_request_id_and_is_logged(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never a hang, never a stack trace for the client; the connection goes on."""
    client = world.connect()
    with monkeypatch.context() as patch:
        patch.setattr(world.gateway, "serve", lambda *_: 1 / 0)
        client.receive(invoke("single"))
    reply = Reply(client.take())
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (500, "InternalFailure")
    assert "ZeroDivisionError" in caplog.text
    assert reply.headers["x-amzn-requestid"] in caplog.text
    client.receive(invoke("single"))
    world.pool(1).accept().receive(OK)
    assert Reply(client.take()).status == 200


def test_a_mistake_of_ours_in_a_parser_callback_is_a_500_and_not_the_clients_400(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HttpParserCallbackError is a subclass of HttpParserError."""
    monkeypatch.setattr(reader, "size_of_head", lambda *_: 1 / 0)
    monkeypatch.setattr(reader, "MAX_HEAD", 10)
    client = world.connect()
    client.receive(invoke("single"))
    assert Reply(client.take()).status == 500
    assert client.wrote_eof
    assert "ZeroDivisionError" in caplog.text


def test_a_mistake_of_ours_with_an_answer_is_a_500_and_lets_the_container_go(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The exchange ends, the instance is free, the connection to the container is not used again."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    monkeypatch.setattr("polyport.gateway.calls.headers.from_container", lambda _: 1 / 0)
    container.receive(OK[:-1])
    assert Reply(client.take()).status == 500
    assert container.aborted
    assert world.gateway.index.instances["i1"].outstanding == 0
    assert "ZeroDivisionError" in caplog.text


def test_a_client_may_vanish_at_any_byte_of_its_request(world: World) -> None:
    """Nothing stays behind."""
    request = invoke("single", b"0123456789")
    for cut in range(len(request)):
        client = world.connect()
        client.receive(request[:cut]) if cut else None
        client.hang_up()
    assert not world.gateway.connections
    assert not world.pool(1).users


def test_connections_are_counted_and_forgotten(world: World) -> None:
    """The set of connections holds the open ones."""
    clients: list[Transport] = [world.connect() for _ in range(3)]
    assert len(world.gateway.connections) == 3
    for client in clients:
        client.hang_up(ConnectionResetError())
    assert not world.gateway.connections
