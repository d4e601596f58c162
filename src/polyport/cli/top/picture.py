"""One look at a home, as endpoints with variants, instances and containers. Pure."""

from collections.abc import Callable, Iterable, Iterator, Mapping

import msgspec

from polyport.cli import endpoints as shown
from polyport.cli.cases import Case, State
from polyport.cli.top.loads import Counted, Load
from polyport.domain.endpoints import Endpoint, Fleet, InstanceRow, Mode, Variant
from polyport.server.used import Used

LEAVING = "leaving"


class Use(msgspec.Struct, frozen=True):
    """CPU in percent of one, memory in bytes; ``None``: not measured."""

    cpu: float | None = None
    memory: int | None = None
    memory_limit: int | None = None


class ContainerPicture(msgspec.Struct, frozen=True):
    """One container of one instance. ``cause``: what is wrong with it, in one line, under its ``name``."""

    hostname: str
    state: str
    use: Use
    name: str = ""
    cause: str = ""


class InstancePicture(msgspec.Struct, frozen=True):
    """``part``: ``active``, ``new`` (of an update) or ``leaving``."""

    id: str
    part: str
    state: str
    load: Load
    use: Use
    containers: tuple[ContainerPicture, ...]
    #: What is wrong with all of it.
    name: str = ""
    cause: str = ""


class StagePicture(msgspec.Struct, frozen=True):
    """A container of a variant, in all of its instances."""

    hostname: str
    healthy: int
    count: int
    load: Load
    use: Use


class VariantPicture(msgspec.Struct, frozen=True):
    """``healthy`` of its ``count`` instances are so; those that leave do not count."""

    variant: str
    mode: str
    shadow: bool
    healthy: int
    count: int
    load: Load
    use: Use
    stages: tuple[StagePicture, ...]
    instances: tuple[InstancePicture, ...]


class EndpointPicture(msgspec.Struct, frozen=True):
    """``steps``: what is under way; ``reason``: why it failed."""

    endpoint: str
    account: str
    region: str
    status: str
    steps: tuple[str, ...]
    reason: str
    calls: float
    failures: int
    use: Use
    variants: tuple[VariantPicture, ...]


class Picture(msgspec.Struct, frozen=True):
    """``at`` in epoch seconds. ``server``: who serves the home; empty: nobody does."""

    at: float
    server: str
    endpoints: tuple[EndpointPicture, ...]


class Sources(msgspec.Struct, frozen=True):
    """What a picture is made of."""

    counted: Counted
    used: Mapping[tuple[str, str], Used]
    #: What is known of an instance.
    case: Callable[[Endpoint, InstanceRow], Case]


def describe(endpoint: Endpoint, sources: Sources) -> EndpointPicture:
    """One endpoint."""
    fleets: dict[str, list[tuple[str, Fleet]]] = {}
    for part, fleet in shown.fleets(endpoint):
        fleets.setdefault(fleet.variant.name, []).append((part, fleet))
    variants = tuple(_describe_variant(endpoint, each, sources) for each in fleets.values())
    return EndpointPicture(
        endpoint.name,
        endpoint.owner.account,
        endpoint.owner.region,
        str(endpoint.status),
        tuple(shown.steps(endpoint)),
        endpoint.state.failure_reason,
        # What goes to a shadow variant is a copy.
        sum(each.load.calls for each in variants if not each.shadow),
        sum(each.load.failures for each in variants if not each.shadow),
        _sum(each.use for each in variants),
        variants,
    )


ORDERS: dict[str, Callable[[EndpointPicture], tuple[float, ...]]] = {
    "load": lambda each: (each.calls, each.use.cpu or 0.0),
    "cpu": lambda each: (each.use.cpu or 0.0,),
    "memory": lambda each: (each.use.memory or 0,),
    "errors": lambda each: (each.failures, each.calls),
    "name": lambda _: (),
}


