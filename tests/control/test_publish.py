"""The channel to the gateway workers, over a real Unix socket."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from unittest import mock

import pytest
import uvloop

from control.gateways import Gateway, frame, until
from polyport.control import publish
from polyport.domain.routes import Acknowledge, Address, EndpointRoute, Hello, InstanceRoute, Unreachable, VariantRoute

Body = Callable[["Channel"], Awaitable[None]]


def route(*instances: str, weight: float = 1.0, name: str = "endpoint") -> EndpointRoute:
    """An endpoint with one variant."""
    live = tuple(InstanceRoute(each, (Address("127.0.0.1", 1),)) for each in instances)
    variant = VariantRoute(name="A", weight=weight, mode="Direct", hostnames=("one",), instances=live)
    return EndpointRoute(account="1" * 12, region="us-east-1", name=name, variants=(variant,))


class Channel:
    """A publisher that listens, and gateways that connect to it."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.path = folder / "g.sock"
        self.progress = 0
        self.unreachable: list[Unreachable] = []
        self.publisher = publish.Publisher(workers, self._progressed, self.unreachable.append)
        self.gateways: list[Gateway] = []

    def _progressed(self) -> None:
        self.progress += 1

    async def connect(self, name: str = "1", *, hold: bool = False) -> Gateway:
        gateway = Gateway(self.path, name)
        gateway.hold = hold
        self.gateways.append(gateway)
        await gateway.connect()
        await until(lambda: any(worker.hello.worker == name for worker in self.publisher.workers))
        return gateway

    def put(self, route: EndpointRoute | None, unavailable: tuple[str, str, str, str] | None = None) -> None:
        self.publisher.put("id", route, unavailable)
        self.publisher.flush()


@pytest.fixture(params=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest, folder: Path) -> Callable[..., None]:
    """Runs a test body on both event loops; nothing of the channel is left behind."""

    async def main(body: Body, workers: int) -> None:
        channel = Channel(folder, workers)
        await channel.publisher.open(channel.path)
        try:
            await body(channel)
        finally:
            await channel.publisher.close()
            await until(lambda: all(gateway.is_cut_off for gateway in channel.gateways))
            for gateway in channel.gateways:
                await gateway.close()
            assert len(asyncio.all_tasks()) == 1

    def runner(body: Body, workers: int = 1) -> None:
        factory = uvloop.new_event_loop if request.param == "uvloop" else None
        with asyncio.Runner(loop_factory=factory) as loop:
            loop.run(main(body, workers))

    return runner


def test_a_worker_that_connects_gets_the_latest_table_at_once(run: Callable[..., None]) -> None:
    """A worker that was started again serves by the newest table without anything changing."""

    async def body(channel: Channel) -> None:
        channel.put(route("i-1"))
        channel.put(route("i-1", "i-2"))
        gateway = await channel.connect()
        table = await gateway.receives(1)
        assert table.endpoints == (route("i-1", "i-2"),)
        await until(lambda: channel.publisher.is_ready)

    run(body)


def test_nothing_is_pushed_before_control_knows_what_is(run: Callable[..., None]) -> None:
    """A worker that comes back before the first table is complete keeps the one it has."""

    async def body(channel: Channel) -> None:
        gateway = await channel.connect()
        channel.publisher.put("id", route("i-1"), None)
        assert not channel.publisher.is_ready
        gateway.send(Unreachable("i-9", "one", "so that there is something to wait for"))
        await until(lambda: channel.unreachable)
        assert not gateway.tables
        channel.publisher.flush()
        assert (await gateway.receives(1)).endpoints == (route("i-1"),)

    run(body)


def test_an_empty_table_is_a_table(run: Callable[..., None]) -> None:
    """Without any endpoint, workers get ready all the same; the same table is not pushed twice."""

    async def body(channel: Channel) -> None:
        gateway = await channel.connect()
        channel.publisher.flush()
        channel.publisher.flush()
        assert (await gateway.receives(1)).endpoints == ()
        await until(lambda: channel.publisher.is_ready)
        channel.put(route("i-1"))
        channel.put(route("i-1"))
        channel.put(None, ("1", "us-east-1", "endpoint", "Failed"))
        table = await gateway.receives(3)
        assert table.unavailable == (("1", "us-east-1", "endpoint", "Failed"),)
        assert table.endpoints == ()

    run(body)


def test_an_instance_is_routed_when_all_workers_acknowledged_and_not_before(run: Callable[..., None]) -> None:
    """One worker that holds back, or is away, and it does not count."""

    async def body(channel: Channel) -> None:
        publisher = channel.publisher
        channel.put(route("i-1"))
        first = await channel.connect("1")
        await first.receives(1)
        await until(lambda: channel.progress)
        assert not publisher.is_routed("i-1")
        second = await channel.connect("2", hold=True)
        await second.receives(1)
        assert not publisher.is_routed("i-1")
        second.acknowledge()
        await until(lambda: publisher.is_routed("i-1"))
        assert not publisher.is_routed("i-2")
        await second.close()
        await until(lambda: not publisher.is_routed("i-1"))

    run(body, workers=2)


