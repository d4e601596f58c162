"""What gateways should know of one endpoint: a pure function of its row and of which instances are healthy."""

from collections.abc import Callable, Iterable, Mapping

from msgspec.structs import replace

from polyport.control import resize, traffic
from polyport.domain.endpoints import Endpoint, EndpointState, Fleet, Phase
from polyport.domain.instances import InstanceState
from polyport.domain.routes import Address, EndpointRoute, InstanceRoute, ShadowRoute, VariantRoute

#: The entries of the old fleets or of the new ones, and those of shadow variants among them.
Side = list[tuple[VariantRoute, bool]]


def route(
    endpoint: Endpoint,
    states: Mapping[str, InstanceState],
    is_healthy: Callable[[str], bool],
    is_slow: Callable[[str], bool] = lambda _: False,
) -> EndpointRoute | None:
    """The endpoint's entry in the route table; ``None`` when it must not be invoked.

    A fleet in service that has nothing better keeps instances that are only slow (`health.is_slow`): they may be at
    work, and an error for every call would be no better.
    """
    state = endpoint.state
    if state.active is None or endpoint.wanted.deleted:
        return None

    def enter(fleet: Fleet, count: int) -> VariantRoute:
        return _variant(fleet, count, states, is_healthy)

    def enter_old(fleet: Fleet, count: int) -> VariantRoute:
        entry = enter(fleet, count)
        return entry if entry.instances or fleet.variant.shadow else _variant(fleet, count, states, is_slow)

    new: Side = []
    if state.pending is not None and _is_shifting(state):
        new = [(enter(fleet, traffic.taken(state, fleet)), fleet.variant.shadow) for fleet in state.pending.fleets]
    lacking = _lacking(state, new)
    counts = [traffic.kept(state, fleet) + lacking.get(fleet.variant.name, 0) for fleet in resize.joined(state)]
    old = [
        (enter_old(fleet, count), fleet.variant.shadow)
        for fleet, count in zip(resize.joined(state), counts, strict=True)
    ]
    entries = _shift(state, _split(old), _split(new), lacking) if new else _split(old)
    return EndpointRoute(
        account=endpoint.owner.account,
        region=endpoint.owner.region,
        name=endpoint.name,
        variants=tuple(_without_idle([entry for entry, is_shadow in entries if not is_shadow])),
        shadows=tuple(
            ShadowRoute(entry, min(1.0, entry.weight)) for entry, is_shadow in entries if is_shadow and entry.instances
        ),
    )


def _is_shifting(state: EndpointState) -> bool:
    """Whether new fleets take traffic."""
    return state.rollout is not None and (state.rollout.step > 0 or state.rollout.phase is Phase.RETURNING)


def _lacking(state: EndpointState, new: Side) -> dict[str, int]:
    """How many instances of new fleets should take traffic and are ill: as many old ones that stand by do instead."""
    fleets = state.pending.fleets if state.pending else ()
    counts = ((entry, traffic.taken(state, fleet)) for (entry, _), fleet in zip(new, fleets, strict=False))
    return {entry.name: count - len(entry.instances) for entry, count in counts if count > len(entry.instances)}


def _shift(state: EndpointState, old: Side, new: Side, lacking: Mapping[str, int]) -> Side:
    """Both sides' entries, each with its part of the traffic. Weights of different configurations are made comparable:
    they add up to 1 on each side, but for those of shadows, which are shares already."""
    assert state.rollout is not None, "traffic shifts"
    share = traffic.share(state.rollout)
    if share >= 1 and not lacking:
        return new
    old, new = _norm(old), _norm(new)
    if share >= 1:
        old = [(entry, is_shadow) for entry, is_shadow in old if entry.name in lacking]
    by_counts = _parts_by_counts(old, new)
    parts = dict.fromkeys(by_counts, share)
    if share >= 1:
        parts |= {entry.name: by_counts[entry.name] for entry, _ in old}
    elif traffic.goes_by_counts(state.rollout):
        parts = by_counts
    before, after = {entry.name for entry, _ in old}, {entry.name for entry, _ in new}
    return [
        *((_scale(entry, 1 - parts[entry.name], entry.name in after), is_shadow) for entry, is_shadow in old),
        *((_scale(entry, parts[entry.name], entry.name in before), is_shadow) for entry, is_shadow in new),
    ]


