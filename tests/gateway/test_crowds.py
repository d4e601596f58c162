"""More clients than a worker takes, and fewer files than it needs."""

import asyncio
import errno
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import uvloop

from gateway.fakes import Reply, Transport, World, answer, endpoint, invoke, single, variant
from gateway.fakes import instance as instance_route
from gateway.sites import read_all
from gateway.workers import Lab, instance, wait_for
from polyport.domain.routes import Acknowledge
from polyport.gateway import worker
from polyport.gateway.clients import surplus
from polyport.gateway.containers.upstream import Pool, Upstream
from polyport.gateway.options import command


def test_a_client_too_many_is_told_to_come_again_before_it_asks() -> None:
    """Those that are there go on; when one leaves, the next is served."""
    world = World(single(), max_connections=2)
    first, second = (Transport(world.gateway.accept()) for _ in "ab")
    third = Transport(world.gateway.accept())
    reply = Reply(third.take())
    assert reply.status == 503
    assert reply.headers["x-amzn-errortype"] == "ServiceUnavailable"
    assert reply.headers["connection"] == "close"
    assert "max_connections" in reply.error["Message"]
    assert third.wrote_eof
    third.receive(invoke("single"))
    assert not world.pool(1).users
    first.receive(invoke("single"))
    world.pool(1).accept().receive(answer())
    assert Reply(first.take()).status == 200
    second.hang_up()
    assert not Transport(world.gateway.accept()).written


def test_a_client_too_many_gets_a_moment_to_read_and_no_more() -> None:
    """The worker's files are few."""
    world = World(single(), max_connections=1)
    Transport(world.gateway.accept())
    late, early = (Transport(world.gateway.accept()) for _ in "ab")
    early.hang_up()
    for _ in range(surplus.LINGER_SWEEPS):
        world.gateway.sweep()
    assert not late.aborted
    world.gateway.sweep()
    assert late.aborted


def test_of_very_many_only_some_get_that_moment() -> None:
    """So that clients too many do not take the files that those before them need."""
    world = World(single(), max_connections=1)
    transports = [Transport(world.gateway.accept()) for _ in range(surplus.MAX_LINGERING + 5)]
    assert sum(one.closed for one in transports) == 4
    assert all(one.written for one in transports[1:])


@pytest.mark.parametrize(
    ("files", "wanted", "most"),
    [(20_000, 10_000, 9_936), (100_000, 10_000, 10_000), (64, 10_000, 24), (1, 10_000, 1)],
)
def test_no_more_connections_are_taken_than_files_can_be_open(
    monkeypatch: pytest.MonkeyPatch, files: int, wanted: int, most: int
) -> None:
    """A call takes two: the client's and the container's."""
    monkeypatch.setattr(worker.resource, "getrlimit", lambda _: (files, files))
    assert worker.most_connections(wanted) == most


def test_a_container_is_not_blamed_for_files_that_are_ours() -> None:
    """Nothing is reported, the instance is not avoided, and the client may try again."""
    world = World(endpoint("e", variant(instance_route("a", 1), instance_route("b", 2))))
    client = world.connect()
    client.receive(invoke("e"))

    async def fail(_: object) -> tuple[object, Upstream]:
        raise OSError(errno.EMFILE, "Too many open files")

    asyncio.run(Pool(fail)._open(world.pool(1).users.pop()))
    reply = Reply(client.take())
    assert (reply.status, reply.headers["x-amzn-errortype"]) == (503, "ServiceUnavailable")
    assert not world.reports
    assert not world.pool(2).users
    assert all(one.outstanding == 0 and not one.avoid_until for one in world.gateway.index.instances.values())


def test_a_client_too_many_can_read_why_though_it_is_still_sending(lab: Lab, port: int) -> None:
    """On real sockets: its request is not met by a reset."""
    lab.control.publish(endpoint("e", variant(instance("i", lab.container()))), version=1)
    lab.start(port, max_connections=1)
    wait_for(lambda: lab.control.of(Acknowledge), "the table")
    with socket.create_connection(("127.0.0.1", port), 5) as first:
        first.sendall(invoke("e"))
        assert first.recv(65536).startswith(b"HTTP/1.1 200")
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port), 5) as other:
                for _ in range(10):
                    other.sendall(b"x" * 10_000)
                assert Reply(read_all(other)).status == 503
        first.sendall(invoke("e"))
        assert first.recv(65536).startswith(b"HTTP/1.1 200")
    wait_for(lambda: ask(port) == 200, "the place to be free")


def start_with_files(lab: Lab, port: int, files: int, **settings: object) -> subprocess.Popen[bytes]:
    limited = (
        f"import os, resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}));"
        "os.execv(sys.argv[1], sys.argv[1:])"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", limited, *command(lab.options(port, **settings))], stderr=subprocess.DEVNULL
    )
    lab.processes.append(process)
    return process


def crowd(port: int, count: int) -> list[socket.socket]:
    return [socket.create_connection(("127.0.0.1", port), 5) for _ in range(count)]


def ask(port: int) -> int:
    """The status of a call on a connection of its own; 0: it was closed."""
    with socket.create_connection(("127.0.0.1", port), 5) as client:
        try:
            client.sendall(invoke("e", Connection="close"))
            raw = read_all(client)
        except ConnectionError:
            return 0
    return Reply(raw).status if raw else 0


def processor_time(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_worker_that_runs_out_of_files_neither_spins_nor_stays_deaf(lab: Lab, port: int) -> None:
    """A crowd takes all it may; who is served goes on, and when the crowd leaves, newcomers are served."""
    lab.control.publish(endpoint("e", variant(instance("i", lab.container()))), version=1)
    process = start_with_files(lab, port, 64)
    wait_for(lambda: lab.control.of(Acknowledge), "the table")
    assert ask(port) == 200
    served = socket.create_connection(("127.0.0.1", port), 5)
    served.sendall(invoke("e"))
    assert served.recv(65536).startswith(b"HTTP/1.1 200")
    others = crowd(port, 300)
    before, begun = processor_time(process), time.monotonic()
    while time.monotonic() < begun + 1.5:
        served.sendall(invoke("e"))
        assert served.recv(65536).startswith(b"HTTP/1.1 200")
        time.sleep(0.05)
    assert processor_time(process) - before < 0.7, "it spins"
    assert process.poll() is None
    for client in others:
        client.close()
    wait_for(lambda: ask(port) == 200, "a newcomer to be served")
    served.close()


def test_a_worker_whose_port_was_closed_under_it_ends_to_be_started_anew(lab: Lab) -> None:
    """It would serve nobody new for ever."""
    lab.control.publish(version=1)

    async def serve() -> None:
        made = worker.Worker(lab.options(0), asyncio.get_running_loop(), (worker.bind("127.0.0.1", 0),))
        running = asyncio.create_task(made.run())
        while not made._servers:  # noqa: ASYNC110  another's doing
            await asyncio.sleep(0.01)
        # As uvloop does it.
        made._servers[0].close()
        await running

    with pytest.raises(OSError, match="too many open files"):
        uvloop.run(serve())
