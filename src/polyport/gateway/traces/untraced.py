"""A call that is not traced where others are: its containers are told so, lest they begin traces of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyport.gateway.calls import headers
from polyport.gateway.calls.invocation import Invocation
from polyport.gateway.calls.refusal import Refusal
from polyport.gateway.calls.streaming import StreamedInvocation
from polyport.telemetry.traces import context
from polyport.telemetry.traces.context import SAMPLED, Context

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.calls.course import Course
    from polyport.gateway.calls.planning import Call
    from polyport.gateway.clients.exchange import Client
    from polyport.gateway.clients.request import Request
    from polyport.gateway.deadlines import Lane
    from polyport.gateway.gateway import Gateway


class UntracedCall:
    """Plain calls, but for the context that they pass on: the caller's, or that of a trace which nobody records."""

    __slots__ = ("_context",)

    def __init__(self, caller: Context | None, trace_id: int) -> None:
        if caller is None:
            self._context = Context(trace_id, context.new_span_id(), 0)
        else:
            self._context = Context(trace_id, caller.span_id, caller.flags & ~SAMPLED, caller.state)

    def whole(self, gateway: Gateway, client: Client, request: Request, call: Call, lane: Lane[Course]) -> Invocation:
        """A call."""
        self._mark(request)
        return Invocation(gateway, client, request, call, lane)

    def stream(
        self, gateway: Gateway, client: Client, request: Request, call: Call, lane: Lane[Course]
    ) -> StreamedInvocation:
        """A call that answers in frames."""
        self._mark(request)
        return StreamedInvocation(gateway, client, request, call, lane)

    def refuse(self, client: Client, target: bytes, error: ApiError, began: float | None) -> Refusal:
        """No call."""
        return Refusal(client, target, error, began)

    def _mark(self, request: Request) -> None:
        # The members themselves may be those of a known head.
        members = {**headers.without_context(request.members), context.PARENT: self._context.parent()}
        if self._context.state:
            members[context.STATE] = self._context.state
        request.members = members
