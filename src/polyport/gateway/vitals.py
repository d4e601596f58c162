"""Takes a worker's pulse, once a second and off the way of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyport.domain.pulse import Pulse
from polyport.gateway.containers.bounded import BoundedPool
from polyport.telemetry.metrics import process

if TYPE_CHECKING:
    from polyport.gateway.gateway import Gateway


def take(gateway: Gateway, lag: float) -> Pulse:
    """``lag``: seconds by which the tick that asks came too late."""
    log = gateway.access_log
    return Pulse(
        connections=len(gateway.connections) + len(gateway.surplus),
        calls=len(gateway.calls) + len(gateway.streams),
        waiting=_waiting(gateway),
        lag=max(0.0, lag),
        cpu=process.cpu_seconds(),
        memory=process.memory(),
        refused=dict(gateway.refusals.counts),
        copies=dict(gateway.shadows.totals()),
        lost_lines=log.lost if log is not None else 0,
    )


def _waiting(gateway: Gateway) -> int:
    pools = [each.pool for instance in gateway.index.instances.values() for each in instance.containers]
    return sum(pool.waiting for pool in pools if isinstance(pool, BoundedPool))
