"""What is wanted of an endpoint, and how far the reconciler has come with it.

The API writes `Wanted` (and raises the generation); only the reconciler writes `EndpointState`. Both are JSON columns
of the endpoint's row, so that one compare-and-swap moves an endpoint from one consistent state to the next.
"""

from enum import StrEnum
from typing import Any

import msgspec

from polyport.domain.instances import ContainerSpec, Image
from polyport.domain.names import Owner


class Status(StrEnum):
    """``EndpointStatus``, as SageMaker spells it."""

    CREATING = "Creating"
    IN_SERVICE = "InService"
    UPDATING = "Updating"
    ROLLING_BACK = "RollingBack"
    SYSTEM_UPDATING = "SystemUpdating"
    DELETING = "Deleting"
    FAILED = "Failed"


class Mode(StrEnum):
    """How the containers of a model are invoked. ``Single``: the model has one container and no name for it."""

    SINGLE = "Single"
    SERIAL = "Serial"
    DIRECT = "Direct"


class Variant(msgspec.Struct, frozen=True):
    """A production variant with its model, as both were when the API call was made.

    A copy on purpose: deleting the model or the configuration does not touch an endpoint that was made from it.
    """

    name: str
    model_name: str
    mode: Mode
    containers: tuple[ContainerSpec, ...]
    instance_count: int
    weight: float = 1.0
    instance_type: str = ""
    routing_strategy: str = "RANDOM"
    network_isolation: bool = False
    #: ``ContainerStartupHealthCheckTimeoutInSeconds``; ``None``: the setting.
    startup_timeout: float | None = None
    #: ``ModelDataDownloadTimeoutInSeconds``; ``None``: the setting.
    download_timeout: float | None = None
    #: It is a shadow variant: ``weight`` is the share of the traffic, 0 to 1, that is copied to it.
    shadow: bool = False


class Wanted(msgspec.Struct, frozen=True):
    """What the latest API call asked for.

    ``revision`` grows with each call that asks for new fleets (create, update); a change of weights and counts
    keeps it.
    """

    revision: int
    config_name: str
    variants: tuple[Variant, ...]
    #: ``DeploymentConfig`` as given.
    deployment_config: dict[str, Any] | None = None
    deleted: bool = False


class InstanceRow(msgspec.Struct, frozen=True):
    """One instance that should exist, or is on its way out. Written before the engine hears of it."""

    id: str
    created_at: float
    variant: str = ""


class Fleet(msgspec.Struct, frozen=True):
    """The instances of one variant at one deployment."""

    variant: Variant
    instances: tuple[InstanceRow, ...] = ()
    #: One per container, once resolved: every instance of a fleet runs the same images.
    images: tuple[Image, ...] = ()


class Deployment(msgspec.Struct, frozen=True):
    """The fleets that one configuration asked for."""

    revision: int
    config_name: str
    started_at: float
    fleets: tuple[Fleet, ...]
    deployment_config: dict[str, Any] | None = None


class EndpointState(msgspec.Struct, frozen=True):
    """What the reconciler knows and intends.

    ``active`` takes the traffic. ``pending`` is being started beside it: whole new fleets, or, when it has the revision
    of ``active``, only the instances that a scale-out adds. ``retired`` instances have left the route tables; they
    drain and are removed.
    """

    status: Status = Status.CREATING
    #: The generation this status answers to.
    settled: int = 0
    failure_reason: str = ""
    active: Deployment | None = None
    pending: Deployment | None = None
    retired: tuple[InstanceRow, ...] = ()

    @property
    def images(self) -> set[str]:
        """What its fleets run or are about to run: ``repository@sha256:...``."""
        deployments = [deployment for deployment in (self.active, self.pending) if deployment]
        return {image.resolved for each in deployments for fleet in each.fleets for image in fleet.images}


class Endpoint(msgspec.Struct, frozen=True):
    """The row of an endpoint."""

    id: str
    owner: Owner
    name: str
    arn: str
    created_at: float
    modified_at: float
    #: Grows with every API call that wants something new.
    generation: int
    wanted: Wanted
    state: EndpointState
    #: Grows with every write; compare-and-swap goes by it.
    version: int

    @property
    def status(self) -> Status:
        """What DescribeEndpoint shows: a call that the reconciler has not seen yet counts as begun."""
        if self.wanted.deleted:
            return Status.DELETING
        if self.generation > self.state.settled and self.state.status is Status.IN_SERVICE:
            return Status.UPDATING
        return self.state.status
