"""The route table: what gateways know. Control pushes it whole; a gateway needs nothing else to serve."""

import msgspec

from polyport.domain.access import AccessTable
from polyport.domain.captures import Capture, Captures
from polyport.domain.counts import Counted, Counts
from polyport.domain.pulse import Pulse


class Address(msgspec.Struct, frozen=True, array_like=True):
    """Where one container of one instance listens."""

    host: str
    port: int


class InstanceRoute(msgspec.Struct, frozen=True, array_like=True):
    """One healthy instance; ``containers`` in the order of the variant's ``hostnames``."""

    id: str
    containers: tuple[Address, ...]


class VariantRoute(msgspec.Struct, frozen=True):
    """One fleet of a production variant. ``mode`` is ``Single``, ``Serial`` or ``Direct``.

    While an update shifts traffic, the old and the new fleet of a variant are two entries of one name.
    """

    name: str
    #: Its share of the traffic is ``weight`` divided by the sum; 0 gets only calls that name it.
    weight: float
    mode: str
    hostnames: tuple[str, ...]
    instances: tuple[InstanceRoute, ...]
    routing_strategy: str = "RANDOM"
    #: Its share of the calls that name the variant; those of one name add up to 1.
    share: float = 1.0
    #: Which of its calls are captured; ``None``: none.
    capture: Capture | None = None


class ShadowRoute(msgspec.Struct, frozen=True):
    """A shadow variant: gets a copy of a share of the calls, 0 to 1, once their answers went out."""

    variant: VariantRoute
    share: float


class EndpointRoute(msgspec.Struct, frozen=True):
    """One endpoint that may be invoked."""

    account: str
    region: str
    name: str
    variants: tuple[VariantRoute, ...]
    shadows: tuple[ShadowRoute, ...] = ()


class RouteTable(msgspec.Struct, frozen=True):
    """A whole, versioned snapshot. Versions only grow, also across restarts of control.

    ``access`` has no default on purpose: whoever makes a table says who may call.
    """

    version: int
    access: AccessTable
    endpoints: tuple[EndpointRoute, ...] = ()
    #: Which endpoints exist but cannot be invoked now, by (account, region, name): their status.
    unavailable: tuple[tuple[str, str, str, str], ...] = ()


# The channel between a gateway worker and control: length-prefixed MessagePack, one tagged struct a frame.


class Hello(msgspec.Struct, frozen=True, tag="hello"):
    """Worker to control, first: who it is."""

    worker: str
    pid: int


class Publish(msgspec.Struct, frozen=True, tag="publish"):
    """Control to worker: serve by this table from now on."""

    table: RouteTable


class Acknowledge(msgspec.Struct, frozen=True, tag="ack"):
    """Worker to control: new calls are served by table ``version``; ``draining`` are the instances that the table no
    longer holds but that calls begun earlier still use. Sent again whenever ``draining`` shrinks."""

    version: int
    draining: tuple[str, ...] = ()


class Unreachable(msgspec.Struct, frozen=True, tag="unreachable"):
    """Worker to control: a container of this instance refused a connection or broke one."""

    instance: str
    hostname: str
    reason: str


class Refused(msgspec.Struct, frozen=True, tag="refused"):
    """Worker to control: invocations that were refused, each as a line of the audit log."""

    records: tuple[bytes, ...]
    #: How many more there were, of which nothing could be kept.
    lost: int = 0


FromControl = Publish | Counted
FromWorker = Hello | Acknowledge | Unreachable | Refused | Counts | Captures | Pulse
