"""Shadow variants: a share of the calls is copied to them once the caller has its answer, and the caller's call is what
it would be without them."""

import json
import logging
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fakes import OK, Reply, Transport, World, answer, endpoint, instance, invoke, shadow, variant
from polyport.domain.routes import EndpointRoute
from polyport.gateway.clients.connection import EARLY
from polyport.gateway.containers import choice, routes
from polyport.gateway.shadows.budget import Budget, Hold
from polyport.gateway.shadows.shadows import BURST, REPORT_SWEEPS
from polyport.gateway.shadows.tally import Tally

PRODUCTION, SHADOW, SECOND = 1, 2, 3
ARN = "arn:aws:sagemaker:us-east-1:123456789012:endpoint/e"
LARGE = bytes(range(256)) * 1024


def shadowed(**fields: Any) -> EndpointRoute:
    """One production instance, one of its shadow."""
    return endpoint("e", variant(instance("p", PRODUCTION)), shadows=(shadow(instance("s", SHADOW), **fields),))


@pytest.fixture
def world() -> World:
    return World(shadowed())


def tally(world: World, name: str = "Shadow") -> Tally:
    return world.gateway.shadows.tallies[ARN, name]


def call(world: World, *answers: tuple[int, bytes], **headers: str) -> Reply:
    """One call that is answered by the production variant."""
    return Reply(world.call(invoke("e", b"asked", **headers), *(answers or ((PRODUCTION, OK),))))


def copied(world: World, port: int = SHADOW) -> Transport:
    """The connection on which the next copy came to the shadow."""
    world.loop.advance(0)
    pool = world.pool(port)
    return pool.accept() if pool.users else world.busy(port)


def is_idle(world: World) -> bool:
    """Nothing is held, nothing under way, no instance has a call."""
    shadows, instances = world.gateway.shadows, world.gateway.index.instances.values()
    return not (
        len(shadows) or shadows.budget.calls or shadows.budget.bytes or any(one.outstanding for one in instances)
    )


def test_a_copy_sets_out_once_the_caller_has_its_answer(world: World) -> None:
    """Not before, and not on the caller's turn."""
    client = world.connect()
    client.receive(invoke("e", b"asked", Content_Type="text/csv", X_Amzn_SageMaker_Custom_Attributes="some"))
    production = world.pool(PRODUCTION).accept()
    world.loop.advance(0)
    assert not world.pool(SHADOW).users, "nothing is copied while the call is under way"
    production.receive(OK)
    assert Reply(client.take()).status == 200
    assert not world.pool(SHADOW).users, "the caller's turn is its own"
    sent = copied(world).take()
    asked = production.take()
    assert sent.replace(b":2\r\n", b":1\r\n") == asked, "it is the same request, to another container"
    assert sent.endswith(b"\r\n\r\nasked")


def test_a_copys_answer_is_thrown_away_and_counted(world: World) -> None:
    """Its connection is kept, as after any call."""
    assert call(world).headers["x-amzn-invoked-production-variant"] == "AllTraffic"
    first = copied(world)
    first.receive(answer(b"never seen"))
    assert tally(world).answered == 1
    call(world)
    assert copied(world) is first
    first.receive(answer(b"x" * 100_000))
    assert tally(world).answered == 2
    assert is_idle(world)


@pytest.mark.parametrize("trouble", ["refused", "broken", "error", "malformed", "late"])
def test_whatever_the_shadow_does_is_counted_and_nothing_else(world: World, trouble: str) -> None:
    """The caller has its answer; what it asks next is answered too."""
    client = world.connect()
    client.receive(invoke("e"))
    world.pool(PRODUCTION).accept().receive(OK)
    assert Reply(client.take()).status == 200
    world.loop.advance(0)
    if trouble == "refused":
        world.pool(SHADOW).refuse()
    else:
        transport = world.pool(SHADOW).accept()
        {
            "broken": transport.hang_up,
            "error": partial(transport.receive, answer(b"no", "500 Internal Server Error")),
            "malformed": partial(transport.receive, b"no HTTP at all\r\n\r\n"),
            "late": partial(world.loop.advance, world.gateway.options.invocation_timeout),
        }[trouble]()
    assert tally(world).failed == {"ModelError": 1}
    assert client.take() == b""
    assert is_idle(world)
    client.receive(invoke("e"))
    world.busy(PRODUCTION).receive(OK)
    assert Reply(client.take()).status == 200


