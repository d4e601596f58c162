"""The route table as a gateway uses it: look-ups by what a request says. `choice` chooses among what they find.

A table is built beside the old one and takes its place whole. Instances that are in both stay the same objects, so
their counts of calls in flight go on, and so do their open connections.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from polyport.domain.access import CLOSED
from polyport.domain.names import Owner, arn
from polyport.domain.routes import Address, EndpointRoute, InstanceRoute, RouteTable, VariantRoute
from polyport.gateway.calls import sessions, timing
from polyport.gateway.containers import choice
from polyport.gateway.containers.upstream import Pool

if TYPE_CHECKING:
    from polyport.gateway.counting import Cells

#: Seconds for which an instance that refused a connection is chosen only when there is no other.
AVOIDED_FOR = 1.0
#: Host name of the only container of a model, as SageMaker's containers see it.
SINGLE_HOST = "model.aws.local"
#: Ends of the paths that calls go to.
OPERATIONS = (b"invocations", b"invocations-response-stream")
_SAFE = re.compile(r"[!-~]*")
_ARN = re.compile(r"arn:aws[a-z-]*:sagemaker:([a-z0-9-]{1,32}):([0-9]{12}):endpoint/[a-z0-9-]{1,63}")
_TARGET = re.compile(rb"/endpoints/([^/?#]*)/([^/?#]*)(?:[?#].*)?", re.DOTALL)

OpenPool = Callable[[Address], Pool]


class Container:
    """One container of one instance."""

    __slots__ = ("head", "hostname", "label", "pool", "timing")

    def __init__(self, hostname: str, label: str, head: bytes, pool: Pool) -> None:
        self.hostname = hostname
        #: How errors name it: ``primary`` when it is the only one.
        self.label = label
        #: The first lines of every request to it.
        self.head = head
        self.pool = pool
        #: What stands before its time in the answer.
        self.timing = timing.opening(hostname)


class Instance:
    """One instance as this worker sees it."""

    __slots__ = ("avoid_until", "cells", "containers", "id", "is_retired", "outstanding", "route")

    def __init__(self, route: InstanceRoute, containers: tuple[Container, ...]) -> None:
        self.id = route.id
        self.route = route
        self.containers = containers
        #: Calls in flight.
        self.outstanding = 0
        #: It is in the table no more.
        self.is_retired = False
        self.avoid_until = 0.0
        #: Where its calls are counted, from the first on.
        self.cells: Cells | None = None

    def __repr__(self) -> str:
        return f"<Instance {self.id} outstanding={self.outstanding} retired={self.is_retired}>"

    @property
    def mark(self) -> bytes:
        """Ends the ids of its sessions."""
        return sessions.mark(self.id)

    def close(self) -> None:
        """Let its idle connections go; those in use go when their call ends."""
        for container in self.containers:
            container.pool.close()

    def reopen(self) -> None:
        """It is in the table again, after it had left."""
        self.is_retired = False
        for container in self.containers:
            container.pool.is_closed = False

    def move(self, route: InstanceRoute, containers: tuple[Container, ...]) -> None:
        """A container came back at another address: same instance, same count, new connections."""
        self.close()
        self.route, self.containers, self.is_retired = route, containers, False


class Variant:
    """One fleet of a variant. ``stages`` has the way of a direct call by the bytes of the hostname: one place."""

    __slots__ = (
        "all_stages",
        "capture",
        "header",
        "hostnames",
        "instances",
        "is_least_outstanding",
        "mode",
        "name",
        "share",
        "siblings",
        "stages",
        "weight",
    )

    def __init__(self, route: VariantRoute, instances: tuple[Instance, ...]) -> None:
        self.name = route.name
        self.weight = route.weight
        self.share = route.share
        #: Which of its calls are captured; ``None``: none.
        self.capture = route.capture
        #: The other fleets of its name that have the same containers.
        self.siblings: tuple[Variant, ...] = ()
        self.mode = route.mode
        self.hostnames = route.hostnames
        self.stages = {hostname.encode(): (place,) for place, hostname in enumerate(route.hostnames)}
        self.all_stages = tuple(range(len(route.hostnames)))
        self.instances = instances
        self.is_least_outstanding = route.routing_strategy == "LEAST_OUTSTANDING_REQUESTS"
        if not _SAFE.fullmatch(route.name):
            raise ValueError(f"the variant name {route.name!r} cannot be in a header")
        self.header = b"x-Amzn-Invoked-Production-Variant: %b\r\n" % route.name.encode()


class Shadow:
    """A shadow variant, and the share (0 to 1) of the calls that it gets a copy of."""

    __slots__ = ("share", "variant")

    def __init__(self, variant: Variant, share: float) -> None:
        self.variant = variant
        self.share = share


class Endpoint:
    """One endpoint that may be invoked. ``shares`` are what untargeted calls are drawn among, ``named`` the same for
    calls that name a variant, by the bytes of its name."""

    __slots__ = (
        "account",
        "arn",
        "is_watched",
        "name",
        "named",
        "paths",
        "region",
        "route",
        "shadows",
        "shares",
        "variants",
    )

    def __init__(self, route: EndpointRoute, variants: tuple[Variant, ...], shadows: tuple[Shadow, ...] = ()) -> None:
        self.route = route
        self.account = route.account
        self.region = route.region
        self.name = route.name
        self.arn = arn(Owner(route.account, route.region), "endpoint", route.name)
        self.variants = variants
        self.shadows = shadows
        #: Calls to it may be copied or captured.
        self.is_watched = bool(shadows) or any(variant.capture is not None for variant in variants)
        self.shares = choice.by_weight(variants)
        self.named = choice.by_name(variants)
        for variant in variants:
            variant.siblings = _siblings(variant, variants)
        #: As clients write them: names that can be created need no percent-encoding.
        self.paths = tuple((b"/endpoints/%b/%b" % (route.name.encode(), end), end) for end in OPERATIONS)

    @property
    def fleets(self) -> tuple[Variant, ...]:
        """All of them, those of shadow variants too."""
        return (*self.variants, *(shadow.variant for shadow in self.shadows))


class Index:
    """One version of the table, by what requests say."""

    __slots__ = ("_arns", "_endpoints", "_targets", "_unavailable", "access", "instances", "version")

    def __init__(self, table: RouteTable, endpoints: Iterable[Endpoint], instances: dict[str, Instance]) -> None:
        self.version = table.version
        self.access = table.access
        self.instances = instances
        self._endpoints = {(one.account, one.region, one.name): one for one in endpoints}
        self._unavailable = {(account, region, name): status for account, region, name, status in table.unavailable}
        self._arns = {one.arn: one for one in self._endpoints.values()}
        self._targets: dict[tuple[str, str], dict[bytes, tuple[Endpoint, bytes]]] = {}
        for (account, region, _), endpoint in self._endpoints.items():
            targets = self._targets.setdefault((account, region), {})
            for path, operation in endpoint.paths:
                targets[path] = (endpoint, operation)

    def __len__(self) -> int:
        return len(self._endpoints)

    def find(self, owner: tuple[str, str], target: bytes) -> tuple[Endpoint, bytes] | None:
        """Endpoint and operation (end of the path) of a target written in the usual way; owner: account, region."""
        targets = self._targets.get(owner)
        return targets.get(target) if targets is not None else None

    def endpoint(self, owner: tuple[str, str], name: str) -> Endpoint | None:
        """The endpoint of that name, or of that ARN."""
        return self._endpoints.get((*owner, name)) or self._arns.get(name)

    def status(self, owner: tuple[str, str], name: str) -> str | None:
        """The status of an endpoint that exists and cannot be invoked."""
        return self._unavailable.get((*owner, name))


def empty() -> Index:
    """What a worker knows before its first table."""
    return Index(RouteTable(version=0, access=CLOSED), (), {})


def build(table: RouteTable, previous: Index, draining: dict[str, Instance], open_pool: OpenPool) -> Index:
    """The index of a new table. Instances of the previous one, and ``draining`` ones that come back, are kept; so are
    endpoints of which nothing changed, that is, nearly all: a table of a thousand must not hold up calls."""
    instances: dict[str, Instance] = {}
    endpoints = []
    changes: list[Callable[[], None]] = []

    def fleet(variant: VariantRoute) -> Variant:
        for one in variant.instances:
            known = previous.instances.get(one.id) or draining.get(one.id)
            instances[one.id] = _instance(one, variant, known, open_pool, changes)
        return Variant(variant, tuple(instances[one.id] for one in variant.instances))

    for route in table.endpoints:
        same = previous.endpoint((route.account, route.region), route.name)
        if same is not None and same.route == route:
            endpoints.append(same)
            for kept in same.fleets:
                instances.update((one.id, one) for one in kept.instances)
            continue
        variants = tuple(fleet(variant) for variant in route.variants)
        shadows = tuple(Shadow(fleet(shadow.variant), shadow.share) for shadow in route.shadows)
        endpoints.append(Endpoint(route, variants, shadows))
    index = Index(table, endpoints, instances)
    # Only now: calls go on by the previous table if this one cannot be used.
    for change in changes:
        change()
    return index


def parse_arn(name: str) -> Owner | None:
    """Whose endpoint an ARN names; ``None`` when it is the ARN of no endpoint. The ARN itself is the name then."""
    match = _ARN.fullmatch(name)
    return Owner(match[2], match[1]) if match else None


def parse_target(target: bytes) -> tuple[str, bytes] | None:
    """Endpoint name, percent-decoded, and operation of any spelling of a runtime path; ``None`` if it is none."""
    match = _TARGET.fullmatch(target)
    return (unquote_to_bytes(match[1]).decode("utf-8", "replace"), match[2]) if match else None


def _siblings(variant: Variant, variants: tuple[Variant, ...]) -> tuple[Variant, ...]:
    containers = variant.mode, variant.hostnames
    alike = [one for one in variants if one.name == variant.name and (one.mode, one.hostnames) == containers]
    return tuple(one for one in alike if one is not variant)


def _instance(
    route: InstanceRoute,
    variant: VariantRoute,
    known: Instance | None,
    open_pool: OpenPool,
    changes: list[Callable[[], None]],
) -> Instance:
    """``changes`` gets what is to be done to a known instance."""
    if known is not None and known.route == route:
        if known.is_retired:
            changes.append(known.reopen)
        return known
    containers = tuple(
        _container(hostname, address, variant.mode, open_pool(address))
        for hostname, address in zip(variant.hostnames, route.containers, strict=True)
    )
    if known is None:
        return Instance(route, containers)
    changes.append(partial(known.move, route, containers))
    return known


def _container(hostname: str, address: Address, mode: str, pool: Pool) -> Container:
    if not _SAFE.fullmatch(hostname):
        raise ValueError(f"the container hostname {hostname!r} cannot be in a header")
    is_single = mode == "Single"
    host = f"{SINGLE_HOST if is_single else hostname}:{address.port}"
    head = b"POST /invocations HTTP/1.1\r\nHost: %b\r\n" % host.encode()
    return Container(hostname, "primary" if is_single else hostname, head, pool)
