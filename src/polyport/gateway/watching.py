"""Calls that others look on at: for shadow variants, and to capture what goes in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyport.gateway.calls.invocation import Invocation
from polyport.gateway.calls.streaming import StreamedInvocation
from polyport.gateway.captures import captured

if TYPE_CHECKING:
    from polyport.gateway.calls.planning import Call
    from polyport.gateway.clients.exchange import Client, Taker
    from polyport.gateway.clients.request import Request
    from polyport.gateway.gateway import Gateway


def begin(gateway: Gateway, client: Client, request: Request, call: Call) -> Taker:
    """The exchange of a call to an endpoint that has shadows or captures, inside of whatever looks on at it."""
    endpoint, variant = call[0], call[1]
    mirror = gateway.shadows.watch(client, request, call) if endpoint.shadows else None
    if mirror is not None:
        client = mirror
    witness = None
    if variant.capture is not None:
        witness = gateway.captures.watch(client, request, endpoint, variant.name, variant.capture)
    exchange: Taker
    if witness is not None:
        exchange = captured.begin(gateway, witness, request, call)
    elif call[-1]:
        exchange = StreamedInvocation(gateway, client, request, call, gateway.streams)
    else:
        exchange = Invocation(gateway, client, request, call, gateway.calls)
    if mirror is None:
        return exchange
    mirror.exchange = exchange
    return mirror
