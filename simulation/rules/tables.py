"""What control may tell its gateways."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from polyport.control import plan, routes
from polyport.domain.endpoints import EndpointState, Phase, Strategy
from polyport.domain.routes import EndpointRoute
from simulation.rules.facts import Table, need

if TYPE_CHECKING:
    from simulation.world import World


def _entries(at: Table) -> Iterable[tuple[EndpointRoute, EndpointState]]:
    """The routes, each with the state that control knew when it made the table."""
    rows = {row.name: row for row in at.world.store.rows.values()}
    for entry in at.table.endpoints:
        row = rows.get(entry.name)
        known = at.world.known(row.id) if row else None
        if known is not None:
            yield entry, known


def only_what_is_wanted_is_published(at: Table) -> None:
    """A target is an instance of an active fleet, or of a pending one to which traffic is being shifted."""
    for entry, state in _entries(at):
        active = {row.id for row in plan.instances(state.active)}
        pending = {row.id for row in plan.instances(state.pending)}
        strangers = routes.live_ids(entry) - active - pending
        need(not strangers, "%s are targets and belong to no fleet", strangers)
        rollout = state.rollout
        takes = state.is_resizing or (rollout and (rollout.step or rollout.phase is Phase.RETURNING))
        early = routes.live_ids(entry) & pending
        need(takes or not early, "%s are targets before the traffic is shifted", early)


def only_what_is_well_is_published(at: Table) -> None:
    """A target has answered its pings, but for the time that it takes to notice. Who is only slow may stay where nobody
    is better."""
    if at.world.is_blind():
        return
    for entry, _ in _entries(at):
        for variant in entry.variants:
            ids = [one.id for one in variant.instances]
            ill = [instance for instance in ids if at.world.machine.is_ill(instance)]
            stay = all(map(at.world.machine.is_slow, ill)) and not any(map(at.world.machine.is_well, ids))
            need(not ill or stay, "of the targets %s, %s are ill", ids, ill)


def what_is_well_is_published(at: Table) -> None:
    """A healthy instance of an active fleet is a target, also right after a start of control. While traffic is shifted
    there are as many targets as the smaller of both fleets has instances."""
    if at.world.is_blind():
        return
    live = set().union(*(routes.live_ids(entry) for entry in at.table.endpoints))
    for row in at.world.store.rows.values():
        state = at.world.known(row.id)
        if row.wanted.deleted or state is None or state.active is None:
            continue
        if state.rollout is None:
            lacking = {each.id for each in plan.instances(state.active) if at.world.machine.is_well(each.id)} - live
            need(not lacking, "%s are well and no targets", lacking)
        else:
            _keeps_the_floor(at.world, state, live)


def _keeps_the_floor(world: "World", state: EndpointState, live: set[str]) -> None:
    for old in state.active.fleets if state.active and not state.active.mixed else ():
        for new in state.pending.fleets if state.pending else ():
            if old.variant.name == new.variant.name:
                floor = min(old.variant.instance_count, new.variant.instance_count)
                both = [row.id for row in (*old.instances, *new.instances)]
                well = [row.id for row in old.instances if world.machine.is_well(row.id)]
                least = min(floor, len(well))
                have = sum(each in live for each in both)
                need(have >= least, "%s has %s targets, and %s are well", old.variant.name, have, least)


def shares_add_up(at: Table) -> None:
    """The entries of one variant share all of its calls; no weight is negative; blue/green shifts exactly its share."""
    for entry, state in _entries(at):
        sums: dict[str, float] = {}
        for variant in entry.variants:
            need(variant.weight >= 0, "a negative weight")
            sums[variant.name] = sums.get(variant.name, 0.0) + variant.share
        need(all(abs(total - 1) < 1e-9 for total in sums.values()), "shares of %s", sums)
        _shifts_its_share(entry, state)


def _shifts_its_share(entry: EndpointRoute, state: EndpointState) -> None:
    rollout = state.rollout
    if rollout is None or rollout.strategy is Strategy.ROLLING or not rollout.step or state.pending is None:
        return
    names = [{fleet.variant.name for fleet in part.fleets} for part in (state.active, state.pending) if part]
    ids = {row.id for row in plan.instances(state.pending)}
    total = sum(variant.weight for variant in entry.variants)
    # Ill instances leave their part to others; at the end old ones stand in for new ones that are ill.
    stands_in = rollout.step == len(rollout.shares) and not ids <= routes.live_ids(entry)
    if names[0] != names[1] or any(not variant.instances for variant in entry.variants) or not total or stands_in:
        return
    new = sum(each.weight for each in entry.variants if {one.id for one in each.instances} <= ids)
    share = rollout.shares[rollout.step - 1]
    sides = len(entry.variants) == 2 * len(names[0])
    need(not sides or abs(new / total - share) < 1e-9, "%s of the traffic is shifted, not %s", new / total, share)


TABLE = (only_what_is_wanted_is_published, only_what_is_well_is_published, what_is_well_is_published, shares_add_up)
