"""Faults while a large body is under way, that is, while client and container are busy at the same time: whoever of the
two ends, the other hears of it, and half a request is never taken for a whole one."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gateway.fakes import Reply, invoke
from gateway.sites import Site
from gateway.workers import FakeContainer, Lab, Visit, echo, wait_for
from polyport.gateway import worker
from polyport.gateway.calls import inflow

MEGABYTE = 2**20
SIZE = 16 * MEGABYTE
AT_ONCE = 2.0


@pytest.fixture(scope="module")
def grounds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One worker for all."""
    lab = Lab(tmp_path_factory.mktemp("large"))
    with worker.bind("127.0.0.1", 0) as port:
        yield Site(lab, port.getsockname()[1], max_body_bytes=SIZE)
        lab.close()


@pytest.fixture
def site(grounds: Site) -> Site:
    """As if nothing had been."""
    for container in (grounds.first, grounds.second, grounds.third):
        container.behaviour = echo
        container.hang_up()
        container.visits.clear()
    wait_for(lambda: not grounds.first.open, "old connections to end")
    return grounds


CALLS = {
    "single": invoke("single", bytes(SIZE)),
    "serial": invoke("serial", bytes(SIZE)),
    "stream": invoke("single", bytes(SIZE), "invocations-response-stream"),
}
CHUNKED = invoke("single", b"").replace(b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n")


class Reader(FakeContainer):
    """Reads so many bytes of a connection, then does what it is told."""

    wanted = 0
    then = "wait"
    is_heard = False

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        got = 0
        with suppress(ConnectionError):
            while got < self.wanted and (piece := await reader.read(65536)):
                got += len(piece)
            if self.then == "reset":
                writer.transport.abort()
            elif self.then == "answer":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                # It takes no more before the answer has arrived: else the request might be whole by then.
                while not self.is_heard:  # noqa: ASYNC110  another thread's event
                    await asyncio.sleep(0.01)
            while await reader.read(65536):
                pass
        self.open.discard(writer)
        writer.close()


@pytest.fixture
def reader(site: Site) -> Iterator[Reader]:
    """In the place of the first container."""
    made = Reader(site.lab.background)
    site.lab.containers.append(made)
    honest, site.first = site.first, made
    site.publish()
    yield made
    site.first = honest
    site.publish()


def leave(client: socket.socket, how: str) -> None:
    if how == "half-close":
        client.shutdown(socket.SHUT_WR)
        return
    if how == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
    client.close()


@pytest.mark.parametrize("how", ["close", "reset", "half-close"])
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_client_that_leaves_in_a_large_body_leaves_nothing(site: Site, call: str, share: float, how: str) -> None:
    """What the container may have got of it is not whole, and its connection ends."""
    with site.connect() as client:
        client.sendall(CALLS[call][: int(SIZE * share)])
        time.sleep(0.05)
        since = time.monotonic()
        leave(client, how)
        wait_for(lambda: not site.first.open, "the container's connection to end")
        assert time.monotonic() - since < AT_ONCE
    assert not site.first.visits
    assert site.raw(invoke("serial", b"next")).body == b"next"


def send(client: socket.socket, data: bytes) -> None:
    """As much as is taken."""
    with suppress(ConnectionError, TimeoutError):
        client.sendall(data)


def receive(client: socket.socket) -> bytes:
    piece = client.recv(65536)
    assert piece, "the answer breaks off"
    return piece


def ask(site: Site, request: bytes) -> Reply:
    """The answer, while the request may still be on its way."""
    with site.connect() as client:
        sender = threading.Thread(target=send, args=(client, request))
        sender.start()
        data = bytearray()
        while b"\r\n\r\n" not in data:
            data += receive(client)
        reply = Reply(bytes(data))
        body = bytearray(reply.body)
        while "content-length" in reply.headers and len(body) < int(reply.headers["content-length"]):
            body += receive(client)
        reply.body = bytes(body)
        # It can stop sending now, and is not waited for.
        with suppress(OSError):
            client.shutdown(socket.SHUT_RDWR)
        sender.join()
        return reply


@pytest.mark.parametrize("wanted", [1, 100_000, 4 * MEGABYTE])
@pytest.mark.parametrize("call", CALLS)
def test_a_container_that_dies_in_a_large_body_is_a_model_error(
    site: Site, reader: Reader, call: str, wanted: int
) -> None:
    """The client gets the answer although it is still sending; the container is not asked twice."""
    reader.wanted, reader.then = wanted, "reset"
    reply = ask(site, CALLS[call])
    assert reply.status == 424
    assert "could not get a response" in reply.error["OriginalMessage"]
    assert reader.connections == 1
    wait_for(lambda: not reader.open, "the connection to end")


@pytest.mark.parametrize("call", ["single", "stream"])
def test_a_container_that_answers_in_a_large_body_is_heard(site: Site, reader: Reader, call: str) -> None:
    """And its connection ends: the rest of the body would be the next request."""
    reader.wanted, reader.then = 100_000, "answer"
    reply = ask(site, CALLS[call])
    assert reply.status == 200
    if call == "single":
        assert reply.body == b"hi"
    reader.is_heard = True
    wait_for(lambda: not reader.open, "the connection to end")
    reader.wanted = 1
    ask(site, invoke("single"))
    assert reader.connections == 2


class Deaf(FakeContainer):
    """Accepts, and reads nothing."""

    async def _serve(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]


def test_a_client_that_resets_while_a_container_does_not_read_is_noticed(site: Site) -> None:
    """The client is held back then; that it left is seen all the same, and its call is over. (Of a client that closes,
    the end may wait in its own kernel behind what it could not send. Then the deadline ends the call.)"""
    deaf = Deaf(site.lab.background)
    site.lab.containers.append(deaf)
    honest, site.first = site.first, deaf
    site.publish()
    with site.connect() as client:
        client.settimeout(0.5)
        send(client, CALLS["single"][: SIZE - 100])
        wait_for(lambda: deaf.open, "the call to reach the container")
        leave(client, "reset")
    wait_for(site.is_quiet, "the call to end")
    site.first = honest
    site.publish()
    assert site.raw(invoke("single", b"next")).body == b"next"


def test_a_body_in_chunks_that_grows_too_large_is_never_a_whole_request(site: Site) -> None:
    """413, whatever part of it a container may have seen."""
    chunk = b"100000\r\n" + bytes(MEGABYTE) + b"\r\n"
    reply = ask(site, CHUNKED + chunk * 16 + b"1\r\na\r\n0\r\n\r\n")
    assert reply.status == 413
    wait_for(lambda: not site.first.open, "the container's connection to end")
    assert not site.first.visits
    assert ask(site, CHUNKED + chunk * 16 + b"0\r\n\r\n").status == 200


def test_a_kept_connection_that_ended_costs_a_large_call_nothing(site: Site) -> None:
    """What was sent of the body is sent again on a new one; as much as is kept for that, which is more than one
    that has ended takes before its end is seen."""

    async def answer_and_leave(visit: Visit) -> None:
        said = b"%d" % len(visit.body)
        visit.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(said), said))
        visit.writer.close()

    site.first.behaviour = answer_and_leave
    for size in range(inflow.MOST_KEPT // 4, inflow.MOST_KEPT, inflow.MOST_KEPT // 16):
        assert ask(site, invoke("single", bytes(size))).body == b"%d" % size


def test_stages_that_die_in_a_large_body_are_named(site: Site) -> None:
    """A stage's answer may be on its way into the next one when either ends."""

    async def half(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        await visit.say(bytes(SIZE // 2))
        visit.reset()

    for container, label in ((site.first, "one"), (site.second, "two")):
        container.behaviour = half
        reply = ask(site, invoke("serial"))
        assert reply.status == 424
        assert f"from {label} " in reply.error["Message"]
        assert not site.third.visits
        container.behaviour = echo
        wait_for(lambda: not site.third.open, "later stages to be let go")
    assert ask(site, CALLS["serial"]).body == bytes(SIZE)


def test_all_that_left_nothing_in_flight(site: Site) -> None:
    """Runs last."""
    assert site.is_quiet()
