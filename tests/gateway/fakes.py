"""A gateway without sockets: bytes in, bytes out, and a clock that only moves when told."""

import json
from collections.abc import Callable, Iterable
from typing import Any

from polyport.domain.access import AccessTable
from polyport.domain.counts import Counts
from polyport.domain.routes import (
    Address,
    EndpointRoute,
    InstanceRoute,
    Refused,
    RouteTable,
    ShadowRoute,
    VariantRoute,
)
from polyport.gateway.clients.connection import Connection
from polyport.gateway.containers.bounded import BoundedPool
from polyport.gateway.containers.upstream import Pool, Upstream, User
from polyport.gateway.gateway import Gateway
from polyport.gateway.options import Options

ACCOUNT = "123456789012"
REGION = "us-east-1"
#: Anybody may call.
OPEN = AccessTable(is_open=True, account=ACCOUNT)
OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi"
#: The headers that a gateway may send to a container, and those that it may tell a client of an invocation.
TO_CONTAINERS = {
    b"host",
    b"content-type",
    b"accept",
    b"content-length",
    b"x-amzn-sagemaker-custom-attributes",
    b"x-amzn-sagemaker-inference-id",
    b"x-amzn-sagemaker-session-id",
    b"traceparent",
    b"tracestate",
}
TO_CLIENTS = {
    b"x-amzn-requestid",
    b"x-amzn-errortype",
    b"x-amzn-invoked-production-variant",
    b"x-amzn-sagemaker-custom-attributes",
    b"x-amzn-sagemaker-content-type",
    b"x-amzn-sagemaker-new-session-id",
    b"x-amzn-sagemaker-closed-session-id",
    b"server-timing",
    b"date",
    b"connection",
    b"content-type",
    b"content-length",
    b"transfer-encoding",
}


class Transport:
    """What asyncio's transports promise, kept in lists."""

    def __init__(self, protocol: Any, **extra: Any) -> None:
        self.protocol = protocol
        self.extra = extra
        self.written = bytearray()
        self.closed = self.aborted = self.wrote_eof = self.paused = False
        protocol.connection_made(self)

    def write(self, data: bytes) -> None:
        assert not self.is_closing(), "nothing is written to a closed transport"
        assert not self.wrote_eof
        self.written += data

    def writelines(self, parts: Iterable[bytes]) -> None:
        self.write(b"".join(parts))

    def take(self) -> bytes:
        """What was written since the last look."""
        taken = bytes(self.written)
        self.written.clear()
        return taken

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.wrote_eof = True

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False

    def get_write_buffer_size(self) -> int:
        return 0

    def get_extra_info(self, name: str) -> Any:
        return self.extra.get(name)

    # What the other side does

    def receive(self, data: bytes) -> None:
        assert not self.is_closing(), "nothing is received on a closed transport"
        self.protocol.data_received(data)

    def hang_up(self, exc: Exception | None = None) -> None:
        """The peer closes (or resets, with an exception)."""
        if exc is None:
            self.protocol.eof_received()
        self.closed = True
        self.protocol.connection_lost(exc)


