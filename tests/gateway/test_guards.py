"""What would let one message be read as two, or a value become a header: each guard against it is shown to fire, on
bytes from clients and on bytes from containers, however they are cut into packets."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fakes import (
    OK,
    TO_CLIENTS,
    TO_CONTAINERS,
    Reply,
    World,
    answer,
    endpoint,
    instance,
    invoke,
    serial,
    single,
    variant,
)

PATH = b"/endpoints/single/invocations"
CHUNKED = b"Transfer-Encoding: chunked"
CONTROLS = [bytes([code]) for code in (*range(32), 127) if code not in b"\t\r\n"]


@pytest.fixture
def world() -> World:
    return World(single(), serial())


def head(*lines: bytes, first: bytes = b"POST " + PATH + b" HTTP/1.1") -> bytes:
    return b"\r\n".join([first, b"Host: h", *lines, b"", b""])


def chunks(body: bytes) -> bytes:
    return head(CHUNKED) + body


# --- requests

REFUSED = {
    # Lengths
    "a length in hexadecimal": head(b"Content-Length: 0x3") + b"abc",
    "a length with a point": head(b"Content-Length: 3.0") + b"abc",
    "a length with a gap": head(b"Content-Length: 3 3") + b"abc",
    "a length that overflows 64 bits": head(b"Content-Length: 18446744073709551619") + b"abc",
    "two lengths in two spellings": head(b"Content-Length: 3", b"content-length: 3") + b"abc",
    # Codings
    "chunked, then another coding": head(b"Transfer-Encoding: chunked, identity") + b"0\r\n\r\n",
    "no coding": head(b"Transfer-Encoding: identity"),
    "an empty coding": head(b"Transfer-Encoding: "),
    "a coding that only ends like chunked": head(b"Transfer-Encoding: xchunked") + b"0\r\n\r\n",
    "chunked in quotes": head(b'Transfer-Encoding: "chunked"') + b"0\r\n\r\n",
    "chunked after a vertical tab": head(b"Transfer-Encoding: \x0bchunked") + b"0\r\n\r\n",
    "chunked with a blank before the colon": head(b"Transfer-Encoding : chunked") + b"0\r\n\r\n",
    "chunked, folded": head(CHUNKED, b" , identity") + b"0\r\n\r\n",
    # Chunks
    "a chunk size with 0x": chunks(b"0x3\r\nabc\r\n0\r\n\r\n"),
    "a negative chunk size": chunks(b"-3\r\nabc\r\n0\r\n\r\n"),
    "a signed chunk size": chunks(b"+3\r\nabc\r\n0\r\n\r\n"),
    "a blank before a chunk size": chunks(b" 3\r\nabc\r\n0\r\n\r\n"),
    "a blank after a chunk size": chunks(b"3 \r\nabc\r\n0\r\n\r\n"),
    "an empty chunk size": chunks(b"\r\nabc\r\n0\r\n\r\n"),
    "a chunk longer than its size": chunks(b"3\r\nabcd\r\n0\r\n\r\n"),
    "a chunk without its line end": chunks(b"3\r\nabc0\r\n\r\n"),
    "a bare line feed after a chunk": chunks(b"3\r\nabc\n0\r\n\r\n"),
    "a bare line feed after a chunk size": chunks(b"3\nabc\r\n0\r\n\r\n"),
    "a bare line feed at the end": chunks(b"3\r\nabc\r\n0\r\n\n"),
    "a bare line feed in a chunk extension": chunks(b"3;a=b\nX\r\nabc\r\n0\r\n\r\n"),
    "a bare carriage return in a chunk extension": chunks(b"3;a=b\rX\r\nabc\r\n0\r\n\r\n"),
    "NUL in a chunk extension": chunks(b"3;a=\0\r\nabc\r\n0\r\n\r\n"),
    # Trailers
    "a bare line feed in a trailer": chunks(b"0\r\nA: b\n\r\n"),
    "NUL in a trailer": chunks(b"0\r\nA: b\0\r\n\r\n"),
    "a folded trailer": chunks(b"0\r\nA: b\r\n c\r\n\r\n"),
    "a length in a trailer": chunks(b"0\r\nContent-Length: 3\r\n\r\n"),
    "a coding in a trailer": chunks(b"0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    # Lines
    "carriage returns alone": head(b"Content-Length: 0").replace(b"\r\n", b"\r"),
    "line ends the wrong way round": head(b"Content-Length: 0").replace(b"\r\n", b"\n\r"),
    "a value that ends in a carriage return": head(b"A: b\r", b"Content-Length: 0"),
    "a header folded by a tab": head(b"A: b", b"\tc", b"Content-Length: 0"),
    "a name that is not ASCII": head(b"A\xff: b", b"Content-Length: 0"),
    "a name with brackets": head(b"A(b): c", b"Content-Length: 0"),
    "a blank before the method": b" " + head(b"Content-Length: 0"),
    "a tab after the method": head(first=b"POST\t" + PATH + b" HTTP/1.1"),
    "a blank after the version": head(first=b"POST " + PATH + b" HTTP/1.1 "),
    "a version in lower case": head(first=b"POST " + PATH + b" http/1.1"),
    "HTTP/1.2": head(first=b"POST " + PATH + b" HTTP/1.2"),
    "HTTP/1.10": head(first=b"POST " + PATH + b" HTTP/1.10"),
    "HTTP/2 without an upgrade": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a blank in the target": head(first=b"POST /endpoints/a b/invocations HTTP/1.1"),
    "a carriage return in the target": head(first=b"POST /endpoints/a\rb/invocations HTTP/1.1"),
    "NUL in the target": head(first=b"POST /endpoints/a\0b/invocations HTTP/1.1"),
    "a target that is not ASCII": head(first=b"POST /endpoints/a\xffb/invocations HTTP/1.1"),
}
REFUSED |= {f"{code!r} in a value": head(b"A: b" + code + b"c", b"Content-Length: 0") for code in CONTROLS}
REFUSED |= {f"{code!r} in a name": head(b"A" + code + b"b: c", b"Content-Length: 0") for code in CONTROLS}


def packets(data: bytes, step: int) -> list[bytes]:
    return [data[at : at + step] for at in range(0, len(data), step)]


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize("case", REFUSED)
def test_a_request_that_could_be_read_in_two_ways_is_read_in_none(world: World, case: str, step: int) -> None:
    """400, the connection ends, no container sees any of it, nor anything that comes after."""
    client = world.connect()
    for packet in packets(REFUSED[case] + invoke("single"), step):
        client.receive(packet)
    reply = Reply(client.take())
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (400, "MalformedHttpRequestException")
    assert reply.headers["connection"] == "close"
    assert client.wrote_eof
    assert not world.control.users
    assert not any(pool.users or pool.upstreams for pool in world.pools.values())


SERVED = {
    "line ends before the request": (b"\r\n\r\n" + invoke("single", b"abc"), b"abc"),
    "blanks around the coding": (head(b"Transfer-Encoding:  chunked  ") + b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "a length with blanks and zeros": (head(b"Content-Length: \t0003  ") + b"abc", b"abc"),
    "a chunk size with zeros and capitals": (chunks(b"000A\r\nabcdefghij\r\n0\r\n\r\n"), b"abcdefghij"),
    "a chunk extension": (chunks(b'3;a="b"\r\nabc\r\n0;c\r\n\r\n'), b"abc"),
    "a tab in a value": (head(b"A: b\tc", b"Content-Length: 3") + b"abc", b"abc"),
    "a value that is not ASCII": (head(b"A: \xc3\xa4", b"Content-Length: 3") + b"abc", b"abc"),
    "an empty value": (head(b"A:", b"Content-Length: 3") + b"abc", b"abc"),
    "a name that only looks like a coding": (
        head(b"Transfer_Encoding: chunked", b"Content-Length: 3") + b"abc",
        b"abc",
    ),
    "no length": (head(), b""),
    "a body that looks like a request": (invoke("single", invoke("nobody")), invoke("nobody")),
}


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize("case", SERVED)
def test_what_is_odd_and_clear_is_served(world: World, case: str, step: int) -> None:
    """Strict, not narrow; the container gets one request, in the plainest form."""
    raw, body = SERVED[case]
    client = world.connect()
    for packet in packets(raw, step):
        client.receive(packet)
    container = world.pool(1).accept()
    sent = container.take()
    assert sent.endswith(b"\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
    assert sent.count(b"POST ") == 1 + body.count(b"POST ")
    container.receive(OK)
    assert Reply(client.take()).body == b"hi"
    assert not client.is_closing()


# --- answers

BROKEN = {
    "a length in hexadecimal": b"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nhi",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nhi",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\nhi",
    "a length that overflows": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551618\r\n\r\nhi",
    "length, then chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks, then length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    "a coding before chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks within chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhi\r\n0\r\n\r\n",
    "a coding in another line": b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"2\r\nhi\r\n0\r\n\r\n",
    "a bare line feed": b"HTTP/1.1 200 OK\r\nContent-Type: a\nX: y\r\nContent-Length: 2\r\n\r\nhi",
    "a bare carriage return": b"HTTP/1.1 200 OK\r\nContent-Type: a\rX: y\r\nContent-Length: 2\r\n\r\nhi",
    "a folded header": b"HTTP/1.1 200 OK\r\nContent-Type: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    "a blank before a colon": b"HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nhi",
    "a line without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\nhi",
    "a name that is not ASCII": b"HTTP/1.1 200 OK\r\nA\xff: b\r\nContent-Length: 2\r\n\r\nhi",
    "no status": b"HTTP/1.1 OK\r\nContent-Length: 2\r\n\r\nhi",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "a request": invoke("single"),
    "nothing but line ends": b"\r\n" * 40_000,
}
BROKEN |= {
    f"{code!r} in a value": b"HTTP/1.1 200 OK\r\nContent-Type: a%bb\r\nContent-Length: 2\r\n\r\nhi" % code
    for code in CONTROLS
}


@pytest.mark.parametrize("step", [1, 7, 100_000])
@pytest.mark.parametrize("case", BROKEN)
def test_an_answer_that_could_be_read_in_two_ways_is_none(world: World, case: str, step: int) -> None:
    """The container is hung up on, and the client told that there is no answer."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    for packet in packets(BROKEN[case], max(step, len(BROKEN[case]) // 2000)):
        if container.is_closing():
            break
        container.receive(packet)
    reply = Reply(client.take())
    assert (reply.status, reply.error["OriginalStatusCode"]) == (424, 0)
    assert container.aborted
    assert not world.pool(1).idle
    assert not client.is_closing(), "the client's connection has done nothing wrong"


