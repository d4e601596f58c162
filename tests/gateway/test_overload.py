"""A bound on the calls that a container has at the same time, and the line before it."""

import asyncio
import threading
import time
from typing import Any

import boto3
import pytest
from botocore.client import BaseClient
from botocore.config import Config
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway import workers
from gateway.fakes import (
    Reply,
    Transport,
    World,
    answer,
    endpoint,
    instance,
    invoke,
    replies,
    serial,
    single,
    variant,
)
from gateway.workers import Lab, Visit, wait_for
from polyport.domain.routes import Acknowledge, EndpointRoute


def bounded(*endpoints: EndpointRoute, **options: Any) -> World:
    """One call at a time, one in line."""
    return World(*endpoints, **({"max_concurrent_invocations": 1, "queue_size": 1, "queue_timeout": 2.0} | options))


def callers(world: World, count: int, name: str = "single") -> list[Transport]:
    """Clients that have asked, one after the other."""
    clients = [world.connect() for _ in range(count)]
    for number, client in enumerate(clients):
        client.receive(invoke(name, b"%d" % number))
    return clients


def test_a_call_over_the_bound_waits_until_one_is_done() -> None:
    """It then goes over the same connection, and not before."""
    world = bounded(single())
    first, second = callers(world, 2)
    container = world.pool(1).accept()
    assert container.take().endswith(b"\r\n\r\n0")
    assert not world.pool(1).users, "no second connection is made"
    container.receive(answer(b"a"))
    assert first.take().endswith(b"a")
    world.loop.advance(0)
    assert container.take().endswith(b"\r\n\r\n1")
    container.receive(answer(b"b"))
    assert second.take().endswith(b"b")


def test_a_call_for_which_the_line_is_too_long_is_throttled_at_once() -> None:
    """With the error that SDKs try again; the connection goes on."""
    world = bounded(single())
    *_, third = callers(world, 3)
    reply = Reply(third.take())
    assert reply.status == 400
    assert reply.headers["x-amzn-errortype"] == "ThrottlingException"
    assert "primary of endpoint single" in reply.error["Message"]
    assert not third.is_closing()
    container = world.pool(1).accept()
    container.receive(answer(b"a"))
    world.loop.advance(0)
    container.receive(answer(b"b"))
    third.receive(invoke("single", b"again"))
    assert container.take().endswith(b"again")


def test_pipelined_requests_that_are_throttled_are_answered_in_their_order() -> None:
    """A refusal that comes at once is no exception."""
    world = bounded(single(), queue_size=0)
    callers(world, 1)
    client = world.connect()
    client.receive(invoke("single") * 3)
    assert [reply.status for reply in replies(client.take())] == [400, 400, 400]


def test_nobody_waits_in_line_longer_than_its_time() -> None:
    """Then the call is throttled, and its place in line is free."""
    world = bounded(single())
    first, second = callers(world, 2)
    container = world.pool(1).accept()
    world.loop.advance(1.9)
    assert not second.written
    world.loop.advance(0.1)
    assert Reply(second.take()).headers["x-amzn-errortype"] == "ThrottlingException"
    (third,) = callers(world, 1)
    container.receive(answer(b"a"))
    assert first.take().endswith(b"a")
    world.loop.advance(0)
    container.receive(answer(b"c"))
    assert third.take().endswith(b"c")


def test_waiting_in_line_counts_into_the_call_s_time() -> None:
    """The deadline began with the call."""
    world = bounded(single(), queue_timeout=100.0, invocation_timeout=10.0)
    callers(world, 1)
    container = world.pool(1).accept()
    world.loop.advance(4)
    (second,) = callers(world, 1)
    world.loop.advance(5)
    container.receive(answer())
    world.loop.advance(0)
    world.loop.advance(5)
    assert "timed out" in Reply(second.take()).error["Message"]
    assert container.aborted


