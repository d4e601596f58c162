"""One gateway worker alone, with a control that only hands it a route table: for profiling, and for large tables.

`python -m bench.worker` runs one in front of the benchmark's containers until Ctrl-C.
"""

import socket
import threading
from contextlib import suppress
from pathlib import Path

import msgspec

from bench import processes
from bench.cases import MODELS, Case
from bench.client import Target
from bench.ground import Ground, Program, Unavailable, free_port
from bench.signing import REGION
from polyport.domain.access import AccessTable
from polyport.domain.routes import Acknowledge, Address, EndpointRoute, FromWorker, InstanceRoute, Publish, RouteTable
from polyport.domain.routes import VariantRoute as Variant
from polyport.gateway import options

ACCOUNT = "123456789012"
#: Seconds for the worker to take its table.
START = 30.0


class Control:
    """Gives every worker that connects to ``path`` the same table."""

    def __init__(self, path: Path, table: RouteTable) -> None:
        self._frame = _framed(msgspec.msgpack.encode(Publish(table)))
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._connections: list[socket.socket] = []
        #: Set once a worker has acknowledged the table.
        self.acknowledged = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Hang up."""
        for one in (self._listener, *self._connections):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            with suppress(OSError):
                connection.sendall(self._frame)
                self._read(connection)

    def _read(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as file:
            while len(prefix := file.read(4)) == 4:
                said = msgspec.msgpack.decode(file.read(int.from_bytes(prefix, "big")), type=FromWorker)
                if isinstance(said, Acknowledge):
                    self.acknowledged.set()


def _framed(message: bytes) -> bytes:
    return len(message).to_bytes(4, "big") + message


def table(models: dict[str, tuple[int, ...]], endpoints: int) -> RouteTable:
    """Routes to the models (ports by endpoint), filled up with further endpoints that all lead to the echo model."""
    filling = {f"filling-{number}": models["echo"] for number in range(endpoints - len(models))}
    # Half before and half after, so that a search from either end would show.
    half = len(filling) // 2
    names = list(filling)
    ordered = {name: filling[name] for name in names[:half]} | models | {name: filling[name] for name in names[half:]}
    return RouteTable(
        1, AccessTable(is_open=True, account=ACCOUNT), tuple(_route(name, ports) for name, ports in ordered.items())
    )


def _route(name: str, ports: tuple[int, ...]) -> EndpointRoute:
    mode = "Single" if len(ports) == 1 else "Serial"
    hostnames = ("",) if mode == "Single" else tuple(f"stage-{number}" for number in range(len(ports)))
    instance = InstanceRoute(f"{name}-instance", tuple(Address("127.0.0.1", port) for port in ports))
    return EndpointRoute(ACCOUNT, REGION, name, (Variant("AllTraffic", 1.0, mode, hostnames, (instance,)),))


class Worker:
    """A bare worker with so many endpoints in its table."""

    def __init__(self, ground: Ground, endpoints: int = len(MODELS)) -> None:
        many = endpoints > len(MODELS)
        self.name = f"worker-{endpoints}" if many else "worker"
        self.title = f"bare gateway worker, {endpoints:,} endpoints" if many else "bare gateway worker"
        self.port = free_port()
        self._ground = ground
        self._endpoints = endpoints
        self._control: Control | None = None
        self._program: Program | None = None

    def start(self) -> None:
        """Start it and wait until it has its table. Raises `Unavailable`."""
        folder = self._ground.place(self.name)
        channel = folder / "channel"
        self._control = Control(channel, table(self._ground.models, self._endpoints))
        told = options.Options(
            name="bench",
            host="127.0.0.1",
            port=self.port,
            channel=str(channel),
            control=str(folder / "control"),
            account=ACCOUNT,
            region=REGION,
        )
        self._program = Program(self.name, options.command(told), folder)
        self._program.wait_for_port(self.port, START)
        if not self._control.acknowledged.wait(START):
            raise Unavailable("the worker did not acknowledge its table")
        processes.pin(self.serving(), self._ground.system_cpus)

    def stop(self) -> None:
        """End it, then its control."""
        if self._program:
            self._program.stop()
        if self._control:
            self._control.close()
            self._control = None

    def target(self, case: Case) -> Target:
        """As for the whole server."""
        return Target(self.port, case.path, framed=case.streams)

    def serving(self) -> list[int]:
        """The worker."""
        return processes.tree(self._program.pid) if self._program else []

    def beside(self) -> list[int]:
        """Its control is this very process."""
        return []
