"""`EnableNetworkIsolation`: no way out, and no way in but through Polyport."""

import asyncio
import contextlib
import http.client
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from engines.labs import ProcessLab, container_of, find, instance, run, until, until_healthy
from engines.seeing import is_gone, read_dump
from polyport.domain.instances import ContainerPhase, Instance
from polyport.engines.process import processes
from polyport.engines.process.engine import ProcessEngine
from polyport.engines.process.isolation import probe, relay
from polyport.errors import EngineError, UsageError
from polyport.settings import Settings

CONNECT = """
import json, socket
def attempt(address, kind=socket.SOCK_STREAM):
    try:
        with socket.socket(type=kind) as s:
            s.settimeout(2)
            s.connect(address)
            s.send(b'hello')
    except OSError as error:
        return error.errno or 'timeout'
    return 0
print('DUMP ' + json.dumps([attempt(('127.0.0.1', PORT)), attempt(('HOST', PORT)), attempt(('192.0.2.1', 80)),
    attempt(('192.0.2.1', 53), socket.SOCK_DGRAM), [name for _, name in socket.if_nameindex()]]), flush=True)
"""


def isolated(instance: Instance) -> Instance:
    return replace(instance, network_isolation=True)


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server of the host, on all its addresses."""
    with socket.create_server(("0.0.0.0", 0)) as made:
        yield made


def own_address() -> str:
    """An address of this machine that is not the loopback's, if it has one."""
    with socket.socket(type=socket.SOCK_DGRAM) as probing, contextlib.suppress(OSError):
        probing.connect(("192.0.2.1", 9))
        return str(probing.getsockname()[0])
    return "127.0.0.1"


def connecting(listener: socket.socket) -> dict[str, list[str]]:
    port = str(listener.getsockname()[1])
    return {"runs": [CONNECT.replace("PORT", port).replace("HOST", own_address())]}


def test_without_isolation_the_hosts_loopback_is_reached(process_lab: ProcessLab, listener: socket.socket) -> None:
    """The other side of the next test: its attempts succeed where they are allowed to."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(process_lab.container("first", **connecting(listener))))
        await until_healthy(engine)

    run(process_lab.make(), story)
    assert read_dump(process_lab)[:2] == [0, 0]


def test_an_isolated_container_reaches_nothing(sandbox_lab: ProcessLab, listener: socket.socket) -> None:
    """Neither the host's loopback nor its other addresses nor anybody else: its own loopback is all it has."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(isolated(instance(sandbox_lab.container("first", **connecting(listener)))))
        await until_healthy(engine)

    run(sandbox_lab.make(), story)
    *attempts, interfaces = read_dump(sandbox_lab)
    assert all(attempts)
    assert interfaces == ["lo"]
    listener.settimeout(0)
    with pytest.raises(BlockingIOError):
        listener.accept()