WHOLE = {
    "length": answer(b"abcdefgh", Content_Type="text/plain"),
    "chunked": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3\r\nabc\r\n5;x\r\ndefgh\r\n0\r\nA: b\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + answer(b"abcdefgh", Content_Type="text/plain"),
}


def cut_everywhere(whole: bytes) -> list[list[bytes]]:
    """In two at each byte; and into single bytes."""
    return [[whole[:cut], whole[cut:]] for cut in range(1, len(whole))] + [packets(whole, 1)]


@pytest.mark.parametrize("framing", WHOLE)
@pytest.mark.parametrize("stage", [0, 1])
def test_an_answer_in_a_chain_is_the_same_however_it_is_cut(framing: str, stage: int) -> None:
    """The next stage gets all of it, once; its connection is sound afterwards."""
    for cuts in cut_everywhere(WHOLE[framing]):
        world = World(serial())
        client = world.connect()
        client.receive(invoke("serial"))
        for number in range(stage):
            world.pool(21 + number).accept().receive(OK)
        container = world.pool(21 + stage).accept()
        for packet in cuts:
            container.receive(packet)
        following = world.pool(22 + stage)
        # It may have been called before the answer was whole.
        sent = following.accept().take()
        assert b"Content-Type: text/plain\r\n" in sent
        assert plain(sent) == b"abcdefgh", cuts
        world.busy(22 + stage).receive(OK)
        if stage == 0:
            world.pool(23).accept().receive(OK)
        assert Reply(client.take()).body == b"hi"
        assert len(world.pool(21 + stage).idle) == 1