def _parts_by_counts(old: Side, new: Side) -> dict[str, float]:
    """By variant, the part of its instances that are new; of one that is on one side only, that of all instances."""
    overall = _part_of(_size(old), _size(new))
    before, after = {entry.name for entry, _ in old}, {entry.name for entry, _ in new}
    parts = dict.fromkeys(before | after, overall)
    for name in before & after:
        parts[name] = _part_of(_size(old, name), _size(new, name), otherwise=overall)
    return parts


def _part_of(old: float, new: float, otherwise: float = 0.0) -> float:
    return new / (old + new) if old + new else otherwise


def _size(side: Side, name: str | None = None) -> int:
    return sum(len(entry.instances) for entry, _ in side if name in {None, entry.name})


def _scale(entry: VariantRoute, part: float, is_on_both_sides: bool) -> VariantRoute:
    share = entry.share * part if is_on_both_sides else entry.share
    return replace(entry, weight=entry.weight * part, share=share)


def _norm(side: Side) -> Side:
    total = sum(entry.weight for entry, is_shadow in side if not is_shadow)
    count = sum(not is_shadow for _, is_shadow in side)
    return [
        (entry if is_shadow else replace(entry, weight=entry.weight / total if total else 1 / count), is_shadow)
        for entry, is_shadow in side
    ]


def _split(side: Side) -> Side:
    """Fleets of one variant, as a failed rollback leaves them, share its traffic as their instances are shared."""
    found = []
    for entry, is_shadow in side:
        same = [other for other, _ in side if other.name == entry.name]
        part = _part_of(_size(side, entry.name) - len(entry.instances), len(entry.instances), otherwise=1 / len(same))
        found.append((_scale(entry, part, True) if len(same) > 1 else entry, is_shadow))
    return found


def _without_idle(entries: list[VariantRoute]) -> Iterable[VariantRoute]:
    """Of two entries of one variant, one that has no instance leaves its calls to the other."""
    for entry in entries:
        same = [other for other in entries if other.name == entry.name]
        busy = [other for other in same if other.instances] or same[:1]
        if len(busy) == len(same):
            yield entry
        elif any(entry is other for other in busy):
            part = _part_of(sum(other.share for other in busy) - entry.share, entry.share, otherwise=1 / len(busy))
            yield replace(entry, share=part, weight=sum(other.weight for other in same) * part)


def _variant(
    fleet: Fleet, count: int, states: Mapping[str, InstanceState], is_healthy: Callable[[str], bool]
) -> VariantRoute:
    """With the first ``count`` healthy instances of a fleet; or those that are something else."""
    variant = fleet.variant
    hostnames = tuple(spec.hostname for spec in variant.containers)
    present = [states[row.id] for row in fleet.instances if row.id in states]
    instances = [_instance(state, hostnames) for state in present if not state.stopping and is_healthy(state.id)]
    return VariantRoute(
        name=variant.name,
        weight=variant.weight,
        mode=variant.mode,
        hostnames=hostnames,
        instances=tuple(instance for instance in instances if instance)[:count],
        routing_strategy=variant.routing_strategy,
        capture=variant.capture if variant.capture and variant.capture.is_active else None,
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
    """The instances that a route sends calls to, or copies of calls."""
    if endpoint_route is None:
        return set()
    variants = (*endpoint_route.variants, *(shadow.variant for shadow in endpoint_route.shadows))
    return {instance.id for variant in variants for instance in variant.instances}
