"""Calls as they are when they are traced: each attempt at a container is noted, and the container told its context."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from polyport.gateway import faults
from polyport.gateway.calls.invocation import Invocation
from polyport.gateway.calls.streaming import StreamedInvocation
from polyport.gateway.traces import hop as hops
from polyport.gateway.traces.hop import Hop

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.calls.course import Course
    from polyport.gateway.calls.inflow import Inflow
    from polyport.gateway.calls.planning import Call
    from polyport.gateway.clients.request import Fields, Request
    from polyport.gateway.containers import routes
    from polyport.gateway.containers.upstream import Upstream
    from polyport.gateway.deadlines import Lane
    from polyport.gateway.gateway import Gateway
    from polyport.gateway.traces.traced import TracedCall


class TracedInvocation(Invocation):
    """Its client is the `TracedCall`, to which it reports."""

    __slots__ = ("_giver_hop", "_hop", "_plain")

    def __init__(self, gateway: Gateway, client: TracedCall, request: Request, call: Call, lane: Lane[Course]) -> None:
        super().__init__(gateway, client, request, call, lane)
        #: The header lines for a container without its context.
        self._plain = self._extra
        #: The attempt that is under way, and the one before while its answer still comes.
        self._hop: Hop | None = None
        self._giver_hop: Hop | None = None

    # What the upstream does

    def connected(self, upstream: Upstream) -> None:
        """The request is sent."""
        if not self._done and self._hop is not None:
            hop = self._hop
            hop.sends += 1
            hop.reason = ""
            hop.sent = hop.sent or self._trace.now()
        super().connected(upstream)

    def received(self, upstream: Upstream) -> None:
        """An answer comes."""
        hop = self._hop_of(upstream)
        if hop is not None:
            hop.status = upstream.status
            hop.received += sum(map(len, upstream.parts))
        super().received(upstream)
        if self._inflow is None:
            self._close_giver()

    def broken(self, upstream: Upstream, reason: str) -> None:
        """It will not come."""
        hop = self._hop_of(upstream)
        if hop is not None:
            hop.reason = reason
        super().broken(upstream, reason)

    def refused(self, reason: str) -> None:
        """Another instance is another attempt."""
        self._fail_hop(hops.CONNECTION, reason)
        super().refused(reason)

    def crowded(self, *, has_waited: bool) -> None:
        """As `refused`."""
        self._fail_hop(hops.CROWDED, "")
        super().crowded(has_waited=has_waited)

    def abandon(self) -> None:
        """The client is gone."""
        self._cancel()
        super().abandon()

    # Steps

    def _go(self) -> None:
        place = self._stages[self._position]
        hop = self._hop = self._trace.open(self._instance, place, self._position, self._size)
        self._extra = self._plain + hop.lines()
        super()._go()

    def _advance(self, upstream: Upstream, size: int, rest: Inflow | None = None) -> None:
        self._close_giver()
        if rest is None:
            self._close_hop()
        else:
            self._giver_hop, self._hop = self._hop, None
        super()._advance(upstream, size, rest)

    def _heed(self, fields: Fields) -> None:
        self._extra = self._plain
        super()._heed(fields)
        self._plain = self._extra

    def _end_badly(
        self, error: ApiError, reason: faults.Interruption, container: routes.Container | None = None
    ) -> None:
        is_giver = container is not None and container is not self._stage
        hop = self._giver_hop if is_giver else self._hop
        if hop is not None and not self._done:
            hop.error = _error_of(hop, error, reason)
        self._cancel()
        super()._end_badly(error, reason, container)

    def _leave(self) -> None:
        self._close_giver()
        self._close_hop()
        super()._leave()

    # What is noted

    @property
    def _trace(self) -> TracedCall:
        return cast("TracedCall", self._client)

    def _hop_of(self, upstream: Upstream) -> Hop | None:
        is_giver = self._inflow is not None and upstream is self._inflow.source
        return self._giver_hop if is_giver else self._hop

    def _fail_hop(self, error: str, reason: str) -> None:
        if self._hop is not None:
            self._hop.error, self._hop.reason = error, reason
            self._close_hop()

    def _cancel(self) -> None:
        """What is under way ends for the fault of something else, if it has none of its own."""
        for hop in (self._giver_hop, self._hop):
            if hop is not None and not hop.error:
                hop.error = hops.CANCELLED

    def _close_hop(self) -> None:
        hop, self._hop = self._hop, None
        if hop is not None:
            self._trace.note(hop)

    def _close_giver(self) -> None:
        hop, self._giver_hop = self._giver_hop, None
        if hop is not None:
            self._trace.note(hop)


class TracedStream(TracedInvocation, StreamedInvocation):
    """A traced call that answers in frames."""

    __slots__ = ()


def _error_of(hop: Hop, error: ApiError, reason: faults.Interruption) -> str:
    """What kind of error ended an attempt."""
    if reason is faults.TIME_EXCEEDED:
        return hops.TIMEOUT
    if hop.status >= 300:
        return str(hop.status)
    return hops.CONNECTION if hop.reason else error.code