@pytest.mark.parametrize("framing", WHOLE)
def test_an_answer_to_a_stream_is_the_same_however_it_is_cut(framing: str) -> None:
    """The frames may be others, what is in them is not."""
    for cuts in cut_everywhere(WHOLE[framing]):
        world = World(single())
        client = world.connect()
        client.receive(invoke("single", operation="invocations-response-stream"))
        container = world.pool(1).accept()
        for packet in cuts:
            container.receive(packet)
        reply = Reply(client.take())
        payloads = []
        data = dechunk(reply.body)
        while data:
            size, headers = int.from_bytes(data[:4], "big"), int.from_bytes(data[4:8], "big")
            assert b"PayloadPart" in data[12 : 12 + headers]
            payloads.append(data[12 + headers : size - 4])
            data = data[size:]
        assert b"".join(payloads) == b"abcdefgh", cuts
        assert len(world.pool(1).idle) == 1


def dechunk(data: bytes) -> bytes:
    body = b""
    while data:
        size, _, data = data.partition(b"\r\n")
        body += data[: int(size, 16)]
        data = data[int(size, 16) + 2 :]
    return body


def plain(request: bytes) -> bytes:
    """The body of a request, by length or in chunks."""
    top, _, body = request.partition(b"\r\n\r\n")
    return dechunk(body) if b"transfer-encoding: chunked" in top.lower() else body


# --- values that would be more than values