def test_changed_weights_are_routed_only_once_acknowledged(run: Callable[..., None]) -> None:
    """An instance counts as routed by what the table now says of its endpoint, not by an older one."""

    async def body(channel: Channel) -> None:
        gateway = await channel.connect()
        channel.put(route("i-1"))
        await until(lambda: channel.publisher.is_routed("i-1"))
        gateway.hold = True
        channel.put(route("i-1", weight=2.0))
        assert not channel.publisher.is_routed("i-1")
        await gateway.receives(2)
        gateway.acknowledge()
        await until(lambda: channel.publisher.is_routed("i-1"))

    run(body)


def test_an_instance_is_drained_when_no_table_holds_it_and_no_call_is_in_it(run: Callable[..., None]) -> None:
    """Out of control's table, out of every worker's, and the last call ended: in this order, and only then."""

    async def body(channel: Channel) -> None:
        publisher = channel.publisher
        first, second = await channel.connect("1"), await channel.connect("2")
        channel.put(route("i-1", "i-2"))
        await until(lambda: publisher.is_routed("i-1"))
        assert not publisher.is_drained("i-1")
        second.hold = True
        first.draining = ("i-1",)
        channel.put(route("i-2"))
        await until(lambda: any("i-1" in worker.draining for worker in publisher.workers))
        assert not publisher.is_drained("i-1")
        await second.receives(2)
        second.acknowledge()
        await until(lambda: all(worker.acknowledged == first.tables[-1].version for worker in publisher.workers))
        assert not publisher.is_drained("i-1")
        first.draining = ()
        first.acknowledge()
        await until(lambda: publisher.is_drained("i-1"))
        assert not publisher.is_drained("i-2")

    run(body, workers=2)


def test_what_was_never_in_a_table_is_drained_once_every_worker_has_one_of_this_control(
    run: Callable[..., None],
) -> None:
    """A control that was started again cannot know what older tables hold: it waits until they are replaced."""

    async def body(channel: Channel) -> None:
        gateway = await channel.connect(hold=True)
        assert not channel.publisher.is_drained("i-1")
        channel.publisher.flush()
        await gateway.receives(1)
        gateway.send(Acknowledge(gateway.tables[0].version - 1))
        await until(lambda: channel.progress)
        assert not channel.publisher.is_drained("i-1")
        gateway.acknowledge()
        await until(lambda: channel.publisher.is_drained("i-1"))

    run(body)


def test_a_worker_that_reconnects_replaces_its_old_connection(run: Callable[..., None]) -> None:
    """The new connection has to acknowledge anew; what the old one still says does not count, nor does its end."""

    async def body(channel: Channel) -> None:
        channel.put(route("i-1"))
        old = await channel.connect("1")
        await until(lambda: channel.publisher.is_routed("i-1"))
        new = Gateway(channel.path, "1")
        new.hold = True
        channel.gateways.append(new)
        await new.connect()
        await new.receives(1)
        assert not channel.publisher.is_routed("i-1")
        old.send(Unreachable("i-1", "one", "from the past"))
        old.acknowledge()
        new.acknowledge()
        await until(lambda: channel.publisher.is_routed("i-1"))
        await old.close()
        new.send(Unreachable("i-1", "one", "now"))
        await until(lambda: channel.unreachable)
        assert [report.reason for report in channel.unreachable] == ["now"]
        assert len(channel.publisher.workers) == 1
        assert channel.publisher.is_routed("i-1")

    run(body)


@pytest.mark.parametrize(
    "nonsense",
    [
        b"\x00\x00\x00\x05hello",
        b"GET / HTTP/1.1\r\n\r\n",
        (publish.MAX_FRAME + 1).to_bytes(publish.PREFIX, "big"),
        b"\x00\x00\x00\x00",
        frame(Hello("another", 2)),
        b"\x00\x00\x00\x0d\x82\xa4type\xa3ack\xa1\xff\x01",
        (5013).to_bytes(publish.PREFIX, "big") + b"\x82\xa4type\xa3ack\xa1x" + b"\x91" * 5000 + b"\xc0",
    ],
    ids=[
        *("no MessagePack", "another protocol", "an over-long frame", "an empty frame", "a second hello"),
        *("a text that is none", "nesting without end"),
    ],
)
def test_nonsense_is_cut_off_and_others_are_served(run: Callable[..., None], nonsense: bytes) -> None:
    """Peers are not trusted: who does not keep to the channel's rules loses the connection, nobody else does."""

    async def body(channel: Channel) -> None:
        good = await channel.connect("good")
        bad = await channel.connect("bad")
        bad.send_raw(nonsense)
        await until(lambda: bad.is_cut_off)
        await until(lambda: len(channel.publisher.workers) == 1)
        channel.put(route("i-1"))
        assert (await good.receives(1)).endpoints
        await until(lambda: channel.publisher.is_routed("i-1"))

    run(body)


