"""What rules are given, and how they say no."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, NamedTuple

from polyport.control import plan
from polyport.domain.endpoints import Endpoint, EndpointState, InstanceRow
from polyport.domain.routes import RouteTable

if TYPE_CHECKING:
    from simulation.world import World

Effect = Callable[[], None]


class Broken(Exception):
    """A rule does not hold."""


class Write(NamedTuple):
    """Control is about to write this state over that row. Raised to the moment of its decision."""

    world: "World"
    row: Endpoint
    state: EndpointState
    now: float

    @property
    def before(self) -> EndpointState:
        """What it is written over."""
        return self.row.state


class Removal(NamedTuple):
    """Control is about to delete this row."""

    world: "World"
    row: Endpoint


class Order(NamedTuple):
    """Control is about to order something of an instance."""

    world: "World"
    instance: str


class Table(NamedTuple):
    """Control sends this table to its gateways."""

    world: "World"
    table: RouteTable


def need(holds: object, text: str, *values: object) -> None:
    """Raises `Broken` unless it holds."""
    if not holds:
        raise Broken(text % values)


def tell(row: Endpoint) -> str:
    """A row in one line."""
    state = row.state
    rollout = state.rollout
    step = f" {rollout.strategy} {rollout.phase} {rollout.step}/{len(rollout.shares)}" if rollout else ""
    parts = [
        f"{name} {_ids(plan.instances(part))}"
        for name, part in (("active", state.active), ("pending", state.pending))
        if part
    ]
    if state.retired:
        parts.append(f"retired {_ids(state.retired)}")
    return f"{row.name} {row.status} g{row.generation}/{state.settled}{step}: {', '.join(parts)} {state.failure_reason}"


def _ids(rows: Iterable[InstanceRow]) -> str:
    return " ".join(row.id for row in rows) or "-"


def wanted(world: "World") -> set[str]:
    """The instances that rows want at this moment."""
    states = [row.state for row in world.store.rows.values()]
    return {row.id for state in states for part in (state.active, state.pending) for row in plan.instances(part)}
