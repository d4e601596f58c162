"""Neither side can make a worker hold more than a bounded amount, and a slow one is not taken for a silent one."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress

import pytest

from gateway.fakes import OK, Reply, World, answer, invoke, replies, single
from gateway.sites import Site, read_all, resident_megabytes
from gateway.workers import Visit, wait_for
from polyport.gateway import worker
from polyport.gateway.clients import connection as connection_module
from polyport.gateway.clients import peers

MEGABYTE = 2**20


@pytest.fixture
def world() -> World:
    return World(single())


def ticks(world: World, count: int) -> None:
    for _ in range(count):
        world.gateway.sweep()


# --- without sockets


def test_the_last_answer_of_a_connection_is_not_cut_while_the_client_reads_it(world: World) -> None:
    """However slowly; once nothing moves for a while, it is."""
    client = world.connect()
    client.receive(invoke("single", Connection="close"))
    container = world.pool(1).accept()
    unsent = 100_000
    client.get_write_buffer_size = lambda: unsent  # type: ignore[method-assign]
    container.receive(answer(b"a" * 100_000))
    assert client.closed
    assert not client.aborted
    for unsent in range(100_000, 0, -1000):
        ticks(world, connection_module.LINGER_SWEEPS)
        assert not client.aborted, unsent
    ticks(world, connection_module.LINGER_SWEEPS + 2)
    assert client.aborted


def test_a_client_that_does_not_take_its_answer_is_not_waited_for_for_ever(world: World) -> None:
    """The answer is complete for us; the connection has the time of an idle one."""
    client = world.connect()
    client.receive(invoke("single") * 2)
    client.get_write_buffer_size = lambda: 70_000  # type: ignore[method-assign]
    client.protocol.pause_writing()
    world.pool(1).accept().receive(OK)
    ticks(world, connection_module.IDLE_SWEEPS + connection_module.LINGER_SWEEPS + 3)
    assert client.aborted
    assert len(replies(client.take())) == 1, "the second call was never made"


def test_a_large_body_goes_to_no_container_while_the_client_does_not_take_its_answers(world: World) -> None:
    """It is taken; its call begins when there is room for an answer."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    client.protocol.pause_writing()
    container.receive(OK)
    container.take()
    request = invoke("single", bytes(300_000))
    client.receive(request[:200_000])
    client.receive(request[200_000:])
    assert container.take() == b""
    client.protocol.resume_writing()
    assert container.take().endswith(bytes(300_000))
    container.receive(OK)
    assert [reply.status for reply in replies(client.take())] == [200, 200]


