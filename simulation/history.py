"""What befalls a world, and when: made from a seed, written down as a value, and made smaller."""

import random

import msgspec

#: What users do. Each waits until it is let, or gives up.
CALLS = (*("update",) * 6, *("resize",) * 3, "delete", "create", "cancel", "restart", "delete by force")
#: A call that comes at the very moment at which control writes a row; and which one it is.
RACE = "race"
RACES = ("update", "resize", "delete by force", "cancel")
#: What makes nothing fail: it must go by unnoticed, but for the time it takes.
GENTLE = (
    "kill",
    "kill",
    "kill",
    "gateway dies",
    "gateway is cut off",
    "gateway stalls",
    "gateway hangs",
    RACE,
    "hints are lost",
    "engine is slow",
    "database fails",
)
#: What may well make something fail.
HARSH = (
    "container ends",
    "container ends",
    "container falls ill",
    "container falls ill",
    "instance is lost",
    "all fall ill",
    "container flaps",
    "engine fails",
    "data cannot be fetched",
    "alarm",
    "alarm",
)


class Event(msgspec.Struct, frozen=True, array_like=True):
    """Something that happens at a second. ``who`` and ``roll`` stand for whatever has to be chosen."""

    at: float
    what: str
    who: int
    roll: int


class History(msgspec.Struct, frozen=True):
    """All of it. The ``seed`` decides how long everything takes that takes time."""

    seed: int
    #: Whether nothing in it is a reason for anything to fail.
    gentle: bool
    endpoints: int
    gateways: int
    #: The second after which no fault happens any more.
    until: float
    #: Seconds by which the engine's view is late.
    lag: float
    #: Of all notifications, the part that does not arrive, and the part that arrives twice.
    lost: float
    doubled: float
    events: tuple[Event, ...]


def make(seed: int) -> History:
    """The history of a seed."""
    chance = random.Random(seed)
    gentle = chance.random() < 0.3
    until = chance.choice((6.0, 12.0, 18.0))
    endpoints = chance.choice((1, 1, 1, 2))
    faults = GENTLE if gentle else GENTLE + HARSH
    events = [_event(chance, chance.uniform(0.0, until), CALLS) for _ in range(chance.randrange(1, 6))]
    events += [_event(chance, chance.uniform(0.0, until), faults) for _ in range(chance.randrange(0, 9))]
    first = [Event(0.0, "create", who, chance.randrange(1 << 16)) for who in range(endpoints)]
    return History(
        seed=seed,
        gentle=gentle,
        endpoints=endpoints,
        gateways=chance.choice((1, 1, 2)),
        until=until,
        lag=chance.choice((0.0, 0.0, 0.3, 0.8)),
        lost=chance.choice((0.0, 0.0, 0.3, 1.0)),
        doubled=chance.choice((0.0, 0.3)),
        events=(*first, *sorted(events, key=lambda event: event.at)),
    )


def _event(chance: random.Random, at: float, kinds: tuple[str, ...]) -> Event:
    return Event(round(at, 3), chance.choice(kinds), chance.randrange(64), chance.randrange(1 << 16))
