"""Calls that have a witness. They go as all others of their kind; what the last container answers is shown to the
witness before it is passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyport.gateway.calls.invocation import Invocation
from polyport.gateway.calls.streaming import StreamedInvocation
from polyport.gateway.shadows.copied import CopiedInvocation

if TYPE_CHECKING:
    from polyport.gateway.calls.planning import Call
    from polyport.gateway.captures.witness import Witness
    from polyport.gateway.clients.request import Request
    from polyport.gateway.containers.upstream import Upstream
    from polyport.gateway.gateway import Gateway


class CapturedInvocation(Invocation):
    """``witness`` is set before it starts."""

    __slots__ = ("witness",)

    witness: Witness

    def _pass_on(self, upstream: Upstream) -> None:
        self.witness.answer(upstream)
        super()._pass_on(upstream)


class CapturedStream(StreamedInvocation):
    """What the container says is kept, not the frames that are made of it."""

    __slots__ = ("witness",)

    witness: Witness

    def _pass_on(self, upstream: Upstream) -> None:
        self.witness.answer(upstream)
        super()._pass_on(upstream)


class CapturedCopy(CopiedInvocation):
    """The copy of a call for a shadow variant: nobody is told its answer, and it may be kept."""

    __slots__ = ("witness",)

    witness: Witness

    def _pass_on(self, upstream: Upstream) -> None:
        self.witness.answer(upstream)
        super()._pass_on(upstream)


def begin(gateway: Gateway, witness: Witness, request: Request, call: Call) -> Witness:
    """The call behind its witness."""
    invocation: CapturedInvocation | CapturedStream
    if call[-1]:
        invocation = CapturedStream(gateway, witness, request, call, gateway.streams)
    else:
        invocation = CapturedInvocation(gateway, witness, request, call, gateway.calls)
    invocation.witness = witness
    witness.exchange = invocation
    return witness
