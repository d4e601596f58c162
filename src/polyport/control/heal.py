"""Instances that were healthy and are so no more: others take their place, beside them. Pure functions of the row.

A container that exits is restarted in place by its engine, and one that misses pings may come back. Who does neither
in time is *condemned*: a new instance is started in the same fleet, and once that takes calls the condemned one goes.
Until then it serves whenever it is healthy. Only a part of a fleet is condemned at a time, so that one bad moment does
not double a machine's load; and the successors of those that never lived long come ever more slowly.

While an update or a change of counts is under way nothing is replaced: it starts and ends instances itself.
"""

import math
from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from polyport.control.scene import Scene, instances, without
from polyport.domain.endpoints import AT_REST, EndpointState, Fleet, InstanceRow

#: Seconds from its creation until an instance may be replaced, by how many before it did not live long.
PATIENCE = (0.0, 60.0, 300.0, 900.0, 1800.0)
#: Seconds that an instance has to live, beyond that, for its successor to begin anew.
LONG = 600.0


def advance(scene: Scene, state: EndpointState) -> EndpointState:
    """Condemn who does not get well, write down who takes their place, let go of whom nobody needs any more."""
    if state.active is None or state.pending is not None or state.status not in AT_REST:
        return state
    fleets = tuple(_let_go(scene, _fill(scene, fleet, _condemn(scene, fleet))) for fleet in state.active.fleets)
    return _keep(state, fleets)


def stop(scene: Scene, state: EndpointState) -> EndpointState:
    """Something else begins: each fleet is as large as it should be, and nobody is condemned."""
    if state.active is None:
        return state
    return _keep(state, tuple(_as_wanted(scene, fleet) for fleet in state.active.fleets))


def again_at(scene: Scene, state: EndpointState) -> float:
    """When time alone may condemn somebody, in epoch seconds; infinite when it may not."""
    if state.active is None or state.pending is not None or state.status not in AT_REST:
        return math.inf
    moments = (_due(row) for row in instances(state.active) if not row.condemned and _why(scene, row))
    return min((moment for moment in moments if moment > scene.now), default=math.inf)


def sound(rows: Iterable[InstanceRow]) -> tuple[InstanceRow, ...]:
    """Those that are to stay."""
    return tuple(row for row in rows if not row.condemned)


def is_successor(row: InstanceRow, fleet: Fleet) -> bool:
    """Whether it was started for one that is still there: that it does not run yet is no loss."""
    return any(other.condemned and row.created_at >= other.condemned_at for other in fleet.instances)


def tell(before: EndpointState, after: EndpointState) -> Iterator[str]:
    """For the log: who has been condemned, and why."""
    known = {row.id for row in instances(before.active) if row.condemned}
    for row in instances(after.active):
        if row.condemned and row.id not in known:
            yield f"instance {row.id} of variant {row.variant} is to be replaced: {row.condemned}"


def _condemn(scene: Scene, fleet: Fleet) -> tuple[InstanceRow, ...]:
    """The rows of a fleet, as many condemned as may be."""
    room = scene.limits.replaceable(fleet.variant.instance_count) - sum(bool(row.condemned) for row in fleet.instances)
    rows = []
    for row in fleet.instances:
        why = "" if row.condemned or scene.now < _due(row) else _why(scene, row)
        # A successor that fails is one of those that may be replaced already.
        cost = 0 if is_successor(row, fleet) else 1
        if why and room >= cost:
            room -= cost
            rows.append(replace(row, condemned=why, condemned_at=scene.now))
        else:
            rows.append(row)
    return tuple(rows)


def _why(scene: Scene, row: InstanceRow) -> str:
    """Why it should be replaced. One that is not there is started again as it is: another would fare no better."""
    seen = scene.see(row)
    if not seen.present or seen.stopping or seen.healthy:
        return ""
    return seen.complaint or seen.failure


def _fill(scene: Scene, fleet: Fleet, rows: tuple[InstanceRow, ...]) -> Fleet:
    """What is missing is made up for by condemned ones that got well, else by new ones."""
    missing = fleet.variant.instance_count - len(sound(rows))
    if missing <= 0:
        return replace(fleet, instances=rows) if rows != fleet.instances else fleet
    well = [row for row in rows if row.condemned and scene.see(row).healthy][:missing]
    pardoned = {row.id for row in well}
    rows = tuple(replace(row, condemned="", condemned_at=0.0) if row.id in pardoned else row for row in rows)
    before = {row.id for row in sound(fleet.instances)}
    tries = sorted(_tries_after(scene, row) for row in rows if row.condemned and row.id in before)
    counts = [*tries, *[0] * missing][: missing - len(well)]
    return replace(fleet, instances=rows + tuple(scene.row(fleet.variant.name, count) for count in counts))


def _let_go(scene: Scene, fleet: Fleet) -> Fleet:
    """Of the condemned, as many stay as there are successors that take no calls yet."""
    kept = sorted(sound(fleet.instances), key=lambda row: not scene.see(row).healthy)[: fleet.variant.instance_count]
    condemned = [row for row in fleet.instances if row.condemned]
    condemned.sort(key=lambda row: (not scene.see(row).healthy, row.created_at))
    waiting = sum(is_successor(row, fleet) and not _takes_calls(scene, row) for row in kept)
    return _reduce(fleet, {row.id for row in (*kept, *condemned[:waiting])})


def _takes_calls(scene: Scene, row: InstanceRow) -> bool:
    return scene.see(row).healthy and scene.see(row).routed


def _as_wanted(scene: Scene, fleet: Fleet) -> Fleet:
    """The best of them, for sound."""
    best = sorted(fleet.instances, key=lambda row: (not scene.see(row).healthy, bool(row.condemned), row.created_at))
    fleet = _reduce(fleet, {row.id for row in best[: fleet.variant.instance_count]})
    if not any(row.condemned for row in fleet.instances):
        return fleet
    return replace(fleet, instances=tuple(replace(row, condemned="", condemned_at=0.0) for row in fleet.instances))


def _reduce(fleet: Fleet, stay: set[str]) -> Fleet:
    if len(stay) == len(fleet.instances):
        return fleet
    return replace(fleet, instances=tuple(row for row in fleet.instances if row.id in stay))


def _keep(state: EndpointState, fleets: tuple[Fleet, ...]) -> EndpointState:
    """With these fleets; who is in none of them any more is retired."""
    if state.active is None or all(new is old for new, old in zip(fleets, state.active.fleets, strict=True)):
        return state
    active = replace(state.active, fleets=fleets)
    gone = without(instances(state.active), instances(active))
    return replace(state, active=active, retired=state.retired + gone)


def _due(row: InstanceRow) -> float:
    return row.created_at + _patience(row)


def _patience(row: InstanceRow) -> float:
    return PATIENCE[min(row.tries, len(PATIENCE) - 1)]


def _tries_after(scene: Scene, row: InstanceRow) -> int:
    return 0 if scene.now - row.created_at >= LONG + _patience(row) else row.tries + 1
