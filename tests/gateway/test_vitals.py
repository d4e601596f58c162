"""What a worker tells of itself, once a second."""

import pytest

from gateway.fakes import OK, Reply, World, endpoint, instance, invoke, shadow, single, variant
from polyport.gateway import vitals
from polyport.gateway.shadows.shadows import REPORT_SWEEPS

PRODUCTION, SHADOW = 1, 2


@pytest.fixture
def world() -> World:
    fleets = variant(instance("p", PRODUCTION))
    return World(endpoint("e", fleets, shadows=(shadow(instance("s", SHADOW)),)))


def test_connections_and_calls_are_those_of_now(world: World) -> None:
    """A call counts from its head to the end of its answer."""
    assert vitals.take(world.gateway, 0.5).lag == 0.5
    client = world.connect()
    client.receive(invoke("e", b"asked"))
    pulse = vitals.take(world.gateway, -0.1)
    assert (pulse.connections, pulse.calls, pulse.lag) == (1, 1, 0.0)
    world.pool(PRODUCTION).accept().receive(OK)
    assert vitals.take(world.gateway, 0.0).calls == 0
    assert pulse.cpu > 0
    assert pulse.memory > 1_000_000


def test_refusals_are_counted_by_code(world: World) -> None:
    """Since the worker began, whether control heard of each or not."""
    for _ in range(2):
        assert Reply(world.call(invoke("nobody", b"x"))).status == 400
    assert vitals.take(world.gateway, 0.0).refused == {"ValidationError": 2}


def test_copies_are_counted_also_when_their_endpoint_is_gone(world: World) -> None:
    """A counter never falls."""
    world.call(invoke("e", b"asked"), (PRODUCTION, OK))
    world.loop.advance(0)
    world.pool(SHADOW).accept().receive(OK)
    assert vitals.take(world.gateway, 0.0).copies == {"answered": 1}
    world.publish(version=2)
    for _ in range(REPORT_SWEEPS):
        world.gateway.sweep()
    assert world.gateway.shadows.tallies == {}
    assert vitals.take(world.gateway, 0.0).copies == {"answered": 1}


def test_without_an_access_log_no_line_is_lost(world: World) -> None:
    """There is nothing to lose."""
    assert vitals.take(world.gateway, 0.0).lost_lines == 0


def test_those_in_line_are_counted() -> None:
    """With a bound on the calls of a container."""
    world = World(single(), max_concurrent_invocations=1, queue_size=5)
    for _ in range(3):
        world.connect().receive(invoke("single", b"x"))
    pulse = vitals.take(world.gateway, 0.0)
    assert (pulse.calls, pulse.waiting) == (3, 2)