def test_a_client_that_leaves_leaves_the_line() -> None:
    """Its place in line is free, and the container never hears of it."""
    world = bounded(single())
    _, second = callers(world, 2)
    second.hang_up()
    (third,) = callers(world, 1)
    container = world.pool(1).accept()
    container.receive(answer())
    world.loop.advance(0)
    container.receive(answer(b"c"))
    assert third.take().endswith(b"c")
    assert container.take().count(b"POST") == 2


def test_a_newcomer_does_not_pass_the_line() -> None:
    """Not even in the turn in which a place becomes free."""
    world = bounded(single(), queue_size=2)
    callers(world, 2)
    container = world.pool(1).accept()
    container.receive(answer())
    callers(world, 1, "single")
    assert container.take().count(b"POST") == 1
    world.loop.advance(0)
    assert container.take().endswith(b"\r\n\r\n1")


def test_a_broken_connection_makes_place_for_the_next() -> None:
    """Whatever became of the call that had it."""
    world = bounded(single())
    first, second = callers(world, 2)
    world.pool(1).accept().hang_up()
    assert Reply(first.take()).status == 424
    world.loop.advance(0)
    world.pool(1).accept().receive(answer(b"b"))
    assert second.take().endswith(b"b")


def test_a_refused_connection_makes_place_for_the_next() -> None:
    """Each caller is told by itself."""
    world = bounded(single())
    first, second = callers(world, 2)
    world.pool(1).refuse()
    assert Reply(first.take()).status == 424
    world.loop.advance(0)
    world.pool(1).accept().receive(answer(b"b"))
    assert second.take().endswith(b"b")


def test_a_client_that_leaves_while_its_connection_is_made_makes_place() -> None:
    """The connection is kept for the next."""
    world = bounded(single())
    first, second = callers(world, 2)
    first.hang_up()
    container = world.pool(1).accept()
    assert not container.written
    world.loop.advance(0)
    container.receive(answer(b"b"))
    assert second.take().endswith(b"b")


def test_a_call_goes_to_another_instance_before_it_is_throttled() -> None:
    """Which is tried only when the line before the first is full."""
    two = endpoint("e", variant(instance("a", 1), instance("b", 2)))
    world = bounded(two, queue_size=0)
    callers(world, 1, "e")
    assert len(world.pool(1).users) == 1
    callers(world, 1, "e")
    assert len(world.pool(2).users) == 1
    (third,) = callers(world, 1, "e")
    assert Reply(third.take()).status == 400
    assert not world.reports, "a busy container is no broken one"


def test_least_outstanding_routing_counts_those_in_line() -> None:
    """An instance with a line is not the least busy."""
    two = endpoint("e", variant(instance("a", 1), instance("b", 2), routing_strategy="LEAST_OUTSTANDING_REQUESTS"))
    world = bounded(two, queue_size=10)
    callers(world, 6, "e")
    assert [one.outstanding for one in world.gateway.index.instances.values()] == [3, 3]


def test_a_pipeline_holds_no_place_at_a_stage_that_is_over() -> None:
    """The next call is at the first stage while this one is at the second."""
    world = bounded(serial())
    callers(world, 2, "serial")
    one = world.pool(21).accept()
    one.receive(answer(b"x"))
    two = world.pool(22).accept()
    world.loop.advance(0)
    assert one.take().endswith(b"\r\n\r\n1")
    assert two.take().endswith(b"\r\n\r\nx")


def test_one_slow_endpoint_delays_no_other() -> None:
    """Each container has its own line."""
    world = bounded(single(), endpoint("other", variant(instance("o", 2))))
    callers(world, 3)
    world.pool(1).accept()
    assert world.call(invoke("other"), (2, answer(b"quick"))).endswith(b"quick")


def test_calls_in_line_of_an_instance_that_left_the_table_are_served() -> None:
    """They were accepted; the instance counts as draining until they are done."""
    world = bounded(single())
    _, second = callers(world, 2)
    world.publish(version=2)
    assert world.gateway.draining == ("i1",)
    container = world.pool(1).accept()
    container.receive(answer())
    assert world.gateway.draining == ("i1",)
    world.loop.advance(0)
    world.pool(1).accept().receive(answer(b"b"))
    assert second.take().endswith(b"b")
    assert world.gateway.draining == ()


