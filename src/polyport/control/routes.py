"""What gateways should know of one endpoint: a pure function of its row and of which instances are healthy."""

from collections.abc import Callable, Mapping

from polyport.domain.endpoints import Endpoint, Fleet
from polyport.domain.instances import InstanceState
from polyport.domain.routes import Address, EndpointRoute, InstanceRoute, VariantRoute


def route(
    endpoint: Endpoint, states: Mapping[str, InstanceState], is_healthy: Callable[[str], bool]
) -> EndpointRoute | None:
    """The endpoint's entry in the route table; ``None`` when it must not be invoked."""
    active = endpoint.state.active
    if active is None or endpoint.wanted.deleted:
        return None
    return EndpointRoute(
        account=endpoint.owner.account,
        region=endpoint.owner.region,
        name=endpoint.name,
        variants=tuple(_variant(fleet, states, is_healthy) for fleet in active.fleets),
    )


def _variant(fleet: Fleet, states: Mapping[str, InstanceState], is_healthy: Callable[[str], bool]) -> VariantRoute:
    variant = fleet.variant
    instances = [_instance(states[row.id]) for row in fleet.instances if row.id in states and is_healthy(row.id)]
    return VariantRoute(
        name=variant.name,
        weight=variant.weight,
        mode=variant.mode,
        hostnames=tuple(spec.hostname for spec in variant.containers),
        instances=tuple(instances),
        routing_strategy=variant.routing_strategy,
    )


def _instance(state: InstanceState) -> InstanceRoute:
    return InstanceRoute(
        id=state.id, containers=tuple(Address(container.host, container.port) for container in state.containers)
    )


def unavailable(endpoint: Endpoint) -> tuple[str, str, str, str]:
    """What gateways say of an endpoint that has no route: whose it is, its name and its status."""
    return endpoint.owner.account, endpoint.owner.region, endpoint.name, str(endpoint.status)


def live_ids(endpoint_route: EndpointRoute | None) -> set[str]:
    """The instances that a route sends calls to."""
    if endpoint_route is None:
        return set()
    return {instance.id for variant in endpoint_route.variants for instance in variant.instances}
