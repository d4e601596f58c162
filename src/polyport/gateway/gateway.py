"""What all connections of a worker share: the table, the pools, the clock, the deadlines."""

import asyncio
import random
from collections.abc import Callable
from hashlib import sha256
from time import monotonic, time
from typing import Any, cast

from polyport.access.keyring import Known
from polyport.aws import claims, denials
from polyport.aws.denials import Denial
from polyport.domain import captures as domain_captures
from polyport.domain.access import AccessTable
from polyport.domain.counts import Counts
from polyport.domain.names import Owner
from polyport.domain.routes import Address, Refused, RouteTable
from polyport.errors import ApiError
from polyport.gateway import access_log, watching
from polyport.gateway.callers import audit
from polyport.gateway.callers import guard as guards
from polyport.gateway.callers.audit import Refusals
from polyport.gateway.callers.guard import Guard
from polyport.gateway.calls import members, planning
from polyport.gateway.calls.course import Course
from polyport.gateway.calls.forward import Forward
from polyport.gateway.calls.invocation import Invocation
from polyport.gateway.calls.makers import PLAIN
from polyport.gateway.captures.captures import Captures
from polyport.gateway.clients import between
from polyport.gateway.clients.connection import Connection
from polyport.gateway.clients.exchange import Client, Exchange, Taker
from polyport.gateway.clients.request import INVOCATIONS, Request
from polyport.gateway.clients.surplus import Surplus
from polyport.gateway.clock import Clock
from polyport.gateway.containers import routes
from polyport.gateway.containers.bounded import BoundedPool
from polyport.gateway.containers.upstream import Pool
from polyport.gateway.counting import Ledger
from polyport.gateway.deadlines import Lane, Loop
from polyport.gateway.options import Options
from polyport.gateway.shadows.shadows import Shadows
from polyport.gateway.traces.tracing import Tracing

Report = Callable[[str, str, str], object]
"""Tells control that a container does not answer: instance id, hostname, reason."""

#: Control closes a connection that was idle for 5 seconds. Ours is closed before (see `Pool.sweep`): a request that
#: meets control's closing on its way may not be sent again.
CONTROL_IDLE_SWEEPS = 2
#: Seconds that a client has to use an idle connection once more, before a worker that is replaced closes it.
LEAVING_SWEEPS = 5
#: Seconds between two reports of the same container.
REPORT_INTERVAL = 1.0


