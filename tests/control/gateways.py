"""A gateway worker as control sees it: the far end of the channel."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import msgspec

from polyport.control import publish, routes
from polyport.domain.routes import Acknowledge, FromWorker, Hello, Publish, RouteTable


def frame(message: FromWorker) -> bytes:
    """A message as it goes over the channel."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(publish.PREFIX, "big") + body


class Gateway:
    """Connects, keeps the tables it is sent, and acknowledges each unless it is told to ``hold`` them back."""

    def __init__(self, path: Path, name: str = "1") -> None:
        self.path = path
        self.name = name
        self.tables: list[RouteTable] = []
        self.hold = False
        self.draining: tuple[str, ...] = ()
        self._news = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._task: asyncio.Task[None] | None = None

    async def connect(self) -> "Gateway":
        """Say hello."""
        reader, self._writer = await asyncio.open_unix_connection(self.path)
        self.send(Hello(worker=self.name, pid=int(self.name) if self.name.isdigit() else 1))
        self._task = asyncio.create_task(self._listen(reader))
        return self

    async def close(self) -> None:
        """Hang up."""
        if self._writer and self._task:
            self._writer.close()
            await asyncio.gather(self._task, return_exceptions=True)

    def send(self, message: FromWorker) -> None:
        """To control."""
        assert self._writer
        self._writer.write(frame(message))

    def send_raw(self, data: bytes) -> None:
        """To control, whatever it is."""
        assert self._writer
        self._writer.write(data)

    def acknowledge(self) -> None:
        """Serve by the latest table."""
        self.send(Acknowledge(self.tables[-1].version, self.draining))

    def uses(self, instance: str) -> bool:
        """Whether it may send calls to the instance, or has some there."""
        entries = self.tables[-1].endpoints if self.tables else ()
        return instance in self.draining or any(instance in routes.live_ids(entry) for entry in entries)

    @property
    def is_cut_off(self) -> bool:
        """Whether control hung up."""
        return self._task is not None and self._task.done()

    async def receives(self, number: int) -> RouteTable:
        """The table with that number, counted from 1; waits for it."""
        async with asyncio.timeout(5):
            while len(self.tables) < number:
                self._news.clear()
                await self._news.wait()
        return self.tables[number - 1]

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(publish.PREFIX), "big")
                message = msgspec.msgpack.decode(await reader.readexactly(length), type=Publish)
                self.tables.append(message.table)
                self._news.set()
                if not self.hold:
                    self.acknowledge()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition that nothing announces; `TimeoutError` when it does not come."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  nothing sets an event for what is only seen from outside
            await asyncio.sleep(0.005)
