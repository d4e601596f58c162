"""Sockets that are none: what is sent arrives later, in its order, or not at all once somebody hung up."""

import asyncio
from collections.abc import Callable
from typing import Any

Factory = Callable[[], asyncio.Protocol]


class Network:
    """Who listens where. A path is ``server/caller``; each caller has its own delays."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._servers: dict[str, Factory] = {}
        #: By caller: the seconds that the next message takes.
        self.delays: dict[str, Callable[[], float]] = {}
        #: Called with what a server sends.
        self.on_served: Callable[[bytes], None] = lambda _: None
        #: By caller: until when it is frozen.
        self.frozen: dict[str, float] = {}
        self._connections: dict[str, Transport] = {}
        self._lines: dict[str, tuple[Line, Line]] = {}

    def listen(self, path: str, factory: Factory) -> "Server":
        """There is one of a name."""
        self._servers[path] = factory
        return Server(self, path, factory)  # type: ignore[abstract]

    def forget(self, path: str, factory: Factory) -> None:
        """Unless another listens there by now."""
        if self._servers.get(path) is factory:
            del self._servers[path]

    def cut(self, caller: str) -> None:
        """Its connection breaks; both ends hear of it."""
        if caller in self._connections:
            self._connections[caller].abort()

    def kill(self, caller: str) -> None:
        """It ends, and whatever is on its way from it or to it is lost."""
        if caller in self._connections:
            self._connections.pop(caller).lose()
            self._lines.pop(caller, None)

    def connect(self, path: str, factory: Factory) -> tuple["Transport", asyncio.Protocol]:
        """Both ends. Raises `ConnectionRefusedError`."""
        server, _, caller = path.partition("/")
        if server not in self._servers or self.frozen.get(caller, 0.0) > self._loop.time():
            raise ConnectionRefusedError(f"{caller} does not reach {server}")
        near, far = factory(), self._servers[server]()
        # Also from one connection to the next, what is sent earlier arrives earlier: all of it is on one machine.
        up, down = self._lines.setdefault(caller, (Line(), Line()))
        here = Transport(self._loop, near, self.delays[caller], up)
        there = Transport(self._loop, far, self.delays[caller], down)
        here.peer, there.peer = there, here
        there.on_write = self.on_served
        self._connections[caller] = here
        near.connection_made(here)
        self._loop.call_soon(far.connection_made, there)
        return here, near


class Line:
    """One way between two."""

    def __init__(self) -> None:
        #: When the latest message arrives.
        self.arrives = 0.0


class Server(asyncio.AbstractServer):
    """What listens."""

    def __init__(self, network: Network, path: str, factory: Factory) -> None:
        self._network = network
        self._path = path
        self._factory = factory

    def close(self) -> None:
        """Connections stay."""
        self._network.forget(self._path, self._factory)

    async def wait_closed(self) -> None:
        """It is."""


class Transport(asyncio.Transport):
    """One end of a connection."""

    peer: "Transport"

    def __init__(
        self, loop: asyncio.AbstractEventLoop, protocol: asyncio.Protocol, delay: Callable[[], float], line: Line
    ) -> None:
        super().__init__()
        self._loop = loop
        self._protocol = protocol
        self._delay = delay
        self._line = line
        self._closed = False
        #: Called with what is written.
        self.on_write: Callable[[bytes], None] = lambda _: None

    def write(self, data: Any) -> None:
        """It arrives, unless the other end has hung up by then."""
        if not self._closed:
            self.on_write(data)
            self._send(self.peer._take, data)

    def close(self) -> None:
        """What was written before arrives, then the news that this end hung up."""
        self._end()

    def abort(self) -> None:
        """The same here: a kernel delivers what it was given, whatever became of the giver."""
        self._end()

    def lose(self) -> None:
        """Both ends are closed at once."""
        for end in (self, self.peer):
            if not end._closed:
                end._closed = True
                end._loop.call_soon(end._protocol.connection_lost, None)

    def is_closing(self) -> bool:
        """Whether this end has hung up."""
        return self._closed

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Nothing."""
        return default

    def get_write_buffer_size(self) -> int:
        """All is on its way at once."""
        return 0

    def pause_reading(self) -> None:
        """Messages are small."""

    def resume_reading(self) -> None:
        """Messages are small."""

    def _send(self, call: Callable[..., None], *args: Any) -> None:
        self._line.arrives = max(self._line.arrives, self._loop.time() + self._delay())
        self._loop.call_at(self._line.arrives, call, *args)

    def _take(self, data: bytes) -> None:
        if not self._closed:
            self._protocol.data_received(data)

    def _end(self) -> None:
        if not self._closed:
            self._closed = True
            self._send(self.peer._end)
            self._loop.call_soon(self._protocol.connection_lost, None)
