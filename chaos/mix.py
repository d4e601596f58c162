"""Faults of every kind at random moments. The schedule comes from the seed alone: the same seed, the same schedule."""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from typing import TypeVar

import msgspec

from chaos import disk
from chaos.calls import CONNECTION, MODEL_ERROR
from chaos.ground import Ground, wait_for
from chaos.updates import Updates

Item = TypeVar("Item")

#: How often each comes in a round.
KINDS: dict[str, int] = {
    "kill control": 2,
    "kill gateway worker": 1,
    "kill container": 2,
    "kill supervisor": 1,
    "stop control": 1,
    "stop gateway worker": 1,
    "stop container": 1,
    "stop supervisor": 1,
    "fill the disk": 2,
    "step the clock": 1,
    "take over": 1,
}
#: Steps that a run may take.
LONGEST = 10_000
#: Seconds by which the clock is put off, back or forth.
STEPS = (-86400.0, -3600.0, -2.0, 2.0, 3600.0, 86400.0)


class Step(msgspec.Struct, frozen=True):
    """``pause`` before it and ``length`` of it are seconds; ``choice``, 0 to 1, picks among what there is then."""

    kind: str
    pause: float
    length: float
    choice: float


def schedule(seed: int, count: int) -> list[Step]:
    """The first ``count`` steps of a seed: rounds in which every kind comes, each in an order of its own."""
    draw = random.Random(seed)  # noqa: S311  chances, not secrets
    a_round = [kind for kind, times in KINDS.items() for _ in range(times)]
    kinds: list[str] = []
    while len(kinds) < count:
        kinds += draw.sample(a_round, len(a_round))
    del kinds[count:]
    return [
        Step(kind, round(draw.uniform(0.1, 1.5), 3), round(draw.uniform(0.2, 3.0), 3), draw.random()) for kind in kinds
    ]


def go(
    ground: Ground,
    seed: int,
    seconds: float,
    say: Callable[[str], None],
    figures: dict[str, float | str],
    broken: list[str],
) -> None:
    """The schedule's steps one after the other, each until what it broke is whole again, for so many seconds."""
    ground.create("steady", containers=2)
    ground.create("moving")
    ground.start_client("steady", "moving")
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    with Updates(ground, "moving") as change:
        for step in schedule(seed, LONGEST):
            if time.monotonic() > until or change.troubles:
                break
            if step.kind == "fill the disk" and not ground.has_small_disk:
                continue
            time.sleep(step.pause)
            say(f"{step.kind} ({sum(done.values()) + 1})")
            act(ground, step)
            done[step.kind] += 1
    time.sleep(1)
    broken += change.troubles
    figures["faults"] = ", ".join(f"{kind} {count}" for kind, count in sorted(done.items()))
    figures["updates"] = float(sum(change.done.values()))
    figures["updates rolled back"] = float(change.rolled_back)
    if not ground.has_small_disk:
        figures["not done"] = "fill the disk (it takes root, for a file system of limited size)"


def act(ground: Ground, step: Step) -> None:
    """One step. Raises `Broken` when what it broke does not get whole again."""
    verb, _, what = step.kind.partition(" ")
    if step.kind == "fill the disk":
        _fill(ground, step)
    elif step.kind == "step the clock":
        _step_clock(ground, step)
    elif step.kind == "take over":
        ground.start("--replace")
    elif verb == "kill":
        _kill(ground, step, what)
    else:
        _stop(ground, step, what)
    wait_for(ground.is_ready, f"the server to be ready after: {step.kind}")
    ground.wait_in_service("steady")


def _kill(ground: Ground, step: Step, what: str) -> None:
    if what == "control":
        ground.kill(step.kind, [ground.control()])
    elif what == "gateway worker":
        victim = pick(ground.workers(), step)
        ground.kill(step.kind, [victim], (CONNECTION,))
        wait_for(lambda: len({*ground.workers()} - {victim}) == 2, "another worker")
    else:
        instance = pick(ground.instances("steady"), step)
        inside = ground.containers(instance)
        victims = inside if what == "supervisor" else [pick(inside, step)]
        if what == "supervisor":
            # Its containers go with it.
            victims = [ground.supervisor(instance), *inside]
        ground.kill(step.kind, victims, (MODEL_ERROR,), "steady", instance.id)


def _stop(ground: Ground, step: Step, what: str) -> None:
    """Stopped processes hold calls up; none may fail."""
    instance = pick(ground.instances("steady"), step)
    victims = {
        "control": lambda: [ground.control()],
        "gateway worker": lambda: [pick(ground.workers(), step)],
        "container": lambda: [pick(ground.containers(instance), step)],
        "supervisor": lambda: [ground.supervisor(instance)],
    }[what]()
    began = time.monotonic()
    for number, wait in ((signal.SIGSTOP, step.length), (signal.SIGCONT, 0.0)):
        for pid in filter(None, victims):
            os.kill(pid, number)
        time.sleep(wait)
    ground.note(step.kind, str(victims), began)


def _fill(ground: Ground, step: Step) -> None:
    began = time.monotonic()
    try:
        disk.fill(ground.home)
        time.sleep(step.length)
    finally:
        disk.empty(ground.home)
    ground.note(step.kind, "", began)


def _step_clock(ground: Ground, step: Step) -> None:
    """There and, after a while, back again: two steps, one in each direction."""
    began = time.monotonic()
    offset = pick(list(STEPS), step)
    ground.set_clock(offset)
    time.sleep(step.length)
    ground.set_clock(0.0)
    ground.note(step.kind, f"{offset:+g} s", began)


def pick(items: list[Item], step: Step) -> Item:
    """One of them, as the step's choice says."""
    return items[int(step.choice * len(items))]
