"""The channel to control when control misbehaves."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from polyport.domain.access import AccessTable
from polyport.domain.routes import Acknowledge, FromWorker, Hello, Publish, RouteTable, Unreachable
from polyport.gateway import channel as channel_module
from polyport.gateway.channel import Channel


class Talk:
    """A control that says what it is told to, and writes down what it hears."""

    def __init__(self, path: Path, *connections: bytes) -> None:
        self.path = str(path / "channel")
        self.heard: list[FromWorker] = []
        self.accepted = 0
        self._connections = list(connections)
        self._changed = asyncio.Condition()

    async def listen(self) -> asyncio.Server:
        return await asyncio.start_unix_server(self._serve, self.path)

    async def until(self, count: int) -> list[FromWorker]:
        async with asyncio.timeout(10), self._changed:
            await self._changed.wait_for(lambda: len(self.heard) >= count)
        return self.heard

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        if self._connections:
            writer.write(self._connections.pop(0))
        try:
            while True:
                size = int.from_bytes(await reader.readexactly(4), "big")
                self.heard.append(msgspec.msgpack.decode(await reader.readexactly(size), type=FromWorker))
                async with self._changed:
                    self._changed.notify_all()
        except asyncio.IncompleteReadError:
            writer.close()


def frame(message: object) -> bytes:
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(4, "big") + body


def table(version: int) -> bytes:
    return frame(Publish(RouteTable(version, AccessTable(is_open=True, account="123456789012"))))


async def conversation(talk: Talk, made: Channel, count: int) -> list[FromWorker]:
    server = await talk.listen()
    running = asyncio.create_task(made.run())
    try:
        return list(await talk.until(count))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
        # Lets the server's side see the end.
        await asyncio.sleep(0.01)


def channel(talk: Talk, taken: list[int], draining: tuple[str, ...] = ()) -> Channel:
    def take(new: RouteTable) -> int:
        if new.version == 13:
            raise ValueError("a bad table")
        taken.append(new.version)
        return new.version

    return Channel(talk.path, "w", take, lambda: draining)


def names(heard: list[FromWorker]) -> list[str]:
    return [type(message).__name__ for message in heard]


def test_tables_are_taken_and_acknowledged_in_turn(tmp_path: Path) -> None:
    """Several in one packet too; each acknowledgement names what drains."""
    talk, taken = Talk(tmp_path, table(1) + table(2)), []
    heard = asyncio.run(conversation(talk, channel(talk, taken, ("i",)), 3))
    assert isinstance(heard[0], Hello)
    assert heard[1:] == [Acknowledge(1, ("i",)), Acknowledge(2, ("i",))]
    assert taken == [1, 2]


def test_a_message_that_is_not_understood_is_skipped(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A newer control may have more to say."""
    # Neither a text that is none nor nesting without end is an error of MessagePack's own class.
    no_text = b"\x82\xa4type\xa7publish\xa1\xff\x01"
    nested = b"\x82\xa4type\xa7publish\xa1x" + b"\x91" * 5000 + b"\xc0"
    strange = b"".join(len(body).to_bytes(4, "big") + body for body in (b"\xc1", no_text, nested))
    talk, taken = Talk(tmp_path, frame({"type": "news"}) + strange + table(3)), []
    asyncio.run(conversation(talk, channel(talk, taken), 2))
    assert taken == [3]
    assert caplog.text.count("does not understand") == 4


def test_a_table_that_cannot_be_used_is_not_acknowledged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The worker goes on by the one before, and the log says why."""
    talk, taken = Talk(tmp_path, table(12) + table(13) + table(14)), []
    heard = asyncio.run(conversation(talk, channel(talk, taken), 3))
    assert heard[1:] == [Acknowledge(12), Acknowledge(14)]
    assert "a bad table" in caplog.text


def test_an_absurd_frame_ends_the_connection_and_the_worker_calls_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is not for anyone to claim."""
    monkeypatch.setattr(channel_module, "PAUSES", (0.0,))
    talk, taken = Talk(tmp_path, b"\xff\xff\xff\xff", table(1)), []
    heard = asyncio.run(conversation(talk, channel(talk, taken), 3))
    assert names(heard) == ["Hello", "Hello", "Acknowledge"]
    assert talk.accepted == 2
    assert "hanging up" in caplog.text


def test_the_worker_calls_until_control_is_there(tmp_path: Path) -> None:
    """No socket yet is no error."""
    talk, taken = Talk(tmp_path, table(1)), []

    async def late() -> None:
        made = channel(talk, taken)
        running = asyncio.create_task(made.run())
        await asyncio.sleep(0.05)
        # What nobody can hear is not kept: control asks anew.
        made.report("i", "h", "lost")
        made.acknowledge()
        server = await talk.listen()
        await talk.until(2)
        made.report("i", "h", "heard")
        made.acknowledge()
        heard = await talk.until(4)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()
        await asyncio.sleep(0.01)
        assert heard[1:] == [Acknowledge(1), Unreachable("i", "h", "heard"), Acknowledge(1)]

    asyncio.run(late())
