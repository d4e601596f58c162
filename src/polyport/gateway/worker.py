"""The worker process: ``python -m polyport.gateway.worker OPTIONS``, options as JSON.

It opens its port once it has its first table, and is gone with its parent. SIGTERM: no new connections, calls in flight
are finished, exit status 0. SIGUSR2: the same, when another server takes over its sockets; clients with a connection
are given the time to notice.
"""

import asyncio
import ctypes
import gc
import logging
import os
import resource
import signal
import socket
import sys
from contextlib import suppress

import msgspec
import uvloop

from polyport.domain.routes import RouteTable
from polyport.errors import UsageError
from polyport.gateway import vitals
from polyport.gateway.channel import Channel
from polyport.gateway.gateway import Gateway, tcp_pool, unix_pool
from polyport.gateway.heap import Heap
from polyport.gateway.options import Options
from polyport.gateway.tls import HANDSHAKE_TIMEOUT, Certificate
from polyport.gateway.traces import tracing

log = logging.getLogger(__name__)

BACKLOG = 1024
#: Exit status when starting again would not help (EX_CONFIG).
EXIT_USAGE = 78
PR_SET_PDEATHSIG = 1
#: Open files that are no connection of an invocation.
RESERVED_FILES = 128


class Worker:
    """Puts the parts together and ends them in order. ``listeners`` are bound and do not listen yet."""

    def __init__(self, options: Options, loop: asyncio.AbstractEventLoop, listeners: tuple[socket.socket, ...]) -> None:
        self._options = options
        self._loop = loop
        self._listeners = listeners
        self._heap = Heap()
        self._certificate: Certificate | None = None
        if options.tls_cert:
            self._certificate = Certificate(options.tls_cert, options.tls_key, options.tls_client_ca)
        self._servers: list[asyncio.Server] = []
        self._is_leaving = False
        self._ticker: asyncio.TimerHandle | None = None
        #: When the next tick is due, on the loop's clock.
        self._due = 0.0
        self._has_table = asyncio.Event()
        self._stopping = asyncio.Event()
        self._idle = asyncio.Event()
        self._failure: BaseException | None = None
        self._channel = Channel(options.channel, options.name, self._take, lambda: self.gateway.draining)
        self.gateway = Gateway(
            options,
            loop,
            open_pool=tcp_pool(loop, options),
            control=unix_pool(loop, options.control),
            report=self._channel.report,
            tell=self._channel.tell,
            count=self._channel.count,
            tell_captures=self._channel.capture,
            on_drained=self._channel.acknowledge,
            tracing=tracing.load(options),
        )
        self._channel.on_counted = self.gateway.ledger.settle
        self._channel.on_connected = self._repeat
        self.gateway.on_idle = self._idle.set
        self.gateway.most_connections = most_connections(options.max_connections, options.shadow_max_calls)

    def stop(self) -> None:
        """Begin to end."""
        self._stopping.set()

    def leave(self) -> None:
        """Begin to end, patiently: others serve at the same sockets."""
        self._is_leaving = True
        self._stopping.set()

    async def run(self) -> None:
        """Serve until `stop`, then finish what is in flight. Raises what kept it from serving or from hearing control:
        to be started anew is better than to serve by an old table for ever."""
        tasks = [asyncio.create_task(self._channel.run()), asyncio.create_task(self._accept())]
        for task in tasks:
            task.add_done_callback(self._note)
        self._tick()
        try:
            await self._stopping.wait()
            await self._drain()
            # While there is somebody to tell.
            self.gateway.sweep()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._close()
            # Transports say goodbye in the next turn.
            await asyncio.sleep(0)
        if self._failure is not None:
            raise self._failure

    def _note(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            self._failure = task.exception()
            self.stop()

    def _repeat(self) -> None:
        self.gateway.ledger.repeat()
        self.gateway.captures.repeat()

    def _take(self, table: RouteTable) -> int:
        self.gateway.take(table)
        if not self._has_table.is_set():
            # Before the acknowledgement, so that whoever hears of it can already connect.
            for listener in self._listeners:
                listener.listen(BACKLOG)
            self._has_table.set()
        return self.gateway.index.version

    async def _accept(self) -> None:
        await self._has_table.wait()
        context, patience = None, None
        if self._certificate is not None:
            context, patience = self._certificate.context(), HANDSHAKE_TIMEOUT
        for listener in self._listeners:
            server = await self._loop.create_server(
                self.gateway.accept, sock=listener, backlog=BACKLOG, ssl=context, ssl_handshake_timeout=patience
            )
            self._servers.append(server)
        log.info("%s serves %s:%d", self._options.name, *self._listeners[0].getsockname()[:2])
        # What is here now stays: the collector need not look at it again and again.
        gc.collect()
        gc.freeze()

    async def _drain(self) -> None:
        for server in self._servers:
            server.close()
        self.gateway.drain(patiently=self._is_leaving)
        patience = self._options.drain_timeout
        if self._is_leaving:
            # Nobody waits for the port: streams may come to their end, too.
            patience = max(patience, self._options.stream_timeout)
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._idle.wait()

    def _close(self) -> None:
        if self._ticker is not None:
            self._ticker.cancel()
        self.gateway.close()
        for listener in self._listeners:
            listener.close()

    def _tick(self) -> None:
        # First, so that a mistake further on does not stop the clock.
        pause, now = self.gateway.clock.refresh(), self._loop.time()
        lag, self._due = now - self._due if self._due else 0.0, now + pause
        self._ticker = self._loop.call_at(self._due, self._tick)
        if self._options.parent and os.getppid() != self._options.parent:
            self.stop()
        self.gateway.sweep()
        self._channel.beat(vitals.take(self.gateway, lag))
        self._heap.give_back()
        if self._certificate is not None:
            self._certificate.refresh()
        if self._servers and not self._stopping.is_set() and any(one.fileno() < 0 for one in self._listeners):
            # When files run out, libuv turns clients away by a trick that can fail; uvloop then closes the port for
            # good and says nothing.
            self._failure = OSError("the port was closed: too many open files")
            self.stop()


def bind(host: str, port: int) -> socket.socket:
    """A socket that shares the port with the other workers. Raises `OSError`."""
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def allow_many_files() -> None:
    """Each connection is one open file, and the usual limit is meant for interactive programs."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def most_connections(wanted: int, shadow_calls: int = 0) -> int:
    """As many as are wanted, but each may need a second one to a container, some are for copies of calls, and some
    files are ours."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return wanted
    most = min(wanted, max(1, (limit - min(RESERVED_FILES + shadow_calls, limit // 4)) // 2))
    if most < wanted:
        log.info("at most %d connections are taken: %d files may be open", most, limit)
    return most


def follow(parent: int) -> None:
    """Get SIGTERM when the parent ends, however it ends (Linux; elsewhere the tick looks)."""
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        # It ended before the kernel was asked.
        raise SystemExit(0)


def adopt(descriptors: tuple[int, ...]) -> tuple[socket.socket, ...]:
    """The sockets that the parent passed on. Raises `OSError`."""
    found = tuple(socket.socket(fileno=descriptor) for descriptor in descriptors)
    for one in found:
        one.setblocking(False)
    return found


async def serve(options: Options, listeners: tuple[socket.socket, ...]) -> None:
    """Run a worker in this process until SIGTERM, SIGINT or SIGUSR2."""
    loop = asyncio.get_running_loop()
    worker = Worker(options, loop, listeners)
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, worker.stop)
    loop.add_signal_handler(signal.SIGUSR2, worker.leave)
    await worker.run()


def run(options: Options) -> int:
    """The process from start to end; returns its exit status."""
    # Until there is a worker that can leave: the usual answer to it is to die at once.
    signal.signal(signal.SIGUSR2, lambda *_: sys.exit(0))
    if options.parent:
        follow(options.parent)
    allow_many_files()
    try:
        listeners = adopt(options.listeners) or (bind(options.host, options.port),)
    except OSError as error:
        log.error("cannot listen on %s:%d: %s", options.host, options.port, error.strerror)
        return EXIT_USAGE
    try:
        uvloop.run(serve(options, listeners))
    except UsageError as error:
        log.error("%s", error)
        return EXIT_USAGE
    return 0


def main(arguments: list[str]) -> int:
    """``arguments``: the options as JSON."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        options = msgspec.json.decode(arguments[0], type=Options)
    except (IndexError, msgspec.DecodeError) as error:
        log.error("the only argument is the options as JSON: %s", error)
        return EXIT_USAGE
    return run(options)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
