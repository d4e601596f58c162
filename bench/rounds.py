"""Runs the work in interleaved rounds: each round times every system on every case once, so that a change of the
machine's mood falls on all alike."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bench import client, processes
from bench.cases import Case
from bench.client import Client, Target, WrongAnswer
from bench.ground import Unavailable
from bench.results import Results, Sample
from bench.systems.contract import System

#: Seconds of rest between two runs, in which what the last one left behind can settle.
PAUSE = 0.1


@dataclass(frozen=True)
class Plan:
    """How often and how long. ``max_calls`` bounds a single run (0: only time does)."""

    rounds: int
    seconds: float
    warm_up: float
    max_calls: int = 0


@dataclass(frozen=True)
class Pair:
    """One system on one case."""

    system: System
    case: Case
    target: Target


def check_all(systems: Mapping[str, System], cases: Sequence[Case], results: Results) -> list[Pair]:
    """Which systems do which work, proven by one right answer; for the others the reason is noted in the results."""
    pairs = []
    for case in cases:
        for name in case.systems:
            if name not in systems:
                continue
            try:
                target = systems[name].target(case)
                client.check(case, target)
                pairs.append(Pair(systems[name], case, target))
            except (Unavailable, WrongAnswer) as error:
                results.missing[name, case.name] = str(error)
    return pairs


def order(pairs: Sequence[Pair], number: int) -> list[Pair]:
    """The order of a round: case by case, and within a case a different system first each time."""
    by_case: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_case.setdefault(pair.case.name, []).append(pair)
    return [pair for group in by_case.values() for pair in _rotated(group, number)]


def _rotated(group: list[Pair], number: int) -> list[Pair]:
    start = number % len(group)
    return group[start:] + group[:start]


def run(pairs: Sequence[Pair], caller: Client, plan: Plan, results: Results, tell: Callable[[Pair], None]) -> None:
    """Time all rounds. A pair with a wrong answer is out, with all its samples."""
    out: set[Pair] = set()
    for number in range(plan.rounds):
        for pair in order(pairs, number):
            tell(pair)
            if pair in out:
                continue
            try:
                results.samples.append(_time(pair, caller, plan))
            except WrongAnswer as error:
                out.add(pair)
                results.drop(pair.system.name, pair.case.name, str(error))
            time.sleep(PAUSE)


def _time(pair: Pair, caller: Client, plan: Plan) -> Sample:
    serving, beside = pair.system.serving(), pair.system.beside()
    before = (0.0, 0.0)

    def on_start() -> None:
        nonlocal before
        before = processes.cpu_seconds(serving), processes.cpu_seconds(beside)

    found = caller.run(
        pair.case,
        pair.target,
        seconds=plan.seconds,
        warm_up=plan.warm_up,
        max_calls=plan.max_calls,
        on_start=on_start,
        pinned=pair.case.workers == 1,
    )
    spent = processes.cpu_seconds(serving) - before[0], processes.cpu_seconds(beside) - before[1]
    held = processes.memory(serving)
    return Sample.of(
        pair.system.name,
        pair.case.name,
        found.latencies,
        seconds=found.seconds,
        body_size=len(pair.case.body),
        cpu_seconds=spent,
        memory=(held.rss, held.pss),
    )