def test_a_client_that_leaves_while_it_is_not_read_is_noticed_within_a_second(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end waits behind what was not read; the kernel knows of it all the same."""
    client = world.connect()
    client.receive(invoke("single") * 100)
    container = world.pool(1).accept()
    assert client.paused
    ticks(world, 1)
    assert not client.aborted
    monkeypatch.setattr(peers, "has_left", lambda transport: transport is client)
    ticks(world, 1)
    assert client.aborted
    client.protocol.connection_lost(None)
    assert container.aborted
    assert world.gateway.index.instances["i1"].outstanding == 0


class Ears:
    """A transport around a socket."""

    def __init__(self, connection: socket.socket | None) -> None:
        self.connection = connection

    def get_extra_info(self, name: str) -> socket.socket | None:
        assert name == "socket"
        return self.connection

    def is_closing(self) -> bool:
        return False


@pytest.mark.parametrize("how", ["close", "half-close", "reset"])
def test_the_kernel_tells_whether_a_client_has_left_although_there_is_more_to_read(how: str) -> None:
    """All that an event loop sees of it is bytes."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
        with client, ours:
            ears = Ears(ours)
            client.sendall(b"unread")
            assert not peers.has_left(ears)  # type: ignore[arg-type]
            if how == "half-close":
                client.shutdown(socket.SHUT_WR)
            elif how == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                client.close()
            else:
                client.close()
            wait_for(lambda: peers.has_left(ears), "the kernel to know")  # type: ignore[arg-type]
        assert not peers.has_left(ears), "of a closed socket nothing is known"  # type: ignore[arg-type]


def test_a_transport_without_a_socket_has_not_left() -> None:
    """As in tests, or over another kind of connection."""
    assert not peers.has_left(Ears(None))  # type: ignore[arg-type]


# --- with sockets


@pytest.fixture
def stuck() -> Iterator[list[socket.socket]]:
    """Clients that are closed in the end."""
    made: list[socket.socket] = []
    yield made
    for client in made:
        client.close()


def send_until_blocked(client: socket.socket, data: bytes) -> int:
    """As much as goes before nobody takes more for half a second; whole messages, but for the last."""
    client.settimeout(0.5)
    sent = 0
    with suppress(TimeoutError):
        while sent < 256 * MEGABYTE:
            client.sendall(data)
            sent += len(data)
    return sent


@pytest.mark.parametrize("operation", ["invocations", "invocations-response-stream"])
def test_a_client_that_asks_and_never_reads_does_not_fill_memory_with_answers(
    site: Site, stuck: list[socket.socket], operation: str
) -> None:
    """Pipelined: a small request for a large answer, again and again. It is stopped after a few."""

    async def large(visit: Visit) -> None:
        await visit.answer(bytes(200_000))

    site.first.behaviour = large
    before = resident_megabytes(site.process.pid)
    client = site.connect()
    stuck.append(client)
    send_until_blocked(client, invoke("single", operation=operation) * 100)
    assert 0 < len(site.first.visits) < 100, "what the kernel holds, and little more"
    assert resident_megabytes(site.process.pid) - before < 20
    assert site.raw(invoke("single")).status == 200, "others are served"


def test_a_client_that_never_reads_its_refusals_does_not_fill_memory_either(
    site: Site, stuck: list[socket.socket]
) -> None:
    """They cost no container anything, and are longer than what asks for them."""
    before = resident_megabytes(site.process.pid)
    client = site.connect()
    stuck.append(client)
    sent = send_until_blocked(client, invoke("nobody", b"") * 100)
    assert sent < 64 * MEGABYTE
    assert resident_megabytes(site.process.pid) - before < 30


@pytest.mark.parametrize("operation", ["invocations", "invocations-response-stream"])
@pytest.mark.parametrize("endpoint", ["single", "serial"])
def test_a_client_that_stops_reading_stops_the_container(
    site: Site, stuck: list[socket.socket], endpoint: str, operation: str
) -> None:
    """What the client does not take stays in the container, which is held, not cut off; then it goes on."""

    async def pour(visit: Visit) -> None:
        await visit.say(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(100):
            await visit.say(b"100000\r\n" + bytes(MEGABYTE) + b"\r\n")
            poured.append(1)
        await visit.say(b"0\r\n\r\n")

    poured: list[int] = []
    (site.third if endpoint == "serial" else site.first).behaviour = pour
    client = site.connect()
    stuck.append(client)
    before = resident_megabytes(site.process.pid)
    client.sendall(invoke(endpoint, operation=operation, Connection="close"))
    wait_for(lambda: poured, "the first megabyte")
    previous = -1
    while previous != len(poured):
        previous = len(poured)
        time.sleep(0.2)
    assert len(poured) < 40
    assert resident_megabytes(site.process.pid) - before < 20
    raw = read_all(client)
    assert len(raw) >= 100 * MEGABYTE
    assert raw.endswith(b"\r\n0\r\n\r\n")
    assert len(poured) == 100


def test_a_slow_client_and_a_fast_one_do_not_wait_for_each_other(site: Site, stuck: list[socket.socket]) -> None:
    """While one does not read, calls of others take what they take."""

    async def both(visit: Visit) -> None:
        await visit.answer(bytes(20 * MEGABYTE) if visit.body == b"much" else visit.body)

    site.first.behaviour = both
    slow = site.connect()
    stuck.append(slow)
    slow.sendall(invoke("single", b"much"))
    site.visited(site.first)
    times = []
    for _ in range(50):
        started = time.monotonic()
        assert site.raw(invoke("single", b"little")).body == b"little"
        times.append(time.monotonic() - started)
    assert sorted(times)[25] < 0.05
    assert len(Reply(slow.recv(65536)).headers) > 0


def test_a_container_that_does_not_read_holds_the_client_within_bounds(site: Site, stuck: list[socket.socket]) -> None:
    """A request body is at most once in memory, and the worker serves others meanwhile."""

    class Deaf:
        """Accepts, and reads nothing."""

        def __init__(self) -> None:
            self.server = socket.create_server(("127.0.0.1", 0))
            self.address = type(site.first.address)("127.0.0.1", self.server.getsockname()[1])

    deaf = Deaf()
    honest, site.first = site.first, deaf  # type: ignore[assignment]
    try:
        site.publish()
        before = resident_megabytes(site.process.pid)
        client = site.connect()
        stuck.append(client)
        request = invoke("single", bytes(24 * MEGABYTE))
        sender = threading.Thread(target=send_until_blocked, args=(client, request))
        sender.start()
        peak = 0.0
        while sender.is_alive():
            peak = max(peak, resident_megabytes(site.process.pid) - before)
            time.sleep(0.01)
        sender.join()
        assert peak < 30, "not more than the body itself"
        assert site.raw(invoke("direct", X_Amzn_SageMaker_Target_Container_Hostname="second")).status == 200
        client.close()
        wait_for(lambda: resident_megabytes(site.process.pid) - before < 15, "the memory to be given back")
    finally:
        site.first = honest
        deaf.server.close()


def test_a_thousand_idle_clients_take_less_than_ten_megabytes(site: Site, stuck: list[socket.socket]) -> None:
    """Each has made a call, and may make another."""
    worker.allow_many_files()
    before = resident_megabytes(site.process.pid)
    for _ in range(1000):
        stuck.append(site.connect())
        stuck[-1].sendall(invoke("single", b"one"))
        assert stuck[-1].recv(65536).endswith(b"\r\n\r\none")
    assert resident_megabytes(site.process.pid) - before < 10
    for client in stuck:
        client.sendall(invoke("single", b"two"))
    for client in stuck:
        assert client.recv(65536).endswith(b"\r\n\r\ntwo")


def test_a_client_that_leaves_a_long_line_is_noticed_although_it_is_not_read(site: Site) -> None:
    """Within the second of a sweep, by what the kernel knows."""

    async def hold(visit: Visit) -> None:
        await visit.until_gone()

    site.first.behaviour = hold
    with site.connect() as client:
        client.sendall(invoke("single") * 300)
        visit = site.visited(site.first)
    wait_for(visit.gone.is_set, "the container to be told")
    assert len(site.first.visits) == 1


def test_asyncio_s_own_loop_is_understood_too() -> None:
    """Its transports wrap the socket in another way than uvloop's."""

    async def work() -> tuple[bool, bool]:
        accepted: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

        class Held(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                accepted.set_result(transport)  # type: ignore[arg-type]

        server = await asyncio.get_running_loop().create_server(Held, "127.0.0.1", 0)
        client = socket.create_connection(server.sockets[0].getsockname())
        transport = await accepted
        await asyncio.sleep(0)
        transport.pause_reading()
        client.sendall(b"unread")
        first = peers.has_left(transport)
        client.close()
        await asyncio.sleep(0.05)
        second = peers.has_left(transport)
        transport.abort()
        server.close()
        await server.wait_closed()
        return first, second

    assert asyncio.run(work()) == (False, True)