def test_a_call_that_its_container_answers_with_an_error_is_copied(world: World) -> None:
    """What the shadow would have said is of interest all the more."""
    assert call(world, (PRODUCTION, answer(b"no", "500 Internal Server Error"))).status == 424
    assert copied(world).take().endswith(b"asked")


def test_a_call_that_no_container_was_asked_is_not_copied() -> None:
    """Nor does a shadow make an overload worse: calls that are throttled stay with the caller."""
    world = World(shadowed(), max_concurrent_invocations=1, queue_size=0)
    busy = world.connect()
    busy.receive(invoke("e"))
    client = world.connect()
    client.receive(invoke("e"))
    assert Reply(client.take()).headers["x-amzn-errortype"].startswith("ThrottlingException")
    world.loop.advance(0)
    assert not world.pool(SHADOW).users
    assert len(world.gateway.shadows) == 0


def test_a_caller_that_left_is_not_copied(world: World) -> None:
    """Nobody was answered."""
    client = world.connect()
    client.receive(invoke("e"))
    client.hang_up()
    world.loop.advance(0)
    assert not world.pool(SHADOW).users
    assert is_idle(world)


def test_a_session_is_not_copied(world: World) -> None:
    """Its state is in an instance of the production variant, and a shadow's would never be closed."""
    call(world, X_Amzn_SageMaker_Session_Id="NEW_SESSION")
    world.loop.advance(0)
    assert not world.pool(SHADOW).users


def test_a_shadow_cannot_be_named(world: World) -> None:
    """It answers nobody."""
    reply = Reply(world.call(invoke("e", X_Amzn_SageMaker_Target_Variant="Shadow")))
    assert (reply.status, reply.error["ErrorCode"]) == (400, "TARGET_VARIANT_NOT_FOUND")


def test_a_call_that_names_the_production_variant_is_copied(world: World) -> None:
    """It is its traffic."""
    call(world, X_Amzn_SageMaker_Target_Variant="AllTraffic")
    assert copied(world).take().endswith(b"asked")


def test_a_stream_is_copied_when_it_has_ended(world: World) -> None:
    """And the copy's answer is not put into frames for nobody."""
    client = world.connect()
    client.receive(invoke("e", b"asked", operation="invocations-response-stream"))
    container = world.pool(PRODUCTION).accept()
    container.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n")
    world.loop.advance(0)
    assert not world.pool(SHADOW).users
    container.receive(b"0\r\n\r\n")
    assert client.take().endswith(b"0\r\n\r\n")
    copied(world).receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n")
    assert tally(world).answered == 1
    assert is_idle(world)


def test_a_copy_goes_through_a_chain() -> None:
    """As any call to the shadow's containers would."""
    chain = shadow(instance("s", SHADOW, SECOND), mode="Serial", hostnames=("one", "two"))
    world = World(endpoint("e", variant(instance("p", PRODUCTION)), shadows=(chain,)))
    call(world)
    copied(world).receive(answer(b"between"))
    second = world.pool(SECOND).accept()
    assert second.take().endswith(b"between")
    second.receive(OK)
    assert tally(world).answered == 1
    assert is_idle(world)


