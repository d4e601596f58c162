"""Endpoints, variants and states as values, for the tests of control."""

from itertools import count

from polyport.domain import diagnosis
from polyport.domain.endpoints import Deployment, Endpoint, EndpointState, Fleet, InstanceRow, Mode, Variant, Wanted
from polyport.domain.instances import ContainerPhase, ContainerSpec, ContainerState, Image, InstanceState
from polyport.domain.names import Owner

OWNER = Owner("123456789012", "us-east-1")
_ids = count(1)


def new_id() -> str:
    """An instance id that no other test has."""
    return f"i-{next(_ids):017x}"


def new_ids(number: int) -> list[str]:
    """So many of them."""
    return [new_id() for _ in range(number)]


def variant(
    name: str = "A", instances: int = 1, weight: float = 1.0, hosts: tuple[str, ...] = ("one", "two")
) -> Variant:
    """A direct variant; its images are called as its containers."""
    containers = tuple(ContainerSpec(hostname=host, image=f"{host}:1") for host in hosts)
    return Variant(
        name=name,
        model_name="model",
        mode=Mode.DIRECT,
        containers=containers,
        instance_count=instances,
        weight=weight,
    )


def images(of: Variant) -> tuple[Image, ...]:
    """What the images of a variant stand for."""
    return tuple(Image(spec.image, f"{spec.image}@sha256:0", 1.0) for spec in of.containers)


def fleet(of: Variant, *ids: str) -> Fleet:
    """A fleet with resolved images and these instances."""
    return Fleet(variant=of, images=images(of), instances=tuple(InstanceRow(each, 1.0, of.name) for each in ids))


def deployment(revision: int, *fleets: Fleet) -> Deployment:
    """A deployment of these fleets."""
    return Deployment(revision=revision, config_name=f"config-{revision}", started_at=1.0, fleets=fleets)


def wanted(revision: int, *variants: Variant) -> Wanted:
    """What an API call asks for."""
    return Wanted(revision=revision, config_name=f"config-{revision}", variants=variants)


def endpoint(
    what: Wanted, state: EndpointState | None = None, *, generation: int = 1, name: str = "Endpoint"
) -> Endpoint:
    """An endpoint as the API creates it, or in the given state."""
    return Endpoint(
        id=f"id-{name}",
        owner=OWNER,
        name=name,
        arn=f"arn:aws:sagemaker:us-east-1:123456789012:endpoint/{name.lower()}",
        created_at=1.0,
        modified_at=1.0,
        generation=generation,
        wanted=what,
        state=state or EndpointState(),
        version=1,
    )


def running(hostname: str, port: int = 20000, started_at: float = 1.0, restarts: int = 0) -> ContainerState:
    """A container that runs."""
    return ContainerState(
        hostname=hostname,
        phase=ContainerPhase.RUNNING,
        host="127.0.0.1",
        port=port,
        pid=4711,
        started_at=started_at,
        restarts=restarts,
    )


def instance(name: str, *hosts: str) -> InstanceState:
    """An instance whose containers run."""
    return InstanceState(name, tuple(running(host, 20000 + index) for index, host in enumerate(hosts)))


def fix_of(cause: str) -> str:
    """What the table of causes says to do."""
    return next(each.fix for each in diagnosis.CAUSES if each.name == cause)
