"""`polyport serve`: starts one control process and the gateway workers, and starts again what dies.

It holds no state but the lock and the port. When it is killed, its children go with it and the instances stay; the next
start adopts them. It can hand both over to the next server while calls go on: `handover`.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

import msgspec

import polyport
from polyport.errors import UsageError
from polyport.gateway import options
from polyport.gateway.tls import Certificate
from polyport.server import address, children, handover, home, ports, sockets, versions
from polyport.server.children import Child
from polyport.settings import Settings, to_json
from polyport.telemetry.traces import setup

log = logging.getLogger(__name__)

#: Seconds on top of the configured time-outs that an orderly stop may take.
STOP_MARGIN = 10.0
#: Seconds in which a server that takes over must serve; then the older one goes on.
TAKE_OVER_DEADLINE = 120.0
#: Seconds that control gets to finish the calls to it before it leaves.
LEAVE_PATIENCE = 10.0


def serve(settings: Settings, on_ready: Callable[[str, bool], None], *, replace: bool = False) -> None:
    """Run until SIGTERM or Ctrl-C. ``on_ready`` gets the URL once everything answers, and whether any credentials are
    accepted. ``replace``: a server that runs on the home hands over. Raises `UsageError`, `StoreError`."""
    home.prepare(settings)
    _check_tls(settings)
    if settings.traces:
        setup.find(settings.traces_sample, os.environ)
    versions.expect_known(settings.home)
    with ExitStack() as held:
        taken = _take_over(settings) if replace and home.is_locked(settings.home) else None
        lock: IO[str]
        if taken is not None:
            held.callback(taken.close)
            lock = held.enter_context(os.fdopen(taken.lock, "r+", encoding="utf-8"))
        else:
            # The home before the port: the usual mistake is to start the same server twice; that is what is said then.
            lock = held.enter_context(home.lock(settings))
        listeners = _listeners(settings, taken)
        for listener in listeners:
            held.enter_context(listener)
        settings = msgspec.structs.replace(settings, port=listeners[0].getsockname()[1])
        if taken is not None:
            taken.wait_until_free()
        else:
            home.sign(lock, address.url(settings))
        kept = versions.keep(settings.home)
        launcher = _Launcher(settings, lock, listeners, taken, on_ready)
        try:
            asyncio.run(launcher.run())
        finally:
            if kept is not None and not launcher.has_answered:
                # Nobody has used the newer tables: the version before can go on with its own.
                versions.put_back(settings.home, kept)


def _take_over(settings: Settings) -> handover.Taken:
    path = home.socket_folder(settings.home) / handover.FILE_NAME
    taken = handover.ask(path, handover.Ask(polyport.__version__, settings.engine, settings.workers))
    if taken is None:
        raise UsageError(
            f"The server that uses {settings.home} cannot hand over now: it is starting, ending, or of a version "
            "without that. Try again, or stop it first."
        )
    log.info("taking over from process %d (Polyport %s)", taken.offer.pid, taken.offer.polyport)
    return taken


def _listeners(settings: Settings, taken: handover.Taken | None) -> list[socket.socket]:
    """The older server's, if it is at the same address, so that no connection in their queues is lost."""
    if taken is not None:
        offer = taken.offer
        if settings.host == offer.host and settings.port in (0, offer.port):
            return ports.share(taken.listeners, settings.workers)
        for listener in taken.listeners:
            listener.close()
    return ports.share([ports.reserve(settings.host, settings.port)], settings.workers)