@pytest.mark.parametrize(("wanted", "port"), [("first", SHADOW), ("second", SECOND), ("third", None)])
def test_a_direct_call_is_copied_to_the_container_of_that_name(wanted: str, port: int | None) -> None:
    """A shadow that has none of that name gets no copy, which is counted."""
    names = {"mode": "Direct", "hostnames": ("first", "second", "third")}
    fewer = {"mode": "Direct", "hostnames": ("first", "second")}
    ports = {"first": 11, "second": 12, "third": 13}
    world = World(
        endpoint("e", variant(instance("p", 11, 12, 13), **names), shadows=(shadow(instance("s", 2, 3), **fewer),))
    )
    reply = call(world, (ports[wanted], OK), X_Amzn_SageMaker_Target_Container_Hostname=wanted)
    assert reply.status == 200
    if port:
        assert copied(world, port).take().endswith(b"asked")
    else:
        assert tally(world).dropped == {"no such container": 1}


def picked(shadows: tuple[routes.Shadow, ...], points: int = 1000) -> Counter[str]:
    """Who gets copies, over all draws."""
    counts: Counter[str] = Counter()
    for number in range(points):
        chosen = choice.choose_shadow(shadows, partial(float, number / points))
        counts[chosen.variant.name if chosen else ""] += 1
    return counts


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_shadow_gets_copies_of_its_share(share: float, moved: float) -> None:
    """All of them for 1 and none for 0; two fleets of it, in an update, get together what one would."""
    first = routes.Variant(shadow(name="old").variant, ())
    second = routes.Variant(shadow(name="new").variant, ())
    counts = picked((routes.Shadow(first, share * (1 - moved)), routes.Shadow(second, share * moved)))
    assert abs(counts["old"] - 1000 * share * (1 - moved)) <= 1
    assert abs(counts["new"] - 1000 * share * moved) <= 1.5
    assert picked((routes.Shadow(first, 1.0),)) == {"old": 1000}
    assert picked((routes.Shadow(first, 0.0),)) == {"": 1000}


def test_calls_beyond_the_room_are_not_copied_and_counted() -> None:
    """A shadow that hangs holds so many copies, and no more: no caller notices."""
    world = World(shadowed(), shadow_max_calls=3)
    for _ in range(5):
        assert call(world).status == 200
    world.loop.advance(0)
    assert len(world.pool(SHADOW).users) == 3
    assert tally(world).dropped == {"no room": 2}
    for _ in range(3):
        world.pool(SHADOW).accept().receive(OK)
    call(world)
    copied(world).receive(OK)
    assert tally(world).answered == 4
    assert is_idle(world)


def test_bytes_beyond_the_room_are_not_copied_and_counted() -> None:
    """A body that does not fit is dropped, a smaller one that does is not."""
    world = World(shadowed(), shadow_max_bytes=12)
    for body in (b"1234567890", b"1234", b"12"):
        assert Reply(world.call(invoke("e", body), (PRODUCTION, OK))).status == 200
    world.loop.advance(0)
    assert len(world.pool(SHADOW).users) == 2
    assert tally(world).dropped == {"no room": 1}


def test_no_copies_at_all_can_be_allowed() -> None:
    """The setting 0."""
    world = World(shadowed(), shadow_max_calls=0)
    assert call(world).status == 200
    assert tally(world).dropped == {"no room": 1}


def begin_large(world: World) -> tuple[Transport, Transport, bytes]:
    """A call whose body goes on to its container while it comes: the client, the container, and what is to come."""
    request = invoke("e", LARGE)
    at = len(request) - len(LARGE) + EARLY + 100
    client = world.connect()
    client.receive(request[:at])
    return client, world.pool(PRODUCTION).accept(), request[at:]


@pytest.mark.parametrize("piece", [100, 30_000])
def test_a_body_that_goes_on_while_it_comes_is_kept_beside(world: World, piece: int) -> None:
    """Production gets it as ever, piece by piece; the copy has it whole."""
    client, container, rest = begin_large(world)
    for at in range(0, len(rest), piece):
        client.receive(rest[at : at + piece])
    assert container.take().endswith(b"\r\n\r\n" + LARGE)
    container.receive(OK)
    assert Reply(client.take()).status == 200
    assert copied(world).take().endswith(b"\r\n\r\n" + LARGE)


