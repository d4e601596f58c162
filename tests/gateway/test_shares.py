"""Two fleets of one variant, as an update has them: which calls go where, and that a call is not lost between them."""

from collections import Counter
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.fakes import ACCOUNT, OK, Reply, World, answer, endpoint, instance, invoke, variant
from polyport.domain.routes import EndpointRoute, VariantRoute
from polyport.gateway.containers import choice, routes

OLD, NEW = 1, 2
POINTS = 1000
VARIANT = "x-amzn-invoked-production-variant"


def fleets(old: float, new: float, *others: VariantRoute, name: str = "AllTraffic", **fields: Any) -> EndpointRoute:
    """An endpoint whose variant is in an update; weights as control gives them, multiplied by the shares."""
    return endpoint(
        "e",
        variant(instance("old", OLD), name=name, weight=old, share=old, **fields),
        variant(instance("new", NEW), name=name, weight=new, share=new, **fields),
        *others,
    )


def found(route: EndpointRoute) -> routes.Endpoint:
    made = World(route).gateway.index.endpoint((ACCOUNT, "us-east-1"), "e")
    assert made is not None
    return made


def drawn(shares: choice.Shares) -> Counter[str]:
    """The instances that calls go to, over all draws: each fleet here has one, or none."""
    ids: Counter[str] = Counter()
    for number in range(POINTS):
        chosen = choice.choose_variant(shares, partial(float, number / POINTS))
        assert chosen is not None
        ids[chosen.instances[0].id if chosen.instances else ""] += 1
    return ids


def test_calls_that_name_no_variant_go_by_weight_over_all_fleets() -> None:
    """Control has multiplied the shares into the weights."""
    route = fleets(0.3, 0.1, variant(instance("b", 3), name="B", weight=0.6))
    assert drawn(found(route).shares) == {"old": 300, "new": 100, "b": 600}


def test_calls_that_name_the_variant_go_by_share_among_its_fleets() -> None:
    """Whatever its weight among the others is, 0 too."""
    old = variant(instance("old", OLD), weight=0.0, share=0.9)
    new = variant(instance("new", NEW), weight=0.0, share=0.1)
    other = variant(instance("b", 3), name="B", weight=1.0)
    named = found(endpoint("e", old, new, other)).named
    assert drawn(named[b"AllTraffic"]) == {"old": 900, "new": 100}
    assert drawn(named[b"B"]) == {"b": 1000}


def test_a_fleet_without_instances_leaves_its_share_to_the_other_of_its_name() -> None:
    """Not to other variants: their part of the traffic is what it was."""
    route = endpoint(
        "e",
        variant(weight=0.4, share=0.8),
        variant(instance("new", NEW), weight=0.1, share=0.2),
        variant(instance("b", 3), name="B", weight=0.5),
    )
    assert drawn(found(route).shares) == {"new": 500, "b": 500}
    assert drawn(found(route).named[b"AllTraffic"]) == {"new": 1000}


def test_a_fleet_with_no_share_gets_calls_only_when_the_other_has_no_instance() -> None:
    """As the old fleet has them once an update is through, and before a canary begins."""
    assert drawn(found(fleets(0.0, 1.0)).shares) == {"new": 1000}
    assert drawn(found(fleets(0.0, 1.0)).named[b"AllTraffic"]) == {"new": 1000}
    lone = endpoint("e", variant(instance("old", OLD), weight=0.0, share=0.0), variant(weight=1.0, share=1.0))
    assert drawn(found(lone).shares) == {"old": 1000}
    assert drawn(found(lone).named[b"AllTraffic"]) == {"old": 1000}


shares = st.floats(0, 1)
parts = st.tuples(shares, st.floats(0, 100), st.booleans(), st.booleans())


@settings(deadline=None)
@given(st.lists(parts, min_size=1, max_size=5))
def test_traffic_is_shared_as_the_table_says(variants: list[tuple[float, float, bool, bool]]) -> None:
    """Rules, for any table of variants with two fleets each: a variant that can be called gets its weight's part of all
    calls, its fleets theirs of that, by share when they are named; nobody without instances gets any, as long as there
    is somebody."""
    entries, expected, total = [], {}, sum(weight for _, weight, *has in variants if any(has))
    for place, (share, weight, has_old, has_new) in enumerate(variants):
        pair = {"old": (1 - share, has_old), "new": (share, has_new)}
        whole = sum(part for part, has in pair.values() if has)
        for kind, (part, has) in pair.items():
            one = [instance(f"{kind}{place}", 10 * place + (kind == "new") + 1)] if has else []
            entries.append(variant(*one, name=f"v{place}", weight=weight * part, share=part))
            alone = sum(has for _, has in pair.values()) or 1
            expected[f"{kind}{place}"] = weight * ((part / whole if whole else 1 / alone) if has else 0)
    made = found(endpoint("e", *entries))
    if total > 1e-6:
        check_proportions(made.shares, expected, total)
    for place, (_, weight, *has) in enumerate(variants):
        if any(has) and weight > 1e-6:
            own = {f"{kind}{place}": expected[f"{kind}{place}"] for kind in ("old", "new")}
            check_proportions(made.named[f"v{place}".encode()], own, weight)


