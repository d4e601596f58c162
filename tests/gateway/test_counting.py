"""Every call is counted, once, where CloudWatch has it: by variant and instance, and by container."""

import pytest

from gateway.fakes import World, answer, direct, endpoint, instance, invoke, serial, shadow, single, variant
from polyport.domain.counts import InstanceCounts
from polyport.domain.distributions import Distribution
from polyport.gateway import gateway
from polyport.gateway.calls import course, invocation, refusal
from polyport.gateway.counting import Times

TARGET = "X_Amzn_SageMaker_Target_Container_Hostname"


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A gateway whose clocks all are the loop's."""
    made = World(single(), direct(), serial())
    for module in (gateway, course, invocation, refusal):
        monkeypatch.setattr(module, "monotonic", made.loop.time)
    return made


def counted(world: World) -> dict[str, InstanceCounts]:
    """All that control was told, by endpoint."""
    world.gateway.sweep()
    found: dict[str, InstanceCounts] = {}
    for message in world.counts:
        for period in message.periods:
            for entry in period.instances:
                if entry.endpoint in found:
                    found[entry.endpoint].merge(entry)
                else:
                    found[entry.endpoint] = entry
    world.counts.clear()
    return found


def test_a_call_is_counted_with_its_times(world: World) -> None:
    """The container has the time from its request to the end of its answer; the rest is overhead."""
    client = world.connect()
    client.receive(invoke("direct", **{TARGET: "second"}))
    world.loop.advance(0.002)
    container = world.pool(12).accept()
    world.loop.advance(0.25)
    container.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
    world.loop.advance(0.05)
    container.receive(b"hi")
    entry = counted(world)["direct"]
    assert list(entry.containers) == ["second"]
    for tally in (entry.whole, entry.containers["second"]):
        assert (tally.calls, tally.client_errors, tally.server_errors, tally.model_errors) == (1, 0, 0, 0)
        assert tally.model.total == pytest.approx(300_000)
        assert tally.overhead.total == pytest.approx(2_000)
    assert counted(world) == {}


def test_a_pipeline_is_counted_whole_and_by_stage(world: World) -> None:
    """ModelLatency is that of all stages together."""
    client = world.connect()
    client.receive(invoke("serial"))
    for port, seconds in ((21, 0.1), (22, 0.2), (23, 0.4)):
        container = world.pool(port).accept()
        world.loop.advance(seconds)
        container.receive(answer())
    assert client.take().startswith(b"HTTP/1.1 200")
    entry = counted(world)["serial"]
    assert (entry.whole.calls, entry.whole.model.count) == (1, 1)
    assert entry.whole.model.total == pytest.approx(700_000)
    times = [tally.model.total for tally in entry.containers.values()]
    assert times == pytest.approx([100_000, 200_000, 400_000])


@pytest.mark.parametrize(("status", "client_errors", "server_errors"), [("404 No", 1, 0), ("503 No", 0, 1)])
def test_errors_are_those_of_the_container(world: World, status: str, client_errors: int, server_errors: int) -> None:
    """By its status; every one is a model error too."""
    world.call(invoke("direct", **{TARGET: "first"}), (11, answer(status=status)))
    tally = counted(world)["direct"].whole
    assert (tally.calls, tally.client_errors, tally.server_errors) == (1, client_errors, server_errors)
    assert tally.model_errors == 1


def test_a_failing_stage_has_the_error(world: World) -> None:
    """The pipeline has it as well; stages before it have not, and those behind it had no call."""
    world.call(invoke("serial"), (21, answer()), (22, answer(status="500 No")))
    entry = counted(world)["serial"]
    assert entry.whole.server_errors == 1
    assert {name: (tally.calls, tally.server_errors) for name, tally in entry.containers.items()} == dict(
        zip(entry.containers, [(1, 0), (1, 1)], strict=True)
    )


def test_a_container_that_cannot_be_reached_is_a_model_error(world: World) -> None:
    """There is no time in it then."""
    client = world.connect()
    client.receive(invoke("single"))
    world.pool(1).refuse()
    tally = counted(world)["single"].whole
    assert (tally.calls, tally.model_errors, tally.model.count) == (1, 1, 0)


def test_a_call_whose_client_left_is_counted(world: World) -> None:
    """It was sent; nothing else is known of it."""
    client = world.connect()
    client.receive(invoke("single"))
    world.pool(1).accept()
    client.hang_up()
    tally = counted(world)["single"].whole
    assert (tally.calls, tally.model_errors, tally.model.count) == (1, 0, 0)


def test_calls_in_flight_are_told_until_there_are_none(world: World) -> None:
    """And once more then, so that control knows."""
    client = world.connect()
    client.receive(invoke("single"))
    world.gateway.sweep()
    world.pool(1).accept().receive(answer())
    for _ in range(3):
        world.gateway.sweep()
    assert [[(busy.variant, busy.calls) for busy in message.busy] for message in world.counts] == [
        [("AllTraffic", 1)],
        [],
    ]


def test_what_control_does_not_confirm_is_told_again(world: World) -> None:
    """Under the same number, so that it is counted once; what came in the meantime follows it."""
    world.settles = False
    world.call(invoke("single"), (1, answer()))
    world.gateway.sweep()
    world.call(invoke("single"), (1, answer()))
    world.gateway.sweep()
    [first] = world.counts
    world.gateway.ledger.repeat()
    assert world.counts == [first, first]
    world.gateway.ledger.settle(first.number)
    world.gateway.sweep()
    assert world.counts[-1].number == first.number + 1
    assert [entry.whole.calls for period in world.counts[-1].periods for entry in period.instances] == [1]


def test_copies_count_for_the_shadow_variant() -> None:
    """And for it alone."""
    world = World(endpoint("shadowed", variant(instance("i-1", 41)), shadows=(shadow(instance("i-2", 42)),)))
    world.call(invoke("shadowed"), (41, answer()))
    world.loop.advance(0)
    world.pool(42).accept().receive(answer())
    world.gateway.sweep()
    entries = [entry for message in world.counts for period in message.periods for entry in period.instances]
    assert {entry.variant: entry.whole.calls for entry in entries} == {"AllTraffic": 1, "Shadow": 1}


def test_an_instance_that_left_counts_to_its_end(world: World) -> None:
    """Its last calls are told before it is forgotten."""
    client = world.connect()
    client.receive(invoke("single"))
    container = world.pool(1).accept()
    world.publish(direct(), version=2)
    world.gateway.sweep()
    container.receive(answer())
    assert counted(world)["single"].whole.calls == 1
    assert world.gateway.ledger._open == []


def test_times_are_in_the_buckets_that_others_know() -> None:
    """What is counted fast is the same as what is counted elsewhere; nothing is below a microsecond."""
    times, expected = Times(), Distribution()
    edges = [2.0**power * (1 + step / 16) for power in range(30) for step in range(16)]
    for value in (0.0, 1.0, 3.3, 1230.0, 0.5e6, 59.999e6, *edges, *(edge * (1 - 1e-15) for edge in edges)):
        times.add(value)
        expected.add(max(1.0, value))
    assert times.take() == expected
    assert times.take() == Distribution()
