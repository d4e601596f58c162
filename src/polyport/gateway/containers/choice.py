"""Which fleet and which instance a call is for: pure functions of what the table says and a draw."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyport.gateway.containers.routes import Instance, Shadow, Variant

Draw = Callable[[], float]
"""Gives numbers in [0, 1)."""
Time = Callable[[], float]
"""Gives seconds, monotonic."""


class Shares:
    """Fleets that calls are drawn among, each with the sum of the shares up to its own. ``only``: there is but one."""

    __slots__ = ("only", "reaches", "total")

    def __init__(self, weighed: Iterable[tuple[float, Variant]]) -> None:
        self.total = 0.0
        self.reaches: list[tuple[float, Variant]] = []
        for share, variant in weighed:
            self.total += share
            self.reaches.append((self.total, variant))
        self.only = self.reaches[0][1] if len(self.reaches) == 1 else None

    def __repr__(self) -> str:
        return f"<Shares of {self.total}: {self.reaches}>"


def by_name(variants: tuple[Variant, ...]) -> dict[bytes, Shares]:
    """For calls that name a variant. The fleets of one name are drawn by their ``share``, those with instances if there
    are any: a call fails for want of capacity only when no fleet of the name has some."""
    return {name: Shares(_apart(fleets, lambda one: one.share, 1.0)) for name, fleets in _fleets(variants).items()}


def by_weight(variants: tuple[Variant, ...]) -> Shares:
    """For calls that name none. A variant without instances gets no share, as long as another one has both weight and
    instances; a fleet without instances leaves its share to the other of its name. If nobody has a weight, all variants
    that have instances share alike: an endpoint all of whose weights are 0 would otherwise refuse every call."""
    fleets = _fleets(variants).values()
    has_weight = any(one.weight > 0 for one in variants)
    weighed: list[tuple[float, Variant]] = []
    for same in fleets:
        weight = sum(one.weight for one in same) if has_weight else 1.0
        if weight > 0 and any(one.instances for one in same):
            weighed += _apart(same, lambda one: one.weight, weight)
    return Shares(weighed)


def choose_variant(shares: Shares, draw: Draw) -> Variant | None:
    """One of the fleets, in the proportion of their shares. ``None``: none can be used."""
    if shares.only is not None:
        return shares.only
    point = draw() * shares.total
    for reach, variant in shares.reaches:
        if point < reach:
            return variant
    return shares.reaches[-1][1] if shares.reaches else None


def choose_instance(variant: Variant, draw: Draw, time: Time, tried: list[Instance] | None) -> Instance | None:
    """One of the variant's instances by its routing strategy, none that was tried before or has left the table;
    one that just refused a connection only if there is no other."""
    instances = variant.instances
    if tried is None and not variant.is_least_outstanding and instances:
        instance = instances[int(draw() * len(instances))] if len(instances) > 1 else instances[0]
        if not instance.avoid_until and not instance.is_retired:
            return instance
    now = time()
    candidates = [one for one in instances if not one.is_retired and (tried is None or one not in tried)]
    candidates = [one for one in candidates if one.avoid_until <= now] or candidates
    if variant.is_least_outstanding and candidates:
        least = min(one.outstanding for one in candidates)
        candidates = [one for one in candidates if one.outstanding == least]
    return candidates[int(draw() * len(candidates))] if candidates else None


def choose_beside(variant: Variant, draw: Draw, time: Time, tried: list[Instance]) -> tuple[Variant, Instance] | None:
    """An instance of another fleet that can stand in for this one, with its fleet."""
    for sibling in variant.siblings:
        instance = choose_instance(sibling, draw, time, tried)
        if instance is not None:
            return sibling, instance
    return None


def choose_shadow(shadows: tuple[Shadow, ...], draw: Draw) -> Shadow | None:
    """Which shadow variant gets a copy of a call: each its share, a call is copied once at most. While an update has
    two fleets of a shadow, their shares are parts of one."""
    point = draw()
    for shadow in shadows:
        point -= shadow.share
        if point < 0:
            return shadow
    return None


def _fleets(variants: tuple[Variant, ...]) -> dict[bytes, list[Variant]]:
    fleets: dict[bytes, list[Variant]] = {}
    for variant in variants:
        fleets.setdefault(variant.name.encode(), []).append(variant)
    return fleets


def _apart(same: list[Variant], share_of: Callable[[Variant], float], total: float) -> list[tuple[float, Variant]]:
    """The total for the fleets of one name: in the proportion of their shares, or alike if those that have instances
    have none. One at least."""
    able = [one for one in same if one.instances] or same[:1]
    able = [one for one in able if share_of(one) > 0] or able
    shares = [share_of(one) for one in able]
    whole = sum(shares)
    return [(total * (share / whole if whole else 1 / len(able)), one) for share, one in zip(shares, able, strict=True)]