def test_a_body_that_goes_on_while_it_comes_and_does_not_fit_is_dropped() -> None:
    """Nothing of it is held, whatever becomes of the call."""
    world = World(shadowed(), shadow_max_bytes=len(LARGE) - 1)
    client, container, rest = begin_large(world)
    assert world.gateway.shadows.budget.bytes == 0
    client.receive(rest)
    container.receive(OK)
    assert Reply(client.take()).status == 200
    assert tally(world).dropped == {"no room": 1}
    assert is_idle(world)


def test_an_answer_before_the_body_is_whole_leaves_nothing_to_copy(world: World) -> None:
    """And nothing held."""
    client, container, _ = begin_large(world)
    assert world.gateway.shadows.budget.bytes == len(LARGE)
    container.receive(OK)
    assert Reply(client.take()).status == 200
    assert tally(world).dropped == {"body not whole": 1}
    assert is_idle(world)


def test_a_caller_that_leaves_in_its_body_leaves_nothing_held(world: World) -> None:
    """The room is for others."""
    client, _, _ = begin_large(world)
    client.hang_up()
    assert is_idle(world)


def test_what_a_chain_holds_between_its_stages_counts(world: World) -> None:
    """An answer without a length is gathered before it goes on: as far as there is room."""
    chain = shadow(instance("s", SHADOW, SECOND), mode="Serial", hostnames=("one", "two"))
    world = World(endpoint("e", variant(instance("p", PRODUCTION)), shadows=(chain,)), shadow_max_bytes=1000)
    call(world)
    first = copied(world)
    first.receive(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(9):
        first.receive(b"64\r\n" + b"x" * 100 + b"\r\n")
    assert world.gateway.shadows.budget.bytes == 905
    first.receive(b"64\r\n" + b"x" * 100 + b"\r\n")
    assert tally(world).failed == {"ShadowLimitExceeded": 1}
    assert first.aborted
    assert is_idle(world)


def test_copies_set_out_a_few_at_a_time(world: World) -> None:
    """Many answers in one turn of the event loop do not make the next turn long."""
    for _ in range(BURST + 3):
        call(world)
    world.loop.advance(0)
    assert len(world.pool(SHADOW).users) == BURST
    world.loop.advance(0)
    assert len(world.pool(SHADOW).users) == BURST + 3


def test_a_copy_tries_another_instance_when_one_refuses() -> None:
    """As any call."""
    pair = shadow(instance("s", SHADOW), instance("t", SECOND))
    world = World(endpoint("e", variant(instance("p", PRODUCTION)), shadows=(pair,)))
    call(world)
    world.loop.advance(0)
    world.pool(SHADOW).refuse()
    world.pool(SECOND).accept().receive(OK)
    assert tally(world).answered == 1
    assert ("s", "only", "Connection refused") in world.reports, "control hears of it"


def test_an_instance_of_a_shadow_drains_like_any_other(world: World) -> None:
    """It has left the table and is acknowledged; its copy is finished; then it may be stopped."""
    call(world)
    transport = copied(world)
    call(world)
    world.publish(endpoint("e", variant(instance("p", PRODUCTION))), version=2)
    assert world.gateway.draining == ("s",)
    transport.receive(OK)
    assert world.gateway.draining == ()
    assert world.drained == 1


def test_a_copy_that_is_due_when_its_shadow_leaves_is_dropped(world: World) -> None:
    """No call begins in an instance that has left the table."""
    call(world)
    world.publish(endpoint("e", variant(instance("p", PRODUCTION))), version=2)
    world.loop.advance(0)
    assert not world.pool(SHADOW).users
    assert tally(world).dropped == {"no instance": 1}
    assert is_idle(world)


def test_a_worker_that_ends_drops_its_copies(world: World) -> None:
    """It waits for callers, not for shadows; and lets every connection go."""
    call(world)
    under_way = copied(world)
    call(world)
    counts = tally(world)
    idle: list[bool] = []
    world.gateway.on_idle = lambda: idle.append(True)
    for connection in tuple(world.gateway.connections):
        connection.transport.hang_up()  # type: ignore[attr-defined]  # the fake one
    world.gateway.drain()
    assert idle
    world.gateway.close()
    assert under_way.aborted
    assert counts.dropped == {"worker ended": 2}
    assert len(world.gateway.shadows) == 0


def test_the_log_tells_of_trouble_now_and_then(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Once a minute if there is something new, in one line for each shadow variant."""

    def sweep() -> str:
        caplog.clear()
        for _ in range(REPORT_SWEEPS):
            world.gateway.sweep()
        return caplog.text

    caplog.set_level(logging.INFO)
    call(world)
    copied(world).receive(OK)
    assert sweep() == "", "all is well"
    call(world)
    copied(world).receive(answer(b"", "500 Internal Server Error"))
    assert f"{ARN}, shadow variant Shadow: 1 copies answered, 1 failed (ModelError: 1)" in sweep()
    assert sweep() == "", "it was told"


def test_counts_go_with_their_endpoint(world: World) -> None:
    """Else a worker would gather them for ever."""
    call(world)
    copied(world).receive(OK)
    world.publish(version=2)
    for _ in range(REPORT_SWEEPS):
        world.gateway.sweep()
    assert world.gateway.shadows.tallies == {}


def test_the_access_log_has_a_line_for_each_copy(tmp_path: Path) -> None:
    """With the id of the call, so that both can be laid side by side; other lines say nothing of shadows."""
    world = World(shadowed(), access_log=str(tmp_path / "log"))
    call(world)
    copied(world).receive(answer(b"", "500 Internal Server Error"))
    call(world)
    copied(world).receive(answer(b"fine"))
    client = world.connect()
    client.receive(invoke("e"))
    client.hang_up()
    assert world.gateway.access_log is not None
    world.gateway.access_log.close()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    told = [(one["variant"], one["instance"], one["status"], one["error"], one.get("shadow")) for one in lines]
    assert told == [
        ("AllTraffic", "p", 200, "", None),
        ("Shadow", "s", 424, "ModelError", True),
        ("AllTraffic", "p", 200, "", None),
        ("Shadow", "s", 200, "", True),
        ("AllTraffic", "p", 499, "ClientGone", None),
    ]
    assert lines[0]["request_id"] == lines[1]["request_id"] != lines[2]["request_id"]


def test_a_mistake_of_ours_in_a_copy_ends_the_copy_alone(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next one sets out."""

    def fail(*_: object) -> None:
        raise RuntimeError("a mistake")

    with monkeypatch.context() as patch:
        patch.setattr("polyport.gateway.shadows.copied.CopiedInvocation.start", fail)
        call(world)
        call(world)
        world.loop.advance(0)
    assert tally(world).failed == {"InternalFailure": 2}
    call(world)
    copied(world).receive(OK)
    assert tally(world).answered == 1


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.sampled_from(["begin", "grow", "release"]), st.integers(0, 60))))
def test_the_room_is_never_overdrawn_and_comes_back(steps: list[tuple[int, str, int]]) -> None:
    """Whatever copies do, in any order."""
    budget = Budget(3, 100)
    holds = [Hold(budget) for _ in range(5)]
    for which, step, size in steps:
        if step == "release":
            holds[which].release()
        else:
            getattr(holds[which], step)(size)
        assert 0 <= budget.calls <= 3
        assert 0 <= budget.bytes <= 100
    for hold in holds:
        hold.release()
    assert (budget.calls, budget.bytes) == (0, 0)