PASSED_ON = [
    b"Content-Type",
    b"Accept",
    b"X-Amzn-SageMaker-Custom-Attributes",
    b"X-Amzn-SageMaker-Inference-Id",
    b"X-Amzn-SageMaker-Session-Id",
    b"X-Amzn-SageMaker-Target-Variant",
    b"X-Amzn-SageMaker-Target-Container-Hostname",
    b"User-Agent",
]
GIVEN_BACK = [
    b"Content-Type",
    b"X-Amzn-SageMaker-Custom-Attributes",
    b"X-Amzn-SageMaker-Session-Id",
    b"X-Amzn-SageMaker-Closed-Session-Id",
    b"Server",
]
#: Bytes that begin something, among others.
VALUES = st.lists(
    st.sampled_from(
        [b"\r\n", b"\n", b"\r", b"\0", b"\r\n\r\n", b": ", b"X-Evil: 1", b"a", b";", b"\xe2\x80\xa8", b"\x85"]
    )
    | st.binary(max_size=4),
    max_size=8,
).map(b"".join)


def names(raw: bytes) -> list[bytes]:
    """The names of a head's headers, read as leniently as anybody would: any line end counts."""
    top = re.split(rb"\r\n\r\n|\n\n", raw, maxsplit=1)[0]
    return [line.split(b":")[0].strip().lower() for line in re.split(rb"\r\n|\n|\r", top)[1:]]


def check_head(raw: bytes, known: set[bytes]) -> None:
    found = names(raw)
    assert set(found) <= known, raw
    assert len(found) == len(set(found)), raw


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(PASSED_ON), value=VALUES)
def test_no_value_of_a_client_becomes_a_header_or_a_request_in_a_container(name: bytes, value: bytes) -> None:
    """It is refused, or it is what it is."""
    world = World(single())
    client = world.connect()
    client.receive(head(b"Content-Length: 3", name + b": " + value) + b"abc")
    pool = world.pool(1)
    if pool.users:
        container = pool.accept()
        sent = container.take()
        assert sent.count(b"POST /invocations HTTP/1.1\r\n") == 1
        check_head(sent, TO_CONTAINERS)
        assert b"\r\nContent-Length: 3\r\n\r\n" in sent
        assert len(sent.partition(b"\r\n\r\n")[2]) == 3
    for raw in re.split(rb"(?=HTTP/1\.1 )", client.take())[1:]:
        check_head(raw, TO_CLIENTS)


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(GIVEN_BACK), value=VALUES, is_stream=st.booleans())
def test_no_value_of_a_container_becomes_a_header_or_an_answer_for_a_client(
    name: bytes, value: bytes, is_stream: bool
) -> None:
    """It is no answer, or it is what it is; and nothing of it reaches whoever comes next."""
    world = World(single())
    client = world.connect()
    client.receive(invoke("single", operation="invocations-response-stream" if is_stream else "invocations"))
    container = world.pool(1).accept()
    container.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + name + b": " + value + b"\r\n\r\nhi")
    if not container.is_closing():
        container.hang_up()
    raw = client.take()
    assert raw.count(b"HTTP/1.1 ") == 1
    check_head(raw, TO_CLIENTS)
    assert not world.pool(1).idle


@settings(max_examples=100, deadline=None)
@given(name=st.sampled_from(GIVEN_BACK), value=VALUES)
def test_no_value_of_a_stage_becomes_a_header_or_a_request_in_the_next(name: bytes, value: bytes) -> None:
    """Types and attributes go from container to container."""
    world = World(serial())
    client = world.connect()
    client.receive(invoke("serial"))
    first = world.pool(21).accept()
    first.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + name + b": " + value + b"\r\n\r\nhi")
    if world.pool(22).users:
        sent = world.pool(22).accept().take()
        assert sent.count(b"POST /invocations HTTP/1.1\r\n") == 1
        check_head(sent, TO_CONTAINERS | {b"transfer-encoding"})
    elif not first.is_closing():
        first.hang_up()


def test_names_from_a_table_are_no_way_in_either(world: World) -> None:
    """They were checked when they were created; a table with others is not taken."""
    for evil in (
        endpoint("e", variant(instance("i", 98), mode="Direct", hostnames=("a\r\nX-Evil: 1",))),
        endpoint("e", variant(instance("i", 99), name="a\r\nX-Evil: 1")),
    ):
        with pytest.raises(ValueError, match="cannot be in a header"):
            world.publish(evil, version=2)
        assert Reply(world.call(invoke("single"), (1, OK))).status == 200


def test_an_error_repeats_a_container_s_words_in_its_body_only(world: World) -> None:
    """Where they can be anything."""
    raw = world.call(invoke("single"), (1, answer(b"\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", "500 X-Evil: 1")))
    check_head(raw, TO_CLIENTS | {b"x-amzn-errortype"})
    assert Reply(raw).error["OriginalMessage"] == "\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
