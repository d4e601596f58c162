"""Calls that others look on at: for shadow variants, and to capture what goes in and out."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from polyport.gateway.clients.between import innermost

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyport.gateway.calls.invocation import Invocation
    from polyport.gateway.calls.planning import Call
    from polyport.gateway.clients.exchange import Client, Taker
    from polyport.gateway.clients.request import Request
    from polyport.gateway.gateway import Gateway


def begin(
    gateway: Gateway,
    client: Client,
    request: Request,
    call: Call,
    whole: Callable[..., Taker],
    stream: Callable[..., Taker],
) -> Taker:
    """The exchange of a call to an endpoint that has shadows or captures, inside of whatever looks on at it. The last
    two are the gateway's `Makers`."""
    endpoint, variant = call[0], call[1]
    mirror = gateway.shadows.watch(client, request, call) if endpoint.shadows else None
    if mirror is not None:
        client = mirror
    witness = None
    if variant.capture is not None:
        witness = gateway.captures.watch(client, request, endpoint, variant.name, variant.capture)
    if witness is not None:
        client = witness
    exchange = (
        stream(gateway, client, request, call, gateway.streams)
        if call[-1]
        else whole(gateway, client, request, call, gateway.calls)
    )
    if witness is not None:
        cast("Invocation", innermost(exchange)).witness = witness
        witness.exchange = exchange
        exchange = witness
    if mirror is None:
        return exchange
    mirror.exchange = exchange
    return mirror
