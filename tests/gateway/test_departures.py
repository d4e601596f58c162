"""Clients that leave in each phase of a call: the container hears of it at once, later stages are not called, nothing
stays behind, and the next call gets an answer of its own."""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from gateway.fakes import Reply, invoke
from gateway.sites import Site
from gateway.workers import Lab, Visit, echo, wait_for
from polyport.gateway import worker

#: Seconds in which a container must hear of it: many event-loop turns, and far below any time-out.
AT_ONCE = 1.0
HOWS = ["close", "reset", "half-close"]


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker for all: no departure may spoil it for the next."""
    lab = Lab(tmp_path_factory.mktemp("departures"))
    with worker.bind("127.0.0.1", 0) as port:
        yield Site(lab, port.getsockname()[1])
        lab.close()


@pytest.fixture
def site(grounds: Site) -> Site:
    """As if nothing had been."""
    for container in (grounds.first, grounds.second, grounds.third):
        container.behaviour = echo
        container.visits.clear()
    return grounds


def leave(client: socket.socket, how: str) -> None:
    """In one of three ways. After a half-close the socket still reads, as if there were something to wait for."""
    if how == "half-close":
        client.shutdown(socket.SHUT_WR)
        return
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()


def check_told(visit: Visit, since: float) -> None:
    wait_for(visit.gone.is_set, "the container to be told")
    assert time.monotonic() - since < AT_ONCE


async def hold(visit: Visit) -> None:
    await visit.until_gone()


async def begin(visit: Visit) -> None:
    await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nabc")
    await visit.until_gone()


CALLS = {
    "single": invoke("single"),
    "direct": invoke("direct", X_Amzn_SageMaker_Target_Container_Hostname="first"),
    "serial": invoke("serial"),
    "stream": invoke("single", operation="invocations-response-stream"),
    "stream of a chain": invoke("serial", operation="invocations-response-stream"),
}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("part", ["nothing", "half a line", "half a head", "a head", "half a body", "half a chunk"])
def test_a_client_that_leaves_in_its_request_is_as_if_it_had_not_come(site: Site, part: str, how: str) -> None:
    """No container sees a request that is not whole as if it were; the connection is closed."""
    request = invoke("single", b"0123456789")
    chunks = request.replace(b"Content-Length: 10\r\n", b"Transfer-Encoding: chunked\r\n").replace(
        b"0123", b"a\r\n0123"
    )
    sent = {
        "nothing": b"",
        "half a line": request[:20],
        "half a head": request[: request.index(b"Content")],
        "a head": request[: request.index(b"0123")],
        "half a body": request[:-5],
        "half a chunk": chunks[:-5],
    }[part]
    with site.connect() as client:
        client.sendall(sent)
        time.sleep(0.01)
        leave(client, how)
        if how == "half-close":
            assert client.recv(1000) == b"", "nothing is answered to nobody"
    assert site.raw(invoke("single", b"next")).body == b"next"
    assert [visit.body for visit in site.first.visits] == [b"next"]


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("call", CALLS)
def test_a_client_that_leaves_while_it_waits_ends_the_call(site: Site, call: str, how: str) -> None:
    """The container's connection is closed, at once, and not used again."""
    site.first.behaviour = hold
    with site.connect() as client:
        client.sendall(CALLS[call])
        visit = site.visited(site.first)
        since = time.monotonic()
        leave(client, how)
        check_told(visit, since)
    site.first.behaviour = echo
    assert site.raw(CALLS[call]).status == 200
    assert len(site.first.visits) == 2


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("stage", [0, 1, 2])
@pytest.mark.parametrize("behaviour", [hold, begin], ids=["waiting", "mid-answer"])
def test_a_client_that_leaves_a_chain_ends_it_where_it_is(site: Site, stage: int, behaviour: object, how: str) -> None:
    """Later stages are not called."""
    containers = [site.first, site.second, site.third]
    containers[stage].behaviour = hold if behaviour is hold else begin
    with site.connect() as client:
        client.sendall(CALLS["serial"])
        visit = site.visited(containers[stage])
        since = time.monotonic()
        leave(client, how)
        check_told(visit, since)
    assert not any(container.visits for container in containers[stage + 1 :])
    containers[stage].behaviour = echo
    assert site.raw(CALLS["serial"]).body == b"{}"


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("call", ["single", "stream"])
def test_a_client_that_leaves_in_its_answer_ends_it(site: Site, call: str, how: str) -> None:
    """The rest is not waited for."""
    site.first.behaviour = begin
    with site.connect() as client:
        client.sendall(CALLS[call])
        data = b""
        while b"abc" not in data:
            data += client.recv(65536)
        since = time.monotonic()
        leave(client, how)
        check_told(site.first.visits[0], since)
    site.first.behaviour = echo
    assert site.raw(CALLS[call]).status == 200


@pytest.mark.parametrize("how", ["close", "reset"])
def test_a_client_that_stops_reading_and_leaves_ends_the_answer_too(site: Site, how: str) -> None:
    """Also when the container's connection is not being read, because the client took no more."""

    async def pour(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % 2**30)
        try:
            while True:
                await asyncio.wait_for(visit.say(bytes(2**16)), 0.3)
        except TimeoutError:
            stuck.append(True)
            visit.writer.transport.set_write_buffer_limits(0)
            try:
                await visit.writer.drain()
            except ConnectionError:
                visit.gone.set()

    stuck: list[bool] = []
    site.first.behaviour = pour
    with site.connect() as client:
        client.sendall(invoke("single"))
        wait_for(lambda: stuck, "the client's slowness to reach the container")
        since = time.monotonic()
        leave(client, how)
        check_told(site.first.visits[0], since)
    site.first.behaviour = echo
    assert site.raw(invoke("single", b"next")).body == b"next"


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("more", [1, 30])
def test_a_client_that_leaves_with_requests_in_line_ends_the_first_and_the_others_do_not_come(
    site: Site, more: int, how: str
) -> None:
    """What waits in line is not served to nobody."""
    site.first.behaviour = hold
    with site.connect() as client:
        client.sendall(invoke("single", b"first") + b"".join(invoke("single", b"%d" % n) for n in range(more)))
        visit = site.visited(site.first)
        since = time.monotonic()
        leave(client, how)
        check_told(visit, since)
    site.first.behaviour = echo
    assert site.raw(invoke("single", b"next")).body == b"next"
    assert [visit.body for visit in site.first.visits] == [b"first", b"next"]


@pytest.mark.parametrize("how", HOWS)
def test_a_client_that_leaves_between_two_requests_is_forgotten(site: Site, how: str) -> None:
    """Its connection is closed; the container's goes on, for others."""
    with site.connect() as client:
        client.sendall(invoke("single", b"one"))
        assert Reply(client.recv(65536)).body == b"one"
        connections = site.first.connections
        leave(client, how)
        if how == "half-close":
            assert client.recv(1000) == b""
    assert site.raw(invoke("single", b"two")).body == b"two"
    assert site.first.connections == connections


@pytest.mark.parametrize("how", HOWS)
def test_a_client_that_leaves_while_its_container_is_being_connected_leaves_nothing(site: Site, how: str) -> None:
    """Whatever comes first: nothing is sent for nobody, or it is broken off."""
    for _ in range(30):
        site.first.hang_up()
        with site.connect() as client:
            client.sendall(invoke("single", b"gone"))
            leave(client, how)
    site.first.hang_up()
    assert site.raw(invoke("single", b"next")).body == b"next"


def test_all_that_left_nothing_in_flight(site: Site) -> None:
    """Runs last: a table without the instances finds none of them busy."""
    assert site.is_quiet()