def check_proportions(shares: choice.Shares, expected: dict[str, float], total: float) -> None:
    """Each within what so many draws can tell."""
    counts = drawn(shares)
    assert "" not in counts
    for name, weight in expected.items():
        assert abs(counts[name] - POINTS * weight / total) <= 2, name


def test_one_fleet_costs_no_draw() -> None:
    """The hot path of nearly every endpoint."""
    made = found(endpoint("e", variant(instance("only", OLD))))
    assert choice.choose_variant(made.shares, lambda: pytest.fail("nothing to draw")) is made.variants[0]
    assert choice.choose_variant(made.named[b"AllTraffic"], lambda: pytest.fail("nothing to draw")) is made.variants[0]


@pytest.mark.parametrize("named", [False, True])
def test_both_fleets_answer_under_the_variants_name(named: bool) -> None:
    """A client sees no update."""
    headers = {"X_Amzn_SageMaker_Target_Variant": "AllTraffic"} if named else {}
    for draw, port in ((0.0, OLD), (0.99, NEW)):
        world = World(fleets(0.5, 0.5))
        world.draws += [draw]
        reply = Reply(world.call(invoke("e", **headers), (port, OK)))
        assert (reply.status, reply.headers[VARIANT]) == (200, "AllTraffic")


def test_a_call_turns_to_the_other_fleet_when_its_own_has_no_instance_left() -> None:
    """A refused connection has run nothing. The other fleet is the same variant, and the last resort."""
    world = World(fleets(1.0, 0.0))
    client = world.connect()
    client.receive(invoke("e"))
    world.pool(OLD).refuse()
    world.pool(NEW).accept().receive(answer(b"from the new"))
    reply = Reply(client.take())
    assert (reply.status, reply.headers[VARIANT], reply.body) == (200, "AllTraffic", b"from the new")


def test_a_call_that_both_fleets_refuse_fails_once() -> None:
    """Each instance is tried once."""
    world = World(fleets(1.0, 0.0))
    client = world.connect()
    client.receive(invoke("e"))
    world.pool(OLD).refuse()
    world.pool(NEW).refuse()
    assert Reply(client.take()).status == 424
    assert not world.pool(OLD).users + world.pool(NEW).users


def test_a_chain_that_has_begun_stays_in_its_fleet() -> None:
    """Its first stage ran the old model: the second must not be the new one's."""
    chain: dict[str, Any] = {"mode": "Serial", "hostnames": ("one", "two")}
    old = variant(instance("old", 1, 2), share=1.0, **chain)
    new = variant(instance("new", 3, 4), weight=0.0, share=0.0, **chain)
    world = World(endpoint("e", old, new))
    client = world.connect()
    client.receive(invoke("e"))
    world.pool(1).accept().receive(answer(b"between"))
    world.pool(2).refuse()
    assert Reply(client.take()).status == 424
    assert not world.pools[world.pool(4).address].users


def test_a_fleet_with_other_containers_does_not_stand_in() -> None:
    """A call names a container, and its way through the instance was found by the old fleet's."""
    old = variant(instance("old", 1, 2), mode="Direct", hostnames=("a", "b"))
    new = variant(instance("new", 3, 4), mode="Direct", hostnames=("b", "a"), weight=0.0, share=0.0)
    world = World(endpoint("e", old, new))
    client = world.connect()
    client.receive(invoke("e", X_Amzn_SageMaker_Target_Container_Hostname="a"))
    world.pool(1).refuse()
    assert Reply(client.take()).status == 424


def test_a_session_stays_where_it_began_while_traffic_moves() -> None:
    """Until its instance leaves the table; then it is over, and not quietly begun anew elsewhere."""
    world = World(fleets(1.0, 0.0))
    opening = invoke("e", X_Amzn_SageMaker_Session_Id="NEW_SESSION")
    opened = Reply(world.call(opening, (OLD, answer(X_Amzn_SageMaker_Session_Id="s-1"))))
    going_on = invoke("e", X_Amzn_SageMaker_Session_Id=opened.headers["x-amzn-sagemaker-new-session-id"])
    for version, share in enumerate((0.9, 0.5, 0.0), 2):
        world.publish(fleets(share, 1 - share), version=version)
        world.draws += [0.99]
        assert Reply(world.call(going_on, (OLD, answer(b"known")))).body == b"known"
        world.draws.clear()
    world.publish(endpoint("e", variant(instance("new", NEW))), version=9)
    assert "is gone" in Reply(world.call(going_on)).error["Message"]


def test_an_unknown_variant_is_told_what_there_is_once() -> None:
    """Two fleets are one variant."""
    reply = Reply(World(fleets(0.5, 0.5)).call(invoke("e", X_Amzn_SageMaker_Target_Variant="None")))
    assert reply.status == 400
    assert str(reply.error).count("AllTraffic") == 1