class Gateway:
    """One per worker. ``open_pool`` and ``control`` are how it reaches others, so tests need no sockets."""

    def __init__(
        self,
        options: Options,
        loop: Loop,
        *,
        open_pool: routes.OpenPool,
        control: Pool,
        report: Report = lambda *_: None,
        tell: Callable[[Refused], bool] = lambda _: True,
        count: Callable[[Counts], bool] = lambda _: True,
        tell_captures: Callable[[domain_captures.Captures], object] = lambda _: None,
        on_drained: Callable[[], object] = lambda: None,
        draw: Callable[[], float] = random.random,
        tracing: Tracing | None = None,
    ) -> None:
        self.options = options
        self.loop = loop
        self.draw = draw
        self.clock = Clock()
        self.control = control
        self.connections: set[Connection] = set()
        #: Clients too many, on their way out.
        self.surplus: set[Surplus] = set()
        self.most_connections = options.max_connections
        self.calls: Lane[Course] = Lane(loop, options.invocation_timeout, Course.expire)
        self.streams: Lane[Course] = Lane(loop, options.stream_timeout, Course.expire)
        #: Calls whose container has not begun its answer, if there is a limit to that.
        self.stages: Lane[Course] | None = None
        if options.stage_timeout:
            self.stages = Lane(loop, options.stage_timeout, Course.expire)
        self.forwards: Lane[Forward] = Lane(loop, options.invocation_timeout, Forward.expire)
        self.shadows = Shadows(self, options.shadow_max_calls, options.shadow_max_bytes)
        self.captures = Captures(options, draw, tell_captures)
        self.access_log = access_log.Log(options.access_log) if options.access_log else None
        #: Traces of calls, if there are any.
        self.tracing = tracing
        self.ledger = Ledger(count)
        self.index = routes.empty()
        #: No new connections, no further requests: the process is about to end.
        self.is_draining = False
        #: Answers of control that may go on for hours.
        self.tails: set[Forward] = set()
        #: For how long a connection may be idle then, in sweeps.
        self.idle_sweeps = 0
        self.on_idle: Callable[[], object] = lambda: None
        self._open_pool = open_pool
        self._report = report
        self._reported: dict[tuple[str, str], float] = {}
        self._on_drained = on_drained
        #: Decides who may invoke what; ``None``: anybody may anything, for there is no key.
        self.guard: Guard | None = Guard(self.index.access, is_secure=bool(options.tls_cert))
        self.refusals = Refusals(tell)
        #: Whose calls those are that say nothing of it.
        self._owner = Owner(options.account, options.region)
        self._home = options.account, options.region
        self._operations = members.load()
        #: Instances that left the table with calls in flight.
        self._draining: dict[str, routes.Instance] = {}

    # For connections

    def accept(self) -> Connection | Surplus:
        """What serves a new connection."""
        return Connection(self) if len(self.connections) < self.most_connections else Surplus(self)

    def serve(self, client: Client, request: Request) -> Exchange:
        """The exchange that will answer the request; the caller starts it."""
        if not request.target.startswith(INVOCATIONS):
            return Forward(self, client, request)
        if self.access_log is not None:
            client = entry = access_log.Entry(self.access_log, client, request)
            # `take` is asked only of those that `serve_early` gives; so it is of what looks on for shadows.
            entry.exchange = cast(Taker, self._invoke(client, request))
            return entry
        return self._invoke(client, request)

    def _invoke(self, client: Client, request: Request) -> Exchange:
        began = monotonic()
        known: Known | None = None
        whole, stream, refuse = PLAIN if self.tracing is None else self.tracing.begin(request)
        try:
            if self.guard is None:
                # A known head has neither a signature nor an origin.
                owner = self._home if request.known is not None else self._home_of(request)
            else:
                known = self.guard.identify(request)
                owner = self.guard.authorize(known, request, client)
            call = planning.plan(request, self.index, owner, self._operations, self.draw, self.loop.time)
        except ApiError as error:
            refusal = self._refuse(client, request, known, error)
            return refuse(client, request.target, refusal, began if self.options.server_timing else None)
        if call[0].is_watched:
            return watching.begin(self, client, request, call, whole, stream)
        if call[-1]:
            return stream(self, client, request, call, self.streams)
        return whole(self, client, request, call, self.calls)

    def _home_of(self, request: Request) -> tuple[str, str]:
        """The account and region of whoever calls a server without keys. Raises `ApiError`."""
        fields = request.fields
        if b"origin" in fields:
            raise denials.cross_site()
        authorization = fields.get(b"authorization")
        if authorization is None and b"X-Amz-" not in request.target:
            return self._home
        try:
            credential = claims.credential_of(authorization or b"", request.target.partition(b"?")[2])
        except Denial:
            # Any credentials are accepted, these too.
            return self._home
        return (self._owner.account, credential.region) if credential else self._home

    def expect(self, client: Client, request: Request) -> None:
        """A larger body is to come; for somebody whom nobody knows it is not waited. Raises `ApiError`."""
        if self.guard is None or not request.target.startswith(INVOCATIONS):
            return
        try:
            covers_body = self.guard.expect(request)
        except ApiError as error:
            raise self._refuse(client, request, None, error) from None
        if covers_body:
            request.hasher = sha256()

    def _refuse(self, client: Client, request: Request, known: Known | None, error: ApiError) -> ApiError:
        """The error as the client is told it; the audit log hears of it."""
        error = guards.told(error)
        caller = known.caller if known else None
        explanation = self.guard.explain(known, request, client) if self.guard and known else ""
        owner = caller.owner if caller else self._owner
        self.refusals.add(audit.describe(request, owner, caller, client.peer(), error, explanation))
        return error

    def serve_early(self, client: Client, request: Request) -> Taker | None:
        """The exchange for a request whose body is still coming, of which the length is known; the caller starts it.
        ``None``: it is served when it is whole, or refused. Nothing of a signed body reaches a container before all of
        it is found to be what was signed."""
        if request.hasher is not None:
            return None
        exchange = self.serve(client, request)
        return cast(Taker, exchange) if isinstance(between.innermost(exchange), Invocation) else None

    def connection_line(self, request: Request) -> bytes:
        """The header line that tells a client whether its connection goes on, where that is not self-evident."""
        if self.is_draining or not request.keep_alive:
            return b"Connection: close\r\n"
        return b"Connection: keep-alive\r\n" if request.is_legacy else b""

    def forget(self, connection: Connection) -> None:
        """A client connection is gone."""
        self.connections.discard(connection)
        if self.is_draining and not self.connections:
            self.on_idle()

    # For exchanges

    def release(self, instance: routes.Instance) -> None:
        """A call has left an instance."""
        instance.outstanding -= 1
        if instance.is_retired and not instance.outstanding and self._draining.pop(instance.id, None) is not None:
            self._on_drained()

    def report(self, instance: routes.Instance, hostname: str, reason: str) -> None:
        """A container refused a connection, or broke one."""
        now, key = self.loop.time(), (instance.id, hostname)
        if now >= self._reported.get(key, 0.0):
            self._reported[key] = now + REPORT_INTERVAL
            self._report(instance.id, hostname, reason)

    # For the worker

    @property
    def draining(self) -> tuple[str, ...]:
        """The instances that the table no longer holds but that calls begun earlier still use."""
        return tuple(self._draining)

    def take(self, table: RouteTable) -> None:
        """Serve by this table from now on. An older one than there is is left alone. One that cannot be used raises,
        and nothing of it is used: neither routes without their guard, nor a guard without its routes."""
        before = self.index
        if table.version < before.version:
            return
        guard, owner = self.guard, self._owner
        if table.access != before.access:
            guard, owner = self._of_access(table.access)
        self.index = routes.build(table, before, self._draining, self._open_pool)
        self.guard, self._owner = guard, owner
        for instance in before.instances.values():
            if instance.id not in self.index.instances:
                self._retire(instance)
        for kept in self.index.instances:
            self._draining.pop(kept, None)
        self._reported = {key: until for key, until in self._reported.items() if key[0] in self.index.instances}

    def _of_access(self, access: AccessTable) -> tuple[Guard | None, Owner]:
        """Who stands at the door, and whose endpoints strangers call if nobody does."""
        if access.is_open:
            return None, Owner(access.account, self.options.region)
        return Guard(access, is_secure=bool(self.options.tls_cert), before=self.guard), self._owner

    def sweep(self) -> None:
        """Once a second: who had time enough?"""
        clients: list[Connection | Surplus] = [*self.connections, *self.surplus]
        for client in clients:
            client.sweep()
        for instance in self.index.instances.values():
            for container in instance.containers:
                container.pool.sweep()
        self.control.sweep()
        self.shadows.sweep()
        self.captures.sweep()
        self.refusals.flush()
        self.ledger.gather(self.index, time())
        if self.access_log is not None:
            self.access_log.flush()
        if self.tracing is not None:
            self.tracing.sweep()

    def drain(self, *, patiently: bool = False) -> None:
        """Finish what is in flight and take nothing more. ``on_idle`` is called when the last client is gone;
        copies for shadow variants are not waited for.

        ``patiently``: a client whose connection is idle may be about to use it, so it gets one more answer, which tells
        that the connection ends. Only those that stay quiet are closed.
        """
        self.is_draining = True
        self.idle_sweeps = LEAVING_SWEEPS if patiently else 0
        for forward in tuple(self.tails):
            forward.drain()
        for connection in tuple(self.connections):
            connection.drain()
        if not self.connections:
            self.on_idle()

    def close(self) -> None:
        """Let go of everything, finished or not."""
        clients: list[Connection | Surplus] = [*self.connections, *self.surplus]
        for client in clients:
            client.transport.abort()
        self.shadows.close()
        self.captures.close()
        self.refusals.flush()
        for instance in (*self.index.instances.values(), *self._draining.values()):
            instance.close()
        self.control.close()
        for lane in (self.calls, self.streams, self.stages, self.forwards):
            if lane is not None:
                lane.close()
        if self.access_log is not None:
            self.access_log.close()
        if self.tracing is not None:
            self.tracing.close()

    def _retire(self, instance: routes.Instance) -> None:
        instance.is_retired = True
        instance.close()
        if instance.outstanding:
            self._draining[instance.id] = instance


def tcp_pool(loop: asyncio.AbstractEventLoop, options: Options) -> routes.OpenPool:
    """Pools of connections to addresses of containers."""
    most, size, seconds = options.max_concurrent_invocations, options.queue_size, options.queue_timeout

    def open_pool(address: Address) -> Pool:
        def connect(factory: Callable[[], Any]) -> Any:
            return loop.create_connection(factory, address.host, address.port)

        return BoundedPool(connect, loop, most=most, size=size, seconds=seconds) if most else Pool(connect)

    return open_pool


def unix_pool(loop: asyncio.AbstractEventLoop, path: str) -> Pool:
    """A pool of connections to a Unix socket."""

    def connect(factory: Callable[[], Any]) -> Any:
        return loop.create_unix_connection(factory, path)

    return Pool(connect, CONTROL_IDLE_SWEEPS)
