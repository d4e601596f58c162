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
    hostnames = tuple(spec.hostname for spec in variant.containers)
    present = [states[row.id] for row in fleet.instances if row.id in states]
    instances = [_instance(state, hostnames) for state in present if not state.stopping and is_healthy(state.id)]
    return VariantRoute(
        name=variant.name,
        weight=variant.weight,
        mode=variant.mode,
        hostnames=hostnames,
        instances=tuple(instance for instance in instances if instance),
        routing_strategy=variant.routing_strategy,
    )


def _instance(state: InstanceState, hostnames: tuple[str, ...]) -> InstanceRoute | None:
    """``None`` while a container of it cannot be reached. Engines list containers in an order of their own."""
    found = {container.hostname: Address(container.host, container.port) for container in state.containers}
    addresses = tuple(found[hostname] for hostname in hostnames if hostname in found and found[hostname].port)
    return InstanceRoute(id=state.id, containers=addresses) if len(addresses) == len(hostnames) else None


def unavailable(endpoint: Endpoint) -> tuple[str, str, str, str]:
    """What gateways say of an endpoint that has no route: whose it is, its name and its status."""
    return endpoint.owner.account, endpoint.owner.region, endpoint.name, str(endpoint.status)


def live_ids(endpoint_route: EndpointRoute | None) -> set[str]:
    """The instances that a route sends calls to."""
    if endpoint_route is None:
        return set()
    return {instance.id for variant in endpoint_route.variants for instance in variant.instances}
