"""What one step of the planner goes by, besides the endpoint's state: all that is seen and known at that moment."""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain

import msgspec

from polyport.control.limits import Limits
from polyport.domain.endpoints import Deployment, Endpoint, EndpointState, InstanceRow
from polyport.domain.instances import Image


class Seen(msgspec.Struct, frozen=True):
    """One instance as it is now."""

    #: The engine has it (perhaps only what is left of it).
    present: bool = False
    #: The engine is ending it.
    stopping: bool = False
    #: Every container answers /ping with 200.
    healthy: bool = False
    #: Why it is given up, when it is: what a new endpoint or an update fails with.
    failure: str = ""
    #: It has been unhealthy for longer than its start-up time allows.
    overdue: bool = False
    #: Why another one should take its place though it had been healthy; empty: none should.
    complaint: str = ""
    #: Every gateway worker serves by a table that holds it.
    routed: bool = False
    #: Every gateway worker serves by a table without it and has no call left in it.
    drained: bool = True
    #: It left the tables for good, longer ago than any call may take.
    lingers: bool = False
    #: The engine was asked to end it, and it is not gone in the time that this may take.
    stuck: bool = False


NOTHING = Seen()

#: What is known of a fleet's images, by (revision, variant): the images, or why they cannot be had.
Resolved = Mapping[tuple[int, str], tuple[Image, ...] | str]


class Scene(msgspec.Struct, frozen=True):
    """The arguments of `plan.plan`; ``now`` is in epoch seconds, ``alarms`` are the watched ones in ALARM."""

    endpoint: Endpoint
    seen: Mapping[str, Seen]
    resolved: Resolved
    now: float
    new_id: Callable[[], str]
    alarms: frozenset[str] = frozenset()
    limits: Limits = Limits()

    def see(self, row: InstanceRow) -> Seen:
        """That instance."""
        return self.seen.get(row.id, NOTHING)

    def are_healthy(self, rows: Iterable[InstanceRow]) -> bool:
        """Whether all of them are."""
        return all(self.see(row).healthy for row in rows)

    def best(self, rows: tuple[InstanceRow, ...], count: int) -> tuple[InstanceRow, ...]:
        """So many of them, healthy ones first, then in their order: as routes choose them."""
        return tuple(sorted(rows, key=lambda row: not self.see(row).healthy)[:count])

    def row(self, variant: str, tries: int = 0) -> InstanceRow:
        """A new instance, to be written before anything is started."""
        return InstanceRow(self.new_id(), self.now, variant, tries=tries)

    def rows(self, variant: str, count: int) -> tuple[InstanceRow, ...]:
        """So many new instances."""
        return tuple(self.row(variant) for _ in range(count))


def instances(deployment: Deployment | None) -> tuple[InstanceRow, ...]:
    """All instances of a deployment."""
    return tuple(chain.from_iterable(fleet.instances for fleet in deployment.fleets)) if deployment else ()


def all_instances(state: EndpointState) -> tuple[InstanceRow, ...]:
    """All instances that an endpoint accounts for, whatever becomes of them."""
    return (*instances(state.active), *instances(state.pending), *state.retired)


def without(rows: Iterable[InstanceRow], others: Iterable[InstanceRow]) -> tuple[InstanceRow, ...]:
    """Those that are not among the others."""
    ids = {row.id for row in others}
    return tuple(row for row in rows if row.id not in ids)