def test_who_does_not_say_hello_first_is_cut_off(run: Callable[..., None]) -> None:
    """An acknowledgement of nobody counts for nothing."""

    async def body(channel: Channel) -> None:
        reader, writer = await asyncio.open_unix_connection(channel.path)
        writer.write(frame(Acknowledge(1)))
        assert await reader.read() == b""
        assert not channel.publisher.workers
        writer.close()

    run(body)


def test_a_worker_that_hangs_up_in_the_middle_of_a_frame_is_gone(run: Callable[..., None]) -> None:
    """Half a frame is no frame."""

    async def body(channel: Channel) -> None:
        gateway = await channel.connect()
        gateway.send_raw(b"\x00\x00\x01\x00half")
        await gateway.close()
        await until(lambda: not channel.publisher.workers)

    run(body)


def test_a_worker_that_does_not_read_is_cut_off(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables do not pile up in memory for a worker that hangs; it comes back for the newest."""
    monkeypatch.setattr(publish, "MAX_BACKLOG", 100_000)

    async def body(channel: Channel) -> None:
        _, writer = await asyncio.open_unix_connection(channel.path, limit=1)
        writer.write(frame(Hello("deaf", 1)))
        await until(lambda: channel.publisher.workers)
        for number in range(200):
            channel.put(route(*(f"i-{each}" for each in range(500)), weight=float(number)))
            await asyncio.sleep(0)
        await until(lambda: not channel.publisher.workers)
        writer.close()

    run(body)


def test_versions_grow_over_restarts(folder: Path) -> None:
    """A control that was started again pushes versions above those of the one before it."""

    async def version() -> int:
        channel = Channel(folder, 1)
        await channel.publisher.open(channel.path)
        gateway = await channel.connect()
        for weight in range(1, 10):
            channel.put(route("i-1", weight=float(weight)))
        table = await gateway.receives(9)
        await channel.publisher.close()
        await gateway.close()
        return table.version

    assert asyncio.run(version()) < asyncio.run(version())


def test_versions_outgrow_those_of_a_clock_that_was_put_back(run: Callable[..., None]) -> None:
    """A worker that has a table from the future is told a newer one, and only that counts as acknowledged."""

    async def body(channel: Channel) -> None:
        channel.put(route("i-1"))
        gateway = await channel.connect(hold=True)
        now = (await gateway.receives(1)).version
        gateway.send(Acknowledge(now + 1000))
        table = await gateway.receives(2)
        assert table.version > now + 1000
        assert table.endpoints == (route("i-1"),)
        assert not channel.publisher.is_routed("i-1")
        gateway.acknowledge()
        await until(lambda: channel.publisher.is_routed("i-1"))

    run(body)


def test_the_socket_is_for_its_owner_alone(run: Callable[..., None]) -> None:
    """Nobody else on the machine may tell control what gateways do."""

    async def body(channel: Channel) -> None:
        assert channel.path.stat().st_mode & 0o777 == 0o600

    run(body)


def test_a_socket_left_by_a_killed_control_is_in_nobodys_way(run: Callable[..., None]) -> None:
    """A second `open` at the same path works, and repeated `close` is fine."""

    async def body(channel: Channel) -> None:
        other = publish.Publisher(1, mock.Mock(), mock.Mock())
        await other.open(channel.path)
        gateway = await Gateway(channel.path).connect()
        await until(lambda: other.workers)
        await other.close()
        await other.close()
        await gateway.close()

    run(body)


def test_a_mute_worker_is_cut_off_after_so_many_looks(run: Callable[..., None]) -> None:
    """One that answers is not, however old its answer is; and looks count, not time: a control that stood still for an
    hour has not read the answers yet."""

    async def body(channel: Channel) -> None:
        mute = await channel.connect("1")
        await channel.connect("2")
        channel.put(route("i-1"))
        await until(lambda: channel.publisher.is_ready)
        for _ in range(5):
            assert channel.publisher.cut_off_mute(2.0, 1.0) == []
        mute.hold = True
        channel.put(route("i-2"))
        await until(lambda: any(not worker.owes for worker in channel.publisher.workers))
        assert channel.publisher.cut_off_mute(2.0, 1.0) == []
        assert channel.publisher.cut_off_mute(2.0, 1.0) == []
        [found] = channel.publisher.cut_off_mute(2.0, 1.0)
        assert found.hello.worker == "1"
        await until(lambda: mute.is_cut_off)
        assert [worker.hello.worker for worker in channel.publisher.workers] == ["2"]

    run(body, workers=2)