def _check_tls(settings: Settings) -> None:
    """Before anything is started: workers would only end again and again."""
    if settings.tls_cert:
        files = (settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        Certificate(*(str(settings.home / file) if file else "" for file in files)).context()
    elif settings.tls_key or settings.tls_client_ca:
        raise UsageError("tls_key and tls_client_ca need tls_cert: without a certificate there is no TLS.")


class _Launcher:
    def __init__(
        self,
        settings: Settings,
        lock: IO[str],
        listeners: list[socket.socket],
        taken: handover.Taken | None,
        on_ready: Callable[[str, bool], None],
    ) -> None:
        self._settings = settings
        self._lock = lock
        self._listeners = listeners
        #: What another server passed on, until it is told that we serve.
        self._taken = taken
        self._on_ready = on_ready
        self._generation = taken.offer.generation + 1 if taken else 0
        #: Control has been up: the database may have been used.
        self.has_answered = False
        #: Workers of another server that may serve by our control's tables, and whether they still may.
        self._others: tuple[tuple[str, ...], Callable[[], bool]] = ((), lambda: False)
        if taken:
            older = taken.offer.pid
            self._others = taken.offer.workers, lambda: Path(f"/proc/{older}").exists()
        self._control = Child("control", self._command, keep_open=(lock.fileno(),))
        dealt = ports.deal([listener.fileno() for listener in listeners], settings.workers)
        self._gateways = [
            Child(f"gateway worker {number}", partial(options.command, self._options(number, mine)), keep_open=mine)
            for number, mine in enumerate(dealt)
        ]
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()
        self._is_handed_over = False

    def _command(self) -> list[str]:
        """Control's, with the workers of another server that it is to count as well."""
        names, may_serve = self._others
        others = msgspec.json.encode(names if may_serve() else ()).decode()
        return [sys.executable, "-m", "polyport.server.control", to_json(self._settings), others]

    def _options(self, number: int, listeners: tuple[int, ...]) -> options.Options:
        meeting = sockets.sockets(self._settings.home)
        return options.from_settings(
            self._settings,
            name=_names(self._generation, self._settings.workers)[number],
            channel=str(meeting.channel),
            control=str(meeting.control),
            parent=os.getpid(),
            listeners=listeners,
        )

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_stop)
        runs = [asyncio.create_task(child.run(self._stopping)) for child in (self._control, *self._gateways)]
        ready = asyncio.create_task(self._begin())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*runs, ready, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            ready.cancel()
            await self._end()
            for task in (*runs, stop, ready):
                task.cancel()
            results = await asyncio.gather(*runs, stop, ready, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _begin(self) -> None:
        """Until everything answers, then until the home is handed over."""
        deadline = TAKE_OVER_DEADLINE if self._taken else None
        try:
            async with asyncio.timeout(deadline):
                facts = await self._wait_until_ready()
        except TimeoutError as error:
            raise UsageError("The server does not get ready; the one before it goes on.") from error
        path = home.socket_folder(self._settings.home) / handover.FILE_NAME
        with handover.listen(path) as door:
            if self._taken is not None:
                home.sign(self._lock, address.url(self._settings))
                self._taken.confirm()
                self._taken = None
            self._on_ready(address.url(self._settings), facts.get("authentication") == "none")
            while not self._is_handed_over:
                await self._meet(door)
        self._stopping.set()

    def _ask_to_stop(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
        elif self._taken is None:
            log.info("stopping: calls in flight are finished, then the instances are stopped (once more: at once)")
        self._stopping.set()

    # --- handing over

    async def _meet(self, door: socket.socket) -> None:
        """One server that asks."""
        loop = asyncio.get_running_loop()
        connection, _ = await loop.sock_accept(door)
        connection.setblocking(False)
        with connection:
            message = handover.decode(await self._hear(connection))
            if not isinstance(message, handover.Ask):
                return
            if message.engine != self._settings.engine:
                reason = f"its engine is {self._settings.engine}, not {message.engine}; stop it first"
                with suppress(OSError):
                    await loop.sock_sendall(connection, handover.encode(handover.Refusal(reason)))
                return
            await self._hand_over(connection, message)

    async def _hand_over(self, connection: socket.socket, ask: handover.Ask) -> None:
        settings = self._settings
        offer = handover.Offer(
            polyport=polyport.__version__,
            pid=os.getpid(),
            host=settings.host,
            port=settings.port,
            generation=self._generation,
            workers=_names(self._generation, settings.workers),
        )
        log.info("handing over to Polyport %s", ask.polyport)
        try:
            handover.send_offer(connection, offer, self._lock.fileno(), self._listeners)
            await self._control.pause(LEAVE_PATIENCE, signal.SIGUSR2)
            await asyncio.get_running_loop().sock_sendall(connection, handover.encode(handover.Free()))
            answer = handover.decode(await self._hear(connection))
        except OSError:
            answer = None
        if isinstance(answer, handover.Ready):
            self._is_handed_over = True
            return
        log.warning("the other server has not taken over; this one goes on")
        # Whatever keeps control from it: calls go on. Workers of the other one may still finish some.
        self._control.is_needed = True
        until = time.monotonic() + settings.invocation_timeout
        self._others = _names(self._generation + 1, ask.workers), lambda: time.monotonic() < until
        self._control.resume()

    async def _hear(self, connection: socket.socket) -> bytes:
        try:
            return await asyncio.get_running_loop().sock_recv(connection, handover.MAX_MESSAGE)
        except OSError:
            return b""

    # --- the end

    async def _end(self) -> None:
        if self._is_handed_over:
            log.info("another server has taken over; calls in flight are finished")
            # The lock and the port are the other one's now.
            self._lock.close()
            self._let_go_of_port()
            patience = max(self._settings.stream_timeout, self._settings.invocation_timeout) + STOP_MARGIN
            await self._unless_in_a_hurry(children.stop_all(self._gateways, patience, signal.SIGUSR2))
        elif self._taken is not None:
            log.info("the server before this one goes on")
            drain = self._settings.invocation_timeout + STOP_MARGIN
            await self._unless_in_a_hurry(children.stop_all(self._gateways, drain, signal.SIGUSR2))
            await self._control.stop(LEAVE_PATIENCE, signal.SIGUSR2)
        else:
            await self._stop()
        for child in (*self._gateways, self._control):
            await child.stop(0)

    def _let_go_of_port(self) -> None:
        """Before the workers do: a socket that stays open would take connections that nobody serves."""
        for listener in self._listeners:
            listener.close()

    async def _stop(self) -> None:
        """Gateways first, so that no call loses its container; control then stops the instances."""
        self._let_go_of_port()
        drain = self._settings.invocation_timeout + STOP_MARGIN
        await self._unless_in_a_hurry(children.stop_all(self._gateways, drain))
        await self._unless_in_a_hurry(children.stop_all([self._control], self._settings.stop_timeout + STOP_MARGIN))

    async def _unless_in_a_hurry(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait([task, hurry], return_when=asyncio.FIRST_COMPLETED)
        for one in (task, hurry):
            one.cancel()
        await asyncio.gather(task, hurry, return_exceptions=True)

    # --- the beginning

    async def _wait_until_ready(self) -> dict[str, Any]:
        mine = set(_names(self._generation, self._settings.workers))
        while True:
            status, facts = await asyncio.to_thread(address.health, sockets.sockets(self._settings.home).control)
            self.has_answered |= status != 0
            if status == 200 and self._taken is None:
                return facts
            # While two servers' workers are connected, those of the older one may not understand our tables.
            if self._taken is not None and mine <= {*facts.get("gateways", ())}:
                return facts
            await asyncio.sleep(0.05)


def _names(generation: int, workers: int) -> tuple[str, ...]:
    """Of a server's workers: control hears from those of the older server at the same time."""
    return tuple(f"{generation}.{number}" if generation else str(number) for number in range(workers))
