"""What gateways are told of an endpoint."""

from msgspec.structs import replace

from control.values import deployment, endpoint, fleet, instance, variant, wanted
from polyport.control import routes
from polyport.domain.endpoints import Endpoint, EndpointState, Phase, Rollout, Status, Strategy
from polyport.domain.routes import Address, InstanceRoute

BOTH = {"i-1": instance("i-1", "one", "two"), "i-2": instance("i-2", "one", "two")}
A = variant(instances=2, weight=0.5)


def in_service(**changes: object) -> Endpoint:
    active = deployment(1, fleet(A, "i-1", "i-2"))
    state = EndpointState(status=Status.IN_SERVICE, settled=1, active=active)
    return endpoint(wanted(1, A), replace(state, **changes))


def test_only_healthy_instances_are_targets() -> None:
    """Never a target in the table that is not healthy."""
    route = routes.route(in_service(), BOTH, lambda each: each == "i-2")
    assert route is not None
    assert routes.live_ids(route) == {"i-2"}
    assert (route.account, route.region, route.name) == ("123456789012", "us-east-1", "Endpoint")
    (only,) = route.variants
    assert (only.name, only.weight, only.mode, only.hostnames) == ("A", 0.5, "Direct", ("one", "two"))


def test_an_instance_that_is_ending_or_gone_is_no_target() -> None:
    """Even when its last ping was good."""
    states = {"i-1": replace(BOTH["i-1"], stopping=True)}
    assert routes.live_ids(routes.route(in_service(), states, lambda _: True)) == set()


def test_an_endpoint_without_a_healthy_instance_is_still_a_route() -> None:
    """Gateways then say that it has no capacity, not that there is no such endpoint."""
    route = routes.route(in_service(), {}, lambda _: True)
    assert route is not None
    assert route.variants[0].instances == ()


def test_a_variant_of_which_nothing_is_healthy_is_one_entry_in_an_update() -> None:
    """Old and new fleet alike, also when they are equal to the last digit: its shares still add up to 1."""
    idle = variant(instances=1, weight=0.0)
    state = EndpointState(
        status=Status.UPDATING,
        active=deployment(1, fleet(idle, "i-1")),
        pending=deployment(2, fleet(idle, "i-2")),
        rollout=Rollout(Strategy.CANARY, Phase.BAKING, since=1.0, shares=(0.5, 1.0), step=1),
    )
    route = routes.route(endpoint(wanted(2, idle), state), BOTH, lambda _: False)
    assert route is not None
    assert [entry.share for entry in route.variants] == [1.0]


def test_addresses_are_in_the_order_of_the_host_names() -> None:
    """Gateways go by position; engines list containers in an order of their own."""
    reverse = {"i-1": replace(BOTH["i-1"], containers=BOTH["i-1"].containers[::-1])}
    route = routes.route(in_service(), reverse, lambda _: True)
    assert route is not None
    assert route.variants[0].instances == (
        InstanceRoute("i-1", (Address("127.0.0.1", 20000), Address("127.0.0.1", 20001))),
    )


def test_an_instance_that_lacks_a_container_or_its_port_is_no_target() -> None:
    """A list of addresses that is too short would send calls to the wrong container."""
    lacking = replace(BOTH["i-1"], containers=BOTH["i-1"].containers[:1])
    portless = replace(BOTH["i-2"], containers=tuple(replace(each, port=0) for each in BOTH["i-2"].containers))
    route = routes.route(in_service(), {"i-1": lacking, "i-2": portless}, lambda _: True)
    assert routes.live_ids(route) == set()


def test_pending_and_retired_instances_are_no_targets() -> None:
    """Traffic is the active deployment's alone."""
    new = deployment(2, fleet(A, "i-3", "i-4"))
    row = in_service(pending=new, retired=fleet(A, "i-5").instances)
    states = {each: instance(each, "one", "two") for each in ("i-1", "i-2", "i-3", "i-4", "i-5")}
    assert routes.live_ids(routes.route(row, states, lambda _: True)) == {"i-1", "i-2"}


def test_an_endpoint_that_must_not_be_invoked_has_no_route_but_a_status() -> None:
    """Creating, Failed and Deleting: gateways can say why, and a deletion counts from the call on."""
    assert routes.route(endpoint(wanted(1, A)), BOTH, lambda _: True) is None
    assert routes.unavailable(endpoint(wanted(1, A))) == ("123456789012", "us-east-1", "Endpoint", "Creating")
    row = in_service()
    deleted = replace(row, wanted=replace(row.wanted, deleted=True))
    assert routes.route(deleted, BOTH, lambda _: True) is None
    assert routes.unavailable(deleted)[-1] == "Deleting"
    assert routes.live_ids(None) == set()


def test_slow_instances_are_targets_when_nothing_is_healthy() -> None:
    """And only then."""

    def is_slow(each: str) -> bool:
        return each == "i-1"

    assert routes.live_ids(routes.route(in_service(), BOTH, lambda _: False, is_slow)) == {"i-1"}
    assert routes.live_ids(routes.route(in_service(), BOTH, lambda each: each == "i-2", is_slow)) == {"i-2"}
    assert routes.live_ids(routes.route(in_service(), BOTH, lambda _: False)) == set()


def test_slow_new_instances_of_an_update_do_not_keep_old_ones_that_stand_by_from_helping() -> None:
    """All traffic had moved to the new instance, and it hangs: the old one, which is healthy, takes the calls."""
    pending = deployment(2, fleet(variant(), "i-2"))
    rollout = Rollout(Strategy.ALL_AT_ONCE, Phase.BAKING, 1.0, (1.0,), step=1)
    active = deployment(1, fleet(variant(), "i-1"))
    row = in_service(status=Status.UPDATING, active=active, pending=pending, rollout=rollout)
    route = routes.route(row, BOTH, lambda each: each == "i-1", lambda each: each == "i-2")
    assert routes.live_ids(route) == {"i-1"}