class Loop:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.timers: list[tuple[float, Callable[[], object]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, callback: Callable[[], object]) -> Any:
        entry = (when, callback)
        self.timers.append(entry)
        return type("Handle", (), {"cancel": lambda _: self.timers.remove(entry)})()

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for entry in sorted(self.timers, key=lambda one: one[0]):
            if entry in self.timers and entry[0] <= self.now:
                self.timers.remove(entry)
                entry[1]()


class FakePool(Pool):
    """A pool whose connections open when the test says so."""

    def __init__(self, address: Address | None = None) -> None:
        super().__init__(lambda factory: None)  # type: ignore[arg-type, return-value]
        self.address = address
        self.users: list[User] = []
        self.upstreams: list[Upstream] = []

    def open(self, user: User) -> None:
        self.users.append(user)

    def accept(self) -> Transport:
        """The oldest connection that was asked for is made."""
        upstream = Upstream(self)
        self.upstreams.append(upstream)
        transport = Transport(upstream)
        self.users.pop(0).connected(upstream)
        return transport

    def refuse(self, reason: str = "Connection refused") -> None:
        self.users.pop(0).refused(reason)


class FakeBoundedPool(BoundedPool, FakePool):
    """The same, with a bound and a line before it."""

    def __init__(self, address: Address, loop: Loop, options: Options) -> None:
        most, size, seconds = options.max_concurrent_invocations, options.queue_size, options.queue_timeout
        super().__init__(address, loop, most=most, size=size, seconds=seconds)  # type: ignore[arg-type]  # FakePool's


class World:
    """A gateway with what is around it."""

    def __init__(self, *endpoints: EndpointRoute, version: int = 1, access: AccessTable = OPEN, **options: Any) -> None:
        self.loop = Loop()
        self.pools: dict[Address, FakePool] = {}
        self.control = FakePool()
        self.reports: list[tuple[str, str, str]] = []
        self.drained = 0
        self.told: list[Refused] = []
        self.counts: list[Counts] = []
        #: Control says at once that it has the counts.
        self.settles = True
        self.access = access
        self.draws: list[float] = []
        self.gateway = Gateway(
            Options(
                name="w",
                host="127.0.0.1",
                port=0,
                channel="",
                control="",
                account=ACCOUNT,
                region=REGION,
                **options,
            ),
            self.loop,
            open_pool=self._open_pool,
            control=self.control,
            report=lambda *about: self.reports.append(about),
            tell=self._hear,
            count=self._take_counts,
            on_drained=self._count_drained,
            draw=lambda: self.draws.pop(0) if self.draws else 0.0,
        )
        self.publish(*endpoints, version=version)

    def publish(
        self, *endpoints: EndpointRoute, version: int, unavailable: tuple[tuple[str, str, str, str], ...] = ()
    ) -> None:
        self.gateway.take(RouteTable(version=version, access=self.access, endpoints=endpoints, unavailable=unavailable))

    def connect(self) -> Transport:
        return Transport(Connection(self.gateway))

    def pool(self, port: int) -> FakePool:
        return self.pools[Address("127.0.0.1", port)]

    def call(self, request: bytes, *answers: tuple[int, bytes]) -> bytes:
        """One request on a connection of its own; ``answers`` are what containers (by port) say, in order."""
        client = self.connect()
        client.receive(request)
        for port, answer in answers:
            pool = self.pool(port)
            if pool.users:
                pool.accept().receive(answer)
            else:
                self.busy(port).receive(answer)
        return client.take()

    def busy(self, port: int) -> Transport:
        """The transport of the container's connection that waits for an answer."""
        (upstream,) = (
            one for one in self.pool(port).upstreams if one not in one.pool.idle and not one.transport.is_closing()
        )
        return upstream.transport  # type: ignore[return-value]

    def _open_pool(self, address: Address) -> FakePool:
        options = self.gateway.options
        is_bounded = options.max_concurrent_invocations
        pool = FakeBoundedPool(address, self.loop, options) if is_bounded else FakePool(address)
        self.pools[address] = pool
        return pool

    def _take_counts(self, counts: Counts) -> bool:
        self.counts.append(counts)
        if self.settles:
            self.gateway.ledger.settle(counts.number)
        return True

    def _hear(self, refused: Refused) -> bool:
        self.told.append(refused)
        return True

    @property
    def records(self) -> list[dict[str, Any]]:
        """What the audit log was told, so far."""
        self.gateway.sweep()
        return [json.loads(record) for refused in self.told for record in refused.records]

    def _count_drained(self) -> None:
        self.drained += 1


def instance(name: str, *ports: int) -> InstanceRoute:
    return InstanceRoute(name, tuple(Address("127.0.0.1", port) for port in ports))


def variant(*instances: InstanceRoute, name: str = "AllTraffic", weight: float = 1.0, **fields: Any) -> VariantRoute:
    return VariantRoute(
        name=name,
        weight=weight,
        **({"mode": "Single", "hostnames": ("only",)} | fields),
        instances=instances,
    )


def endpoint(
    name: str,
    *variants: VariantRoute,
    region: str = REGION,
    account: str = ACCOUNT,
    shadows: tuple[ShadowRoute, ...] = (),
) -> EndpointRoute:
    return EndpointRoute(account=account, region=region, name=name, variants=variants, shadows=shadows)


def shadow(*instances: InstanceRoute, share: float = 1.0, name: str = "Shadow", **fields: Any) -> ShadowRoute:
    return ShadowRoute(variant(*instances, name=name, **fields), share)


def single(name: str = "single") -> EndpointRoute:
    return endpoint(name, variant(instance("i1", 1)))


def direct(name: str = "direct") -> EndpointRoute:
    return endpoint(name, variant(instance("i2", 11, 12), mode="Direct", hostnames=("first", "second")))


def serial(name: str = "serial", *extra: InstanceRoute) -> EndpointRoute:
    instances = (instance("i3", 21, 22, 23), *extra)
    return endpoint(name, variant(*instances, mode="Serial", hostnames=("one", "two", "three")))


def invoke(
    name: str, body: bytes = b"{}", operation: str = "invocations", path: str | None = None, **headers: str
) -> bytes:
    """An invocation on the wire; ``Content_Type`` stands for ``Content-Type``."""
    lines = [
        f"POST {path or f'/endpoints/{name}/{operation}'} HTTP/1.1",
        "Host: polyport",
        f"Content-Length: {len(body)}",
    ]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def answer(body: bytes = b"hi", status: str = "200 OK", **headers: str) -> bytes:
    """A container's answer on the wire."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{key.replace('_', '-')}: {value}" for key, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Reply:
    """One answer taken apart. ``headers`` by lower-case name."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.pairs = [tuple(line.split(": ", 1)) for line in lines]
        self.headers = {name.lower(): value for name, value in self.pairs}

    @property
    def error(self) -> dict[str, Any]:
        assert int(self.headers["content-length"]) == len(self.body)
        assert self.headers["content-type"] == "application/json"
        return dict(json.loads(self.body))


def replies(raw: bytes) -> list[Reply]:
    """Several answers, all with a Content-Length."""
    found = []
    while raw:
        reply = Reply(raw)
        end = len(raw) - len(reply.body) + int(reply.headers["content-length"])
        found.append(Reply(raw[:end]))
        raw = raw[end:]
    return found
