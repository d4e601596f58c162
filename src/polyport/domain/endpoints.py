"""What is wanted of an endpoint, and how far the reconciler has come with it.

The API writes `Wanted` (and raises the generation); only the reconciler writes `EndpointState`. Both are JSON columns
of the endpoint's row, so that one compare-and-swap moves an endpoint from one consistent state to the next.
"""

from enum import StrEnum
from typing import Any

import msgspec

from polyport.domain.captures import Capture
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
    #: A rolling update failed and so did its rollback: a mix of old and new serves.
    UPDATE_ROLLBACK_FAILED = "UpdateRollbackFailed"


#: What an update may begin from.
AT_REST = {Status.IN_SERVICE, Status.UPDATE_ROLLBACK_FAILED}


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
    #: ``DataCaptureConfig``; ``None``: there is none.
    capture: Capture | None = None


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
    #: The ``DeploymentConfig`` of a restart: the same images in new instances. ``None``: it is no restart.
    restart: dict[str, Any] | None = None
    #: Why what is under way is to be ended; empty: it is not.
    cancelled: str = ""


class InstanceRow(msgspec.Struct, frozen=True):
    """One instance that should exist, or is on its way out. Written before the engine hears of it."""

    id: str
    created_at: float
    variant: str = ""
    #: Why another instance takes its place; empty: none does. It goes once that one takes calls.
    condemned: str = ""
    condemned_at: float = 0.0
    #: How many before it, in a row, were replaced because they did not live long.
    tries: int = 0


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
    #: What a failed rollback left behind: fleets of this and of a later deployment, perhaps two of one variant.
    mixed: bool = False


class Strategy(StrEnum):
    """How an update moves the traffic, as SageMaker spells it where it has a word for it."""

    ALL_AT_ONCE = "ALL_AT_ONCE"
    CANARY = "CANARY"
    LINEAR = "LINEAR"
    ROLLING = "ROLLING"


class Phase(StrEnum):
    """What an update waits for."""

    #: The new instances of the next step are to get healthy.
    LAUNCHING = "launching"
    #: Every gateway worker is to go by the shares of this step.
    SHIFTING = "shifting"
    #: Time is to pass with these shares, without an alarm.
    BAKING = "baking"
    #: A rolling update is being undone: old instances are to get healthy again.
    RETURNING = "returning"


class Rollout(msgspec.Struct, frozen=True):
    """How far an update is between the ``active`` and the ``pending`` deployment."""

    strategy: Strategy
    phase: Phase
    #: When the phase began, in epoch seconds.
    since: float
    #: The new fleets' share of the traffic after each step, 0 to 1. An update ends with 1, one that is undone with 0.
    shares: tuple[float, ...]
    #: How many of the steps are made.
    step: int = 0


class EndpointState(msgspec.Struct, frozen=True):
    """What the reconciler knows and intends.

    ``active`` takes the traffic. ``pending`` is being started beside it: whole new fleets, to which ``rollout`` moves
    the traffic, or, when it has the revision of ``active``, only the instances that a scale-out adds. ``retired``
    instances have left the route tables; they drain and are removed.
    """

    status: Status = Status.CREATING
    #: The generation this status answers to.
    settled: int = 0
    failure_reason: str = ""
    active: Deployment | None = None
    pending: Deployment | None = None
    retired: tuple[InstanceRow, ...] = ()
    #: Of an update to new fleets, from its first step to its last.
    rollout: Rollout | None = None

    @property
    def is_resizing(self) -> bool:
        """Whether weights and counts of the active fleets are being changed."""
        return bool(self.active and self.pending and self.active.revision == self.pending.revision)

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
        if self.generation > self.state.settled and self.state.status in AT_REST:
            return Status.UPDATING
        return self.state.status
