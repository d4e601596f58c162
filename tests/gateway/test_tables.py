"""A new table takes the old one's place while calls are in flight."""

import pytest

from gateway.fakes import ACCOUNT, OK, Reply, World, answer, endpoint, instance, invoke, single, variant
from polyport.domain.access import AccessTable


def two(*ports: int, name: str = "e") -> object:
    return endpoint(name, variant(*(instance(f"i{port}", port) for port in ports)))


def test_new_calls_go_by_the_new_table_and_old_ones_finish_by_theirs() -> None:
    """The instance that left drains: it is reported until its last call has ended."""
    world = World(two(1))
    client = world.connect()
    client.receive(invoke("e"))
    container = world.pool(1).accept()
    world.publish(two(2), version=2)
    assert world.gateway.draining == ("i1",)
    assert Reply(world.call(invoke("e"), (2, OK))).status == 200
    container.receive(OK)
    assert Reply(client.take()).status == 200
    assert world.gateway.draining == ()
    assert world.drained == 1
    assert container.closed, "its connection is not kept"


def test_an_instance_without_calls_needs_no_draining() -> None:
    """Its idle connections are closed at once."""
    world = World(two(1))
    world.call(invoke("e"), (1, OK))
    (idle,) = world.pool(1).idle
    world.publish(two(2), version=2)
    assert world.gateway.draining == ()
    assert idle.transport.is_closing()
    assert world.drained == 0


def test_each_call_that_ends_badly_drains_too() -> None:
    """Gone client, broken container, deadline."""
    world = World(two(1))
    clients = [world.connect() for _ in range(3)]
    for client in clients:
        client.receive(invoke("e"))
    containers = [world.pool(1).accept() for _ in clients]
    world.publish(two(2), version=2)
    clients[0].hang_up()
    containers[1].hang_up()
    assert world.gateway.draining == ("i1",)
    world.loop.advance(61)
    assert world.gateway.draining == ()
    assert world.drained == 1


def test_an_instance_in_both_tables_keeps_its_connections_and_its_count() -> None:
    """Publishing anew costs nothing."""
    world = World(two(1, 2))
    client = world.connect()
    client.receive(invoke("e"))
    world.pool(1).accept()
    before = world.gateway.index.instances["i1"]
    world.publish(two(1), version=2)
    assert world.gateway.index.instances["i1"] is before
    assert before.outstanding == 1
    assert not world.pool(1).is_closed


def test_an_instance_that_comes_back_while_it_drains_is_the_same() -> None:
    """It drains no more, and its calls still count."""
    world = World(two(1))
    client = world.connect()
    client.receive(invoke("e"))
    container = world.pool(1).accept()
    world.publish(two(2), version=2)
    world.publish(two(1), version=3)
    assert world.gateway.draining == ()
    assert world.gateway.index.instances["i1"].outstanding == 1
    container.receive(OK)
    assert Reply(client.take()).status == 200
    assert world.gateway.index.instances["i1"].outstanding == 0
    assert Reply(world.call(invoke("e"), (1, OK))).status == 200


def test_a_container_that_moved_gets_new_connections() -> None:
    """A port may belong to another by now; a call in flight ends on the connection it has."""
    world = World(endpoint("e", variant(instance("i", 1))))
    world.call(invoke("e"), (1, OK))
    client = world.connect()
    client.receive(invoke("e"))
    world.publish(endpoint("e", variant(instance("i", 2))), version=2)
    assert Reply(world.call(invoke("e"), (2, OK))).status == 200
    world.busy(1).receive(answer(b"old"))
    assert Reply(client.take()).body == b"old"
    assert world.pool(1).is_closed
    assert not world.pool(1).idle
    assert world.gateway.index.instances["i"].outstanding == 0


def test_an_older_table_is_not_taken() -> None:
    """Versions only grow."""
    world = World(two(1), version=5)
    world.publish(version=4)
    assert world.gateway.index.version == 5
    assert len(world.gateway.index) == 1


def test_a_call_that_tries_again_does_not_go_to_an_instance_that_left() -> None:
    """It may be stopping; the acknowledgement said that nothing new goes there."""
    world = World(two(1, 2))
    client = world.connect()
    client.receive(invoke("e"))
    world.publish(two(1), version=2)
    world.pool(1).refuse()
    assert not world.pool(2).users
    assert Reply(client.take()).status == 424


def test_a_draining_gateway_finishes_calls_and_takes_no_more() -> None:
    """Idle connections close at once, others with their answer, which says so."""
    world = World(two(1))
    ended = []
    world.gateway.on_idle = lambda: ended.append(True)
    idle, busy = world.connect(), world.connect()
    busy.receive(invoke("e") + invoke("e"))
    container = world.pool(1).accept()
    world.gateway.drain()
    assert idle.closed
    assert not busy.closed
    idle.hang_up()
    container.receive(OK)
    reply = Reply(busy.take())
    assert reply.headers["connection"] == "close"
    assert busy.closed
    assert not world.pool(1).users
    assert not ended
    busy.hang_up()
    assert ended == [True]


def test_a_request_that_has_begun_to_come_is_served_while_draining() -> None:
    """And a connection that came too late to be told is told at the next sweep."""
    world = World(two(1))
    client = world.connect()
    client.receive(invoke("e")[:30])
    world.gateway.drain()
    assert not client.closed
    late = world.connect()
    world.gateway.sweep()
    assert late.closed
    client.receive(invoke("e")[30:])
    world.pool(1).accept().receive(OK)
    reply = Reply(client.take())
    assert (reply.status, reply.headers["connection"]) == (200, "close")
    assert client.closed


def test_a_table_that_cannot_be_used_changes_nothing() -> None:
    """A later endpoint of it is impossible; an earlier one, that moved, is still called where it was."""
    world = World(single())
    pool = world.pool(1)
    moved = endpoint("single", variant(instance("i1", 2)))
    impossible = endpoint("other", variant(instance("i9", 3), hostnames=("a", "b")))
    with pytest.raises(ValueError, match="zip"):
        world.publish(moved, impossible, version=2)
    client = world.connect()
    client.receive(invoke("single"))
    assert not pool.is_closed
    pool.accept().receive(OK)
    assert Reply(client.take()).status == 200


def test_routes_are_not_used_without_their_guard() -> None:
    """Who may call is broken in it, so neither of the two is taken."""
    world = World(single())
    world.access = AccessTable(is_open=False, account=ACCOUNT, token_key="no key")
    with pytest.raises(ValueError, match="Fernet"):
        world.publish(single(), endpoint("new", variant(instance("i9", 9))), version=2)
    assert world.gateway.guard is None
    assert world.gateway.index.version == 1
    assert Reply(world.call(invoke("new"))).status == 400
    assert Reply(world.call(invoke("single"), (1, OK))).status == 200