def arrange(endpoints: Iterable[EndpointPicture], order: str) -> tuple[EndpointPicture, ...]:
    """The most of it first; the same of it by name. ``order``: of `ORDERS`."""
    by_name = sorted(endpoints, key=lambda each: (each.endpoint, each.account, each.region))
    return tuple(sorted(by_name, key=ORDERS[order], reverse=True))


def _describe_variant(endpoint: Endpoint, fleets: list[tuple[str, Fleet]], sources: Sources) -> VariantPicture:
    # Where an update has both, the new one is what is to be.
    variant = fleets[-1][1].variant
    staying = [(part, row) for part, fleet in fleets for row in fleet.instances]
    leaving = [(LEAVING, row) for row in endpoint.state.retired if row.variant == variant.name]
    instances = tuple(_describe_instance(endpoint, variant, part, row, sources) for part, row in (*staying, *leaving))
    counting = [each for each in instances if each.part != LEAVING]
    load = sources.counted.load((endpoint.owner, endpoint.name, variant.name, "", ""))
    return VariantPicture(
        variant.name,
        str(variant.mode),
        variant.shadow,
        sum(each.state == State.HEALTHY for each in counting),
        len(counting),
        load,
        _sum(each.use for each in instances),
        tuple(_stages(endpoint, variant, counting, load, sources)),
        instances,
    )


def _stages(
    endpoint: Endpoint, variant: Variant, instances: list[InstancePicture], whole: Load, sources: Sources
) -> Iterator[StagePicture]:
    for spec in variant.containers:
        place = (endpoint.owner, endpoint.name, variant.name, "", spec.hostname)
        mine = [each for instance in instances for each in instance.containers if each.hostname == spec.hostname]
        yield StagePicture(
            spec.hostname,
            sum(each.state == State.HEALTHY for each in mine),
            len(mine),
            # The only container of a model has no metrics of its own.
            whole if variant.mode is Mode.SINGLE else sources.counted.load(place),
            _sum(each.use for each in mine),
        )


def _describe_instance(
    endpoint: Endpoint, variant: Variant, part: str, row: InstanceRow, sources: Sources
) -> InstancePicture:
    case = sources.case(endpoint, row)
    findings = case.findings if part != LEAVING else {}
    containers = tuple(
        ContainerPicture(
            spec.hostname,
            str(case.state(spec.hostname)),
            _use(sources.used.get((row.id, spec.hostname))),
            *((found.cause, _line(found.text)) if (found := findings.get(spec.hostname)) else ()),
        )
        for spec in variant.containers
    )
    whole = findings.get("")
    return InstancePicture(
        row.id,
        part,
        _worst(each.state for each in containers) if part != LEAVING else LEAVING,
        sources.counted.load((endpoint.owner, endpoint.name, variant.name, row.id, "")),
        _sum(each.use for each in containers),
        containers,
        whole.cause if whole else "",
        _line(whole.text) if whole else row.condemned,
    )


def _worst(states: Iterable[str]) -> str:
    """An instance does as well as the container of it that does worst."""
    ranks = (State.ENDED, State.UNHEALTHY, State.PREPARING, State.STARTING, State.HEALTHY)
    return str(min(map(State, states), key=ranks.index))


def _use(used: Used | None) -> Use:
    return Use(used.cpu, used.memory, used.memory_limit) if used else Use()


def _sum(several: Iterable[Use]) -> Use:
    """Of those that were measured. There is a limit where all have one."""
    measured = [each for each in several if each.memory is not None]
    cpus = [each.cpu for each in measured if each.cpu is not None]
    limits = [each.memory_limit for each in measured if each.memory_limit is not None]
    return Use(
        sum(cpus) if cpus else None,
        sum(each.memory or 0 for each in measured) if measured else None,
        sum(limits) if limits and len(limits) == len(measured) else None,
    )


def _line(text: str) -> str:
    return " ".join(text.split())