def settle(world: World) -> None:
    """What the event loop does in its next turn: closed connections are lost, and those in line are called."""
    for upstream in world.pool(1).upstreams:
        transport = upstream.transport
        if transport.is_closing() and upstream._parser is not None:
            upstream.connection_lost(None)
    world.loop.advance(0)


def working(world: World) -> list[Transport]:
    """The container's connections on which an answer is waited for."""
    upstreams = world.pool(1).upstreams
    return [one.transport for one in upstreams if one._user is not None and not one.transport.is_closing()]


def take_step(world: World, clients: list[Transport], step: str) -> None:
    """What a caller, the container or the clock does, if it can."""
    pool, busy = world.pool(1), working(world)
    if step == "ask":
        clients += callers(world, 1)
    elif step == "wait":
        world.loop.advance(0.7)
    elif step == "leave" and clients:
        clients.pop(len(clients) // 2).hang_up()
    elif step in ("accept", "refuse") and pool.users:
        getattr(pool, step)()
    elif step == "answer" and busy:
        busy[0].receive(answer())
    elif step == "break" and busy:
        busy[0].hang_up()
    settle(world)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["ask", "ask", "accept", "refuse", "answer", "break", "leave", "wait"]), max_size=60))
def test_whatever_happens_the_bound_holds_and_every_place_becomes_free_again(steps: list[str]) -> None:
    """Each caller gets one answer, unless it left."""
    world = bounded(single(), max_concurrent_invocations=2, queue_size=3)
    pool: Any = world.pool(1)
    clients: list[Transport] = []
    for step in steps:
        take_step(world, clients, step)
        assert len(working(world)) + len(pool.users) <= 2
        assert pool.waiting <= 3
    while pool.users or working(world):
        take_step(world, clients, "accept" if pool.users else "answer")
    (only,) = world.gateway.index.instances.values()
    assert only.outstanding == 0
    assert not pool._busy
    assert pool._opened == pool.waiting == 0
    assert [client.written.count(b"HTTP/1.1 ") for client in clients] == [1] * len(clients)


def client_of(port: int, attempts: int) -> BaseClient:
    return boto3.client(
        "sagemaker-runtime",
        endpoint_url=f"http://127.0.0.1:{port}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}),
    )


def test_boto3_tries_a_throttled_call_again_and_a_slow_endpoint_delays_no_other(lab: Lab, port: int) -> None:
    """A real worker, one call at a time and none in line, and an unmodified SDK."""
    free = asyncio.Event()

    async def slowly(visit: Visit) -> None:
        await free.wait()
        await visit.answer(b"slow")

    slow, quick = lab.container(slowly), lab.container()
    lab.control.publish(
        endpoint("slow", variant(workers.instance("s", slow))),
        endpoint("quick", variant(workers.instance("q", quick))),
        version=1,
    )
    lab.start(port, max_concurrent_invocations=1, queue_size=0)
    patient, hasty = client_of(port, 10), client_of(port, 1)
    lab.clients += [patient, hasty]
    wait_for(lambda: lab.control.of(Acknowledge), "the table")
    holders = [threading.Thread(target=lambda: patient.invoke_endpoint(EndpointName="slow", Body=b"")) for _ in "ab"]
    holders[0].start()
    wait_for(lambda: slow.visits, "the first call")
    with pytest.raises(ClientError) as caught:
        hasty.invoke_endpoint(EndpointName="slow", Body=b"")
    assert caught.value.response["Error"]["Code"] == "ThrottlingException"
    holders[1].start()
    begun = time.monotonic()
    for _ in range(20):
        assert hasty.invoke_endpoint(EndpointName="quick", Body=b"x")["Body"].read() == b"x"
    assert time.monotonic() - begun < 2
    lab.background.call(free.set)
    for holder in holders:
        holder.join(20)
    assert len(slow.visits) == 2
