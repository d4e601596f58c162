"""A hundred thousand calls, mixed with all that goes wrong, leave a worker as they found it."""

import asyncio
import json
import os
import random
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from gateway import fakes
from gateway.fakes import Reply, endpoint, invoke, variant
from gateway.sites import resident_megabytes
from gateway.workers import Lab, wait_for
from polyport.domain.routes import Acknowledge, EndpointRoute
from polyport.gateway import options as options_module
from polyport.gateway import worker
from polyport.gateway.clients import heads

CALLS = 100_000
#: Enough for the allocator and the pools to have their usual size.
WARM_UP = 15_000
CLIENTS = 24
#: Megabytes. A hundred bytes lost a call would be ten; the allocator's own ups and downs are below one.
TOLERANCE = 4.0

HERE = Path(__file__).parent
RESET = struct.pack("ii", 1, 0)


class Stage:
    """A watched worker, its control, and containers in another process."""

    def __init__(self, folder: Path, port: int) -> None:
        self.lab = Lab(folder)
        self.port = port
        self.crowd = subprocess.Popen(
            [sys.executable, str(HERE / "crowd.py"), "3"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert self.crowd.stdout is not None
        self.ports: list[int] = json.loads(self.crowd.stdout.readline())
        self.version = 0
        self.publish(*self.endpoints())
        arguments = options_module.command(self.lab.options(port, parent=os.getpid()))[-1]
        self.process = subprocess.Popen(
            [sys.executable, str(HERE / "watched.py"), arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        self.lab.processes.append(self.process)
        self.wait_for_table()

    def endpoints(self) -> list[EndpointRoute]:
        hostnames = ("one", "two", "three")
        return [
            endpoint("single", variant(fakes.instance(f"s{self.version}", self.ports[0]))),
            endpoint(
                "direct", variant(fakes.instance(f"d{self.version}", *self.ports), mode="Direct", hostnames=hostnames)
            ),
            endpoint(
                "serial", variant(fakes.instance(f"x{self.version}", *self.ports), mode="Serial", hostnames=hostnames)
            ),
        ]

    def publish(self, *endpoints: EndpointRoute) -> None:
        self.version += 1
        self.lab.control.publish(*endpoints, version=self.version)

    def wait_for_table(self) -> None:
        wait_for(lambda: Acknowledge(self.version) in self.lab.control.received, "the table, and nothing draining")

    def run(self, calls: int) -> dict[str, Any]:
        """So many calls, by several clients at once; then the worker's state without clients and without instances."""
        self.publish(*self.endpoints())
        self.wait_for_table()
        uvloop.run(crowd(self.port, calls))
        self.publish()
        self.wait_for_table()
        return wait_for(self.quiet, "clients and containers to be let go")

    def quiet(self) -> dict[str, Any] | None:
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGUSR1)
        state: dict[str, Any] = json.loads(self.process.stdout.readline())
        return None if state["objects"] else state

    def close(self) -> None:
        self.lab.close()
        assert self.crowd.stdin is not None
        assert self.crowd.stdout is not None
        self.crowd.stdin.close()
        self.crowd.wait()
        self.crowd.stdout.close()
        assert self.process.stdout is not None
        self.process.stdout.close()


class Client:
    """Makes calls on a connection that it renews when it must, and checks each answer."""

    def __init__(self, port: int, number: int) -> None:
        self.port = port
        self.random = random.Random(number)
        self.count = 0
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter = None  # type: ignore[assignment]

    async def send(self, data: bytes) -> asyncio.StreamReader:
        if self.reader is None:
            self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port)
        self.writer.write(data)
        return self.reader

    def leave(self) -> None:
        """Close, or reset."""
        if self.reader is None:
            return
        if self.random.random() < 0.5:
            self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.writer.close()
        self.reader = None

    async def answer(self, request: bytes) -> Reply:
        reader = await self.send(request)
        head = await reader.readuntil(b"\r\n\r\n")
        reply = Reply(head)
        if "content-length" in reply.headers:
            reply.body = await reader.readexactly(int(reply.headers["content-length"]))
        else:
            reply.body = await reader.readuntil(b"\r\n0\r\n\r\n")
        if reply.headers.get("connection") == "close":
            self.leave()
        return reply

    def words(self, first: bytes = b"ok") -> bytes:
        """A body unlike any other."""
        self.count += 1
        return b"%b %d of %d" % (first, self.count, id(self))

    async def well(self) -> None:
        body = self.words()
        reply = await self.answer(invoke("single", body))
        assert (reply.status, reply.body) == (200, body)

    async def well_by_name(self) -> None:
        body = self.words()
        reply = await self.answer(invoke("direct", body, X_Amzn_SageMaker_Target_Container_Hostname="two"))
        assert (reply.status, reply.body) == (200, body)

    async def chain(self) -> None:
        body = self.words()
        reply = await self.answer(invoke("serial", body))
        assert (reply.status, reply.body) == (200, body)

    async def stream(self) -> None:
        body = self.words(b"chunks")
        reply = await self.answer(invoke("serial", body, "invocations-response-stream"))
        assert reply.status == 200
        assert b"%d" % id(self) in reply.body.replace(b"\r\n", b"") or b"PayloadPart" in reply.body
        assert b"exception" not in reply.body

    async def chunked_answer(self) -> None:
        reply = await self.answer(invoke("single", self.words(b"chunks")))
        assert reply.status == 200

    async def big(self) -> None:
        body = self.words() + bytes(300_000)
        reply = await self.answer(invoke("serial" if self.count % 2 else "single", body))
        assert (reply.status, reply.body) == (200, body)

    async def pipelined(self) -> None:
        bodies = [self.words() for _ in range(5)]
        reader = await self.send(b"".join(invoke("single", body) for body in bodies))
        for body in bodies:
            head = await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(int(Reply(head).headers["content-length"])) == body

    async def refused(self) -> None:
        assert (await self.answer(invoke("nobody"))).status == 400

    async def malformed(self) -> None:
        assert (await self.answer(b"nonsense\r\n\r\n")).status == 400

    async def healthy(self) -> None:
        assert (await self.answer(b"GET /healthz HTTP/1.1\r\nHost: h\r\n\r\n")).status == 200

    async def model_error(self) -> None:
        word = self.random.choice([b"die", b"nonsense", b"fail"])
        # The first stage fails or breaks.
        reply = await self.answer(invoke(self.random.choice(["single", "serial"]), self.words(word)))
        assert reply.status == 424, word

    async def closing_container(self) -> None:
        body = self.words(self.random.choice([b"close", b"junk"]))
        reply = await self.answer(invoke("single", body))
        assert (reply.status, reply.body) == (200, body)

    async def broken(self) -> None:
        reader = await self.send(invoke("single", self.words(b"half")))
        try:
            reply = Reply(await reader.read())
            assert len(reply.body) < int(reply.headers["content-length"])
        except ConnectionResetError:
            pass
        self.leave()

    async def leave_somewhere(self) -> None:
        """In the head, in the body, while waiting, or in the answer."""
        request = invoke(self.random.choice(["single", "serial"]), self.words(self.random.choice([b"never", b"ok"])))
        operation = self.random.random()
        if operation < 0.5:
            request = request[: self.random.randrange(len(request))]
        elif operation < 0.6:
            request = invoke("single", self.words() + bytes(300_000))
        elif operation < 0.7:
            request = request * 3
        await self.send(request)
        if operation > 0.8:
            await asyncio.sleep(0.002)
        self.leave()


MIX: list[tuple[float, Callable[[Client], Awaitable[None]]]] = [
    (70, Client.well),
    (10, Client.well_by_name),
    (4, Client.chain),
    (2, Client.stream),
    (2, Client.chunked_answer),
    (0.5, Client.big),
    (1, Client.pipelined),
    (1, Client.refused),
    (0.5, Client.malformed),
    (0.5, Client.healthy),
    (2, Client.model_error),
    (2, Client.closing_container),
    (1, Client.broken),
    (3, Client.leave_somewhere),
]


async def crowd(port: int, calls: int) -> None:
    """All the clients at once, until so many calls were made."""
    left = iter(range(calls))

    async def work(number: int) -> None:
        client = Client(port, number)
        weights, ways = zip(*MIX, strict=True)
        for _ in left:
            (way,) = client.random.choices(ways, weights)
            await way(client)
        client.leave()

    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            group.create_task(work(number))


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with worker.bind("127.0.0.1", 0) as port:
        made = Stage(tmp_path, port.getsockname()[1])
        yield made
        made.close()


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors and memory are read from /proc")
def test_a_hundred_thousand_calls_mixed_with_faults_leave_nothing_behind(stage: Stage) -> None:
    """Descriptors and tasks are exactly what they were, no connection and no call is left, and memory is where it
    was, but for what an allocator does: all that without the help of a collector, which is off."""
    before = stage.run(WARM_UP)
    memory = resident_megabytes(stage.process.pid)
    after = stage.run(CALLS)
    assert after["descriptors"] == before["descriptors"]
    assert after["tasks"] == before["tasks"]
    assert after["requests"] <= heads.MOST, "those that are remembered for their heads"
    assert after["garbage"] == 0
    assert resident_megabytes(stage.process.pid) < memory + TOLERANCE


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are read from /proc")
def test_calls_leave_nothing_to_the_collector_and_the_start_is_none_of_its_business(stage: Stage) -> None:
    """No call, well or ill, is part of a cycle; what is there at the start is frozen, so that a collection is short."""
    state = stage.run(1500)
    assert state["garbage"] == 0
    assert state["frozen"] > 10_000
    assert state["pause"] < 0.05
