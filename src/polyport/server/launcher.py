"""`polyport serve`: starts one control process and the gateway workers, and starts again what dies.

It holds no state but the lock and the port. When it is killed, its children go with it and the instances stay; the next
start adopts them.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from polyport.errors import UsageError
from polyport.gateway import options
from polyport.gateway.tls import Certificate
from polyport.server import home, sockets
from polyport.settings import Settings, to_json

log = logging.getLogger(__name__)

#: Exit status of a child that cannot work with these settings: starting it again would not help.
EXIT_USAGE = 78
#: Seconds before a child that died is started again, by how often it died in short order.
RESTART_PAUSES = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
#: A child that lived for this many seconds has got over its troubles.
STABLE_AFTER = 30.0
#: Seconds on top of the configured time-outs that an orderly stop may take.
STOP_MARGIN = 10.0


class Child:
    """One process that is kept running."""

    def __init__(self, name: str, command: list[str], keep_open: tuple[int, ...] = ()) -> None:
        self.name = name
        self._command = command
        self._keep_open = keep_open
        self.process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        return f"<Child {self.name} pid {self.process.pid if self.process else None}>"

    async def run(self, stopping: asyncio.Event) -> None:
        """Start it, and again whenever it ends. Raises `UsageError` when it says that this is of no use."""
        deaths = 0
        while not stopping.is_set():
            await asyncio.sleep(RESTART_PAUSES[min(deaths, len(RESTART_PAUSES) - 1)])
            started = time.monotonic()
            # A session of its own: Ctrl-C in the terminal is for the launcher, which stops things in order.
            self.process = await asyncio.create_subprocess_exec(
                *self._command, pass_fds=self._keep_open, start_new_session=True
            )
            status = await self.process.wait()
            if stopping.is_set():
                return
            if status == EXIT_USAGE:
                raise UsageError("")
            log.warning(
                "%s (process %d) ended with status %d and is started again", self.name, self.process.pid, status
            )
            deaths = 1 if time.monotonic() - started > STABLE_AFTER else deaths + 1

    async def stop(self, patience: float) -> None:
        """SIGTERM, then SIGKILL after ``patience`` seconds."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.terminate()
            try:
                async with asyncio.timeout(patience):
                    await process.wait()
            except TimeoutError:
                log.warning("%s does not stop and is killed", self.name)
                process.kill()
                await process.wait()


async def _stop_all(children: list[Child], patience: float) -> None:
    await asyncio.gather(*(child.stop(patience) for child in children))


def serve(settings: Settings, on_ready: Callable[[str, bool], None]) -> None:
    """Run until SIGTERM or Ctrl-C. ``on_ready`` gets the URL once everything answers, and whether any credentials are
    accepted. Raises `UsageError`."""
    home.prepare(settings)
    _check_tls(settings)
    # The home before the port: the usual mistake is to start the same server twice, and that is what is said then.
    with home.lock(settings) as lock, reserve_port(settings.host, settings.port) as reserved:
        port = reserved.getsockname()[1]
        url = f"http{'s' if settings.tls_cert else ''}://{_in_url(settings.host)}:{port}"
        home.sign(lock, url)
        settings = msgspec.structs.replace(settings, port=port)
        asyncio.run(_Launcher(settings, lock.fileno(), lambda is_open: on_ready(url, is_open)).run())


def _check_tls(settings: Settings) -> None:
    """Before anything is started: workers would only end again and again."""
    if settings.tls_cert:
        files = (settings.tls_cert, settings.tls_key, settings.tls_client_ca)
        Certificate(*(str(settings.home / file) if file else "" for file in files)).context()
    elif settings.tls_key or settings.tls_client_ca:
        raise UsageError("tls_key and tls_client_ca need tls_cert: without a certificate there is no TLS.")


def reserve_port(host: str, port: int) -> socket.socket:
    """A bound, not listening socket that keeps the port ours. Raises `UsageError` when it is taken.

    Workers share the port with SO_REUSEPORT, which would also let a second server of the same user join them unnoticed;
    so the port is first bound without that option.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            # Binding with SO_REUSEADDR succeeds beside a bound socket that does not listen; listening does not.
            probe.listen(1)
            address = probe.getsockname()
        reserved = socket.socket(family, kind, protocol)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        reserved.bind(address)
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"Cannot listen on {host}:{port}: {error.strerror if isinstance(error, OSError) else error}. "
            "Choose another address with --host and --port."
        ) from error
    return reserved


class _Launcher:
    def __init__(self, settings: Settings, lock: int, on_ready: Callable[[bool], None]) -> None:
        self._settings = settings
        self._on_ready = on_ready
        control = [sys.executable, "-m", "polyport.server.control", to_json(settings)]
        self._control = Child("control", control, keep_open=(lock,))
        self._gateways = [
            Child(f"gateway worker {number}", options.command(self._options(number)))
            for number in range(settings.workers)
        ]
        self._stopping = asyncio.Event()
        self._hurry = asyncio.Event()

    def _options(self, number: int) -> options.Options:
        meeting = sockets.sockets(self._settings.home)
        return options.from_settings(
            self._settings,
            name=str(number),
            channel=str(meeting.channel),
            control=str(meeting.control),
            parent=os.getpid(),
        )

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._ask_to_stop)
        runs = [asyncio.create_task(child.run(self._stopping)) for child in (self._control, *self._gateways)]
        ready = asyncio.create_task(self._announce())
        stop = asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait([*runs, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            ready.cancel()
            await self._stop()
            for task in (*runs, stop, ready):
                task.cancel()
            results = await asyncio.gather(*runs, stop, ready, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _ask_to_stop(self) -> None:
        if self._stopping.is_set():
            self._hurry.set()
        else:
            log.info("stopping: calls in flight are finished, then the instances are stopped (once more: at once)")
        self._stopping.set()

    async def _stop(self) -> None:
        """Gateways first, so that no call loses its container; control then stops the instances."""
        drain = self._settings.invocation_timeout + STOP_MARGIN
        await self._unless_in_a_hurry(_stop_all(self._gateways, drain))
        await self._unless_in_a_hurry(_stop_all([self._control], self._settings.stop_timeout + STOP_MARGIN))
        for child in (*self._gateways, self._control):
            await child.stop(0)

    async def _unless_in_a_hurry(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        hurry = asyncio.create_task(self._hurry.wait())
        await asyncio.wait([task, hurry], return_when=asyncio.FIRST_COMPLETED)
        for one in (task, hurry):
            one.cancel()
        await asyncio.gather(task, hurry, return_exceptions=True)

    async def _announce(self) -> None:
        while (facts := await asyncio.to_thread(self._ask)) is None:  # noqa: ASYNC110  another process's event
            await asyncio.sleep(0.05)
        self._on_ready(facts.get("authentication") == "none")

    def _ask(self) -> dict[str, Any] | None:
        """What control says of its health once all is ready: every worker serves. It is asked on its own socket, for
        which no certificate is needed."""
        meeting = sockets.sockets(self._settings.home)
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(str(meeting.control))
                connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\r\n")
                answer = b"".join(iter(lambda: connection.recv(65536), b""))
        except OSError:
            return None
        head, _, body = answer.partition(b"\r\n\r\n")
        return msgspec.json.decode(body, type=dict[str, Any]) if head.startswith(b"HTTP/1.1 200 ") else None


def _in_url(host: str) -> str:
    """Where a client on this machine connects to."""
    dial = _dial(host)
    return f"[{dial}]" if ":" in dial else dial


def _dial(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
