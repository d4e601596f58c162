"""Heads that were read before: what comes of them is exactly what the parser makes of them."""

import pytest

from gateway.fakes import OK, Reply, World, answer, direct, invoke, serial, single
from gateway.test_http import MALFORMED, PATH, head
from polyport.gateway.clients import heads


@pytest.fixture
def world() -> World:
    return World(single(), direct(), serial(), max_body_bytes=1000)


REQUESTS = {
    "plain": invoke("single", b"0123456789", Content_Type="text/csv"),
    "empty": invoke("single", b""),
    "with members": invoke(
        "direct", X_Amzn_SageMaker_Target_Container_Hostname="first", X_Amzn_SageMaker_Custom_Attributes="a=b"
    ),
    "a chain": invoke("serial", Accept="a/b"),
    "a stream": invoke("single", operation="invocations-response-stream"),
    "absolute": invoke("single", path="http://host/endpoints/single/invocations"),
    "closing": invoke("single", Connection="close"),
    "signed": invoke("single", Authorization="AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/sagemaker/aws4_request"),
    "expecting": invoke("single", Expect="100-continue"),
    "HTTP/1.0": b"POST " + PATH + b" HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}",
    "in chunks": head(b"Transfer-Encoding: chunked") + b"3\r\nabc\r\n0\r\n\r\n",
    "line ends before": b"\r\n\r\n" + invoke("single"),
    "two": invoke("single", b"first") + invoke("single", b"second"),
    "in a trace": invoke("serial", traceparent=f"00-{'a' * 32}-{'b' * 16}-01", Tracestate="c=d"),
    "unknown": invoke("nobody"),
    "constraint broken": invoke("single", X_Amzn_SageMaker_Inference_Id="x" * 65),
}
ANSWERS = {
    "plain": answer(b"0123456789", Content_Type="text/csv"),
    "empty": answer(b""),
    "with attributes": answer(X_Amzn_SageMaker_Custom_Attributes="c=d"),
    "with a session": answer(X_Amzn_SageMaker_Session_Id="s; Expires=2030-01-01T00:00:00Z"),
    "an error": answer(b"no", "500 Oops"),
    "closing": answer(Connection="close"),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "in chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "too much": OK + b"x",
    "two": OK + OK,
}


def exchange(world: World, request: bytes, reply: bytes) -> tuple[list[bytes], bytes, bool, bool]:
    """What containers see, what the client gets (without what is different each time), and which sides are closed."""
    client = world.connect()
    client.receive(request)
    seen = []
    for pool in (world.pools[address] for address in sorted(world.pools, key=lambda one: one.port)):
        while pool.users or any(one not in pool.idle and not one.transport.is_closing() for one in pool.upstreams):
            container = pool.accept() if pool.users else world.busy(pool.address.port)  # type: ignore[union-attr]
            seen.append(container.take())
            container.receive(reply)
    lines = client.take().split(b"\r\n")
    changing = (b"x-amzn-RequestId", b"Date", b"Server-Timing")
    is_closed = client.is_closing() or client.wrote_eof
    if not client.is_closing():
        client.hang_up()
    kept = any(pool.idle for pool in world.pools.values())
    for pool in world.pools.values():
        for one in tuple(pool.idle):
            one.transport.hang_up()  # type: ignore[attr-defined]
    return seen, b"\r\n".join(line for line in lines if not line.startswith(changing)), is_closed, kept


@pytest.mark.parametrize("request_name", REQUESTS)
@pytest.mark.parametrize("answer_name", ANSWERS)
def test_the_second_time_all_is_as_it_was_the_first_time(world: World, request_name: str, answer_name: str) -> None:
    """Whatever was sent and answered."""
    raw, reply = REQUESTS[request_name], ANSWERS[answer_name]
    first = exchange(world, raw, reply)
    assert exchange(world, raw, reply) == first
    assert exchange(world, raw, reply) == first


@pytest.mark.parametrize("case", MALFORMED)
def test_what_was_refused_once_is_refused_again(world: World, case: str) -> None:
    """Also after the same endpoint was called well."""
    exchange(world, invoke("single", b"abc"), OK)
    first = exchange(world, MALFORMED[case], OK)
    assert Reply(first[1]).status == 400
    assert exchange(world, MALFORMED[case], OK) == first


def test_a_known_head_brings_its_own_body_and_id(world: World) -> None:
    """Only the head is remembered."""
    replies = []
    for body in (b"one", b"two", b"six"):
        client = world.connect()
        client.receive(invoke("single", body))
        container = world.busy(1) if world.pool(1).upstreams else world.pool(1).accept()
        assert container.take().endswith(b"\r\n\r\n" + body)
        container.receive(answer(body[::-1]))
        replies.append(Reply(client.take()))
    assert [reply.body for reply in replies] == [b"eno", b"owt", b"xis"]
    assert len({reply.headers["x-amzn-requestid"] for reply in replies}) == 3
    assert heads.find_request(invoke("single", b"six"))
    assert heads.find_answer(answer(b"xis"))


def test_a_known_head_with_a_body_that_is_not_whole_is_read_as_ever(world: World) -> None:
    """And so is one whose body is followed by something."""
    raw = invoke("single", b"0123456789")
    exchange(world, raw, OK)
    for cut in range(1, len(raw)):
        client = world.connect()
        client.receive(raw[:cut])
        client.receive(raw[cut:] + raw[:cut])
        client.receive(raw[cut:])
        for _ in range(2):
            container = world.pool(1).accept() if world.pool(1).users else world.busy(1)
            assert container.take().endswith(b"\r\n\r\n0123456789")
            container.receive(OK)
        assert client.take().count(b"HTTP/1.1 200 OK\r\n") == 2


def test_only_so_many_heads_are_known_and_none_that_is_long_signed_or_in_a_trace(world: World) -> None:
    """Memory is bounded, and what comes once only does not push out what comes often."""
    for number in range(heads.MOST + 10):
        exchange(world, invoke("single", Content_Type=f"a/{number}"), answer(Content_Type=f"b/{number}"))
        assert len(heads._requests) <= heads.MOST
        assert len(heads._answers) <= heads.MOST
    heads.forget()
    for raw in (REQUESTS["signed"], REQUESTS["in a trace"], invoke("single", Accept="x" * heads.LONGEST)):
        exchange(world, raw, OK)
    assert not heads._requests
    assert heads._answers