def test_an_isolated_container_answers_large_calls(sandbox_lab: ProcessLab) -> None:
    """5 MB both ways, several at a time, on kept connections too; nobody else can reach it but on the loopback."""
    body = os.urandom(5_000_000)
    answers: list[bool] = []

    def call(port: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for _ in range(2):
            connection.request("POST", "/invocations", body)
            answers.append(connection.getresponse().read() == body)
        connection.close()

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(isolated(instance(sandbox_lab.container("first", echoes=True))))
        port = container_of(await until_healthy(engine), "first").port
        await asyncio.gather(*(asyncio.to_thread(call, port) for _ in range(4)))
        if own_address() != "127.0.0.1":
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((own_address(), port), timeout=2)

    run(sandbox_lab.make(), story)
    assert answers == [True] * 8


def test_an_isolated_container_is_refused_until_it_listens(sandbox_lab: ProcessLab) -> None:
    """As without isolation: who connects to a container that is not there yet is told so, and may go elsewhere."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(isolated(instance(sandbox_lab.container("first", listens=False))))
        await until(engine, lambda states: container_of(find(states), "first").phase is ContainerPhase.RUNNING)
        for _ in range(20):
            assert (await engine.ping("i-1", "first", 1.0)).error == "refused"
            await asyncio.sleep(0.01)

    run(sandbox_lab.make(), story)


def test_isolation_outlives_restarts_of_the_container_and_of_its_relay(sandbox_lab: ProcessLab) -> None:
    """Whichever of them is killed, the address answers again; and it ends with the instance."""
    seen = {}

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(isolated(instance(sandbox_lab.container("first"))))
        before = container_of(await until_healthy(engine), "first")
        os.kill(before.pid or 0, signal.SIGKILL)
        await until(engine, lambda states: container_of(find(states), "first").restarts == 1)
        after = container_of(await until_healthy(engine), "first")
        assert (after.port, after.last_exit and after.last_exit.signal) == (before.port, signal.SIGKILL)
        supervisor = sandbox_lab.supervisor() or 0
        [found] = find_relays(supervisor)
        os.kill(found, signal.SIGKILL)
        await until_relayed(supervisor, found)
        again = container_of(await until_healthy(engine), "first")
        assert (again.pid, again.restarts) == (after.pid, 1)
        [seen["relay"]] = find_relays(supervisor)
        os.kill(supervisor, signal.SIGKILL)
        await until(engine, lambda states: container_of(find(states), "first").restarts == 2)
        await until_healthy(engine)
        assert is_gone(seen["relay"])

    run(sandbox_lab.make(), story)


async def until_relayed(supervisor: int, before: int) -> None:
    """Until there is another relay."""
    end = time.monotonic() + 10
    while set(find_relays(supervisor)) <= {before}:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


def find_relays(supervisor: int) -> list[int]:
    """The children that a supervisor forked and that are in its own session: no container, no sandbox."""
    rows = processes.read_table().values()
    session = next(row.session for row in rows if row.pid == supervisor)
    return [row.pid for row in rows if row.parent == supervisor and row.session == session and not row.ended]


def test_explain_finds_the_ports_of_an_isolated_container(sandbox_lab: ProcessLab) -> None:
    """In its own network: where it listens is what a failure reason says."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(isolated(instance(sandbox_lab.container("first", listens_on=5000))))
        end = time.monotonic() + 10
        while not (found := await engine.explain("i-1", "first")).listening:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        assert found.listening == (5000,)

    run(sandbox_lab.make(), story)


def test_isolation_is_refused_where_it_cannot_be_kept(mounts_lab: ProcessLab) -> None:
    """Never ignored: the engine says what is missing, and starts nothing. Instances without it are fine."""

    async def story(engine: ProcessEngine) -> None:
        with pytest.raises(EngineError, match=r"EnableNetworkIsolation cannot be kept here: .*bubblewrap"):
            await engine.apply(isolated(instance(mounts_lab.container("first"))))
        assert await engine.observe() == ()
        await engine.apply(instance(mounts_lab.container("first")))
        await until_healthy(engine)
        with pytest.raises(EngineError, match="EnableNetworkIsolation"):
            await engine.apply(isolated(instance(mounts_lab.container("first"))))

    run(mounts_lab.make(), story)


@pytest.mark.parametrize(
    ("wanted", "found", "level", "problem"),
    [
        ("auto", probe.Found("", "", ""), "bubblewrap", ""),
        ("auto", probe.Found("bwrap is not installed", "no", ""), "mounts", "apt install bubblewrap"),
        ("auto", probe.Found("no namespaces", "no", "no", "/bwrap"), "none", "does not work: no namespaces"),
        ("auto", probe.Found("", "no loopback", "", "/bwrap"), "bubblewrap", "does not work: no loopback"),
        ("mounts", probe.Found("", "", ""), "mounts", "the setting isolation is 'mounts'"),
        ("none", probe.Found("", "", ""), "none", "the setting isolation is 'none'"),
        ("bubblewrap", probe.Found("no namespaces", "no", ""), "", "no namespaces"),
        ("mounts", probe.Found("", "", "no mounts"), "", "no mounts"),
    ],
)
def test_the_settings_choose_from_what_works(wanted: str, found: probe.Found, level: str, problem: str) -> None:
    """The strongest that works, or exactly what is demanded; what is demanded and missing stops the server."""
    settings = Settings(isolation=wanted)  # type: ignore[arg-type]
    if not level:
        with pytest.raises(UsageError, match=problem):
            probe.choose(settings, found)
        return
    choice = probe.choose(settings, found)
    assert choice.level == level
    assert problem in choice.network_problem
    assert bool(problem) is bool(choice.network_problem)


@pytest.fixture
def relayed() -> Iterator[tuple[socket.socket, int]]:
    """A relay, in a thread, in front of a listener: the listener, and the port of the relay."""
    with socket.create_server(("127.0.0.1", 0)) as inner, socket.socket() as outer:
        outer.bind(("127.0.0.1", 0))
        made = relay.Relay(outer, inner.getsockname()[1])
        threading.Thread(target=made.run, daemon=True).start()
        port = outer.getsockname()[1]
        end = time.monotonic() + 5
        while not relay.is_listening(port):
            assert time.monotonic() < end
            time.sleep(0.005)
        yield inner, port


def test_a_relay_keeps_half_closed_connections(relayed: tuple[socket.socket, int]) -> None:
    """Who has said all that there is to say can still listen, on both sides."""
    inner, port = relayed
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client, inner.accept()[0] as server:
        server.settimeout(5)
        client.sendall(b"question")
        client.shutdown(socket.SHUT_WR)
        assert server.makefile("rb").read() == b"question"
        server.sendall(b"answer" * 100_000)
        server.shutdown(socket.SHUT_WR)
        assert client.makefile("rb").read() == b"answer" * 100_000


def test_a_relay_passes_resets_on(relayed: tuple[socket.socket, int]) -> None:
    """A connection that broke on one side breaks on the other: it is no orderly end."""
    inner, port = relayed
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client:
        server = inner.accept()[0]
        client.sendall(b"x")
        assert server.recv(1) == b"x"
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server.close()
        with pytest.raises(ConnectionResetError):
            client.recv(1)


def test_a_relay_resets_what_nobody_accepts(relayed: tuple[socket.socket, int]) -> None:
    """The container stopped listening: the client learns it at once."""
    inner, port = relayed
    inner.close()
    with (
        pytest.raises(ConnectionResetError),
        socket.create_connection(("127.0.0.1", port), timeout=5) as client,
    ):
        client.recv(1)


def test_a_relay_holds_back_who_sends_to_one_that_does_not_read(relayed: tuple[socket.socket, int]) -> None:
    """Memory is bounded: a sender waits for the reader. Then every byte arrives, in order."""
    inner, port = relayed
    data = os.urandom(1_000_000) * 30
    with socket.create_connection(("127.0.0.1", port), timeout=5) as client, inner.accept()[0] as server:
        client.setblocking(False)
        sent = 0
        with contextlib.suppress(BlockingIOError):
            for _ in range(10_000):
                sent += client.send(data[sent : sent + 65536])
                time.sleep(0.0005)
        assert sent < len(data)
        client.settimeout(20)
        sender = threading.Thread(target=lambda: (client.sendall(data[sent:]), client.shutdown(socket.SHUT_WR)))
        sender.start()
        server.settimeout(20)
        assert server.makefile("rb").read() == data
        sender.join()
