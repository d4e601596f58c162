"""Real workers, driven by a control and by containers that do what a test wants. Everything lives in one event loop's
thread, so that tests can use ordinary blocking clients."""

import asyncio
import os
import subprocess
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from gateway.fakes import ACCOUNT, REGION
from polyport.domain.access import AccessTable
from polyport.domain.routes import Address, EndpointRoute, FromWorker, InstanceRoute, Publish, RouteTable
from polyport.gateway.options import Options, command

T = TypeVar("T")
DEADLINE = 20.0


def wait_for(condition: Callable[[], T], what: str = "the condition") -> T:
    """Until it is true, or the deadline."""
    end = time.monotonic() + DEADLINE
    while not (found := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.005)
    return found


class Background:
    """An event loop in a thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(DEADLINE)

    def call(self, function: Callable[[], T]) -> T:
        async def work() -> T:
            return function()

        return self.run(work())

    def close(self) -> None:
        async def settle() -> None:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(0)

        self.run(settle())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()


Behaviour = Callable[["Visit"], Coroutine[Any, Any, None]]


class Visit:
    """One request to a container."""

    def __init__(self, head: bytes, body: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.head = head
        self.body = body
        self.reader = reader
        self.writer = writer
        self.gone = asyncio.Event()

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self, body: bytes, content_type: bytes = b"text/plain", status: bytes = b"200 OK") -> None:
        await self.say(
            b"HTTP/1.1 %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n\r\n%b" % (status, content_type, len(body), body)
        )

    async def until_gone(self) -> None:
        """Until the gateway hangs up."""
        with suppress(ConnectionError):
            assert await self.reader.read() == b""
        self.gone.set()

    def reset(self) -> None:
        self.writer.transport.abort()


async def echo(visit: Visit) -> None:
    await visit.answer(visit.body)


class FakeContainer:
    """A small HTTP server; ``behaviour`` answers each request."""

    def __init__(self, background: Background, behaviour: Behaviour = echo) -> None:
        self.background = background
        self.behaviour = behaviour
        self.visits: list[Visit] = []
        self.connections = 0
        self.open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server = background.run(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.address = Address("127.0.0.1", self.port)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
                body = await reader.readexactly(int(fields.get(b"content-length", 0)))
                visit = Visit(head, body, reader, writer)
                self.visits.append(visit)
                await self.behaviour(visit)
        self.open.discard(writer)
        writer.close()

    def hang_up(self) -> None:
        """Open connections are reset."""

        def reset() -> None:
            for writer in tuple(self.open):
                writer.transport.abort()

        self.background.call(reset)

    def refuse(self) -> None:
        """From now on nobody listens, and open connections are reset."""

        def kill() -> None:
            self._server.close()
            for writer in tuple(self.open):
                writer.transport.abort()

        self.background.call(kill)


class FakeControl:
    """The other end of the channel, and an HTTP server on the control socket."""

    def __init__(self, background: Background, folder: Path) -> None:
        self.background = background
        self.channel = str(folder / "channel")
        self.http = str(folder / "control")
        self.received: list[FromWorker] = []
        self.access = AccessTable(is_open=True, account="123456789012")
        self._table: RouteTable | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._servers: list[asyncio.Server] = []

    def listen(self) -> None:
        for path, serve in ((self.channel, self._talk), (self.http, self._answer)):
            Path(path).unlink(missing_ok=True)
            self._servers.append(self.background.run(asyncio.start_unix_server(serve, path)))

    def hang_up(self) -> None:
        """As if control were killed."""

        def close() -> None:
            for server in self._servers:
                server.close()
            for writer in tuple(self._writers):
                writer.close()

        self.background.call(close)
        self._servers.clear()
        for path in (self.channel, self.http):
            Path(path).unlink(missing_ok=True)

    def publish(self, *endpoints: EndpointRoute, version: int) -> None:
        self._table = RouteTable(version=version, access=self.access, endpoints=endpoints)

        def send() -> None:
            for writer in self._writers:
                self._send(writer)

        self.background.call(send)

    def of(self, kind: type[T]) -> list[T]:
        return [message for message in self.received if isinstance(message, kind)]

    def _send(self, writer: asyncio.StreamWriter) -> None:
        if self._table is not None:
            frame = msgspec.msgpack.encode(Publish(self._table))
            writer.write(len(frame).to_bytes(4, "big") + frame)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        self._send(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                message: FromWorker = msgspec.msgpack.decode(await reader.readexactly(size), type=FromWorker)
                self.received.append(message)
        self._writers.discard(writer)
        writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                body = b"control saw " + head.split(b"\r\n")[0]
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        self._writers.discard(writer)
        writer.close()


class Lab:
    """A folder, a loop, a control, containers and workers; `close` ends them all."""

    def __init__(self, folder: Path) -> None:
        self.background = Background()
        self.control = FakeControl(self.background, folder)
        self.control.listen()
        self.containers: list[FakeContainer] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        #: What is to be closed before all else.
        self.clients: list[Any] = []

    def container(self, behaviour: Behaviour = echo) -> FakeContainer:
        made = FakeContainer(self.background, behaviour)
        self.containers.append(made)
        return made

    def options(self, port: int, **settings: Any) -> Options:
        return Options(
            **{
                "name": f"worker-{len(self.processes)}",
                "host": "127.0.0.1",
                "port": port,
                "channel": self.control.channel,
                "control": self.control.http,
                "account": ACCOUNT,
                "region": REGION,
            }
            | settings
        )

    def start(self, port: int, **settings: Any) -> subprocess.Popen[bytes]:
        # It ends with the tests, however they end.
        options = self.options(port, parent=os.getpid(), **settings)
        process = subprocess.Popen(command(options), stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        self.control.hang_up()
        for container in self.containers:
            container.refuse()
        self.background.close()


def instance(name: str, *containers: FakeContainer) -> InstanceRoute:
    return InstanceRoute(name, tuple(container.address for container in containers))
