"""One run of the benchmark from start to end: programs, systems, rounds, and everything ended again."""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from bench import ground, machine, memory, processes, rounds, tools
from bench.cases import CASES, SMALL, Case, counted, pattern
from bench.client import Client
from bench.ground import Ground, Unavailable
from bench.machine import Cpus
from bench.results import Results
from bench.systems.contract import System

#: Makes a system by its name.
Make = Callable[[str, Ground], System]


@dataclass(frozen=True)
class Wanted:
    """What to run. ``cache`` is the folder for programs; the rest of the work is done in a temporary one."""

    cases: Sequence[Case]
    systems: Sequence[str]
    plan: rounds.Plan
    cache: Path
    cpus: Cpus
    memory: bool = True


def run_all(wanted: Wanted, make: Make, tell: Callable[[str], None]) -> tuple[Results, dict[str, str]]:
    """As `run`, in two parts: the cases in which everybody has CPUs of their own, then those in which nobody has."""
    results, titles = Results(), dict[str, str]()
    for free in (False, True):
        cases = [case for case in wanted.cases if case.free is free]
        if not cases:
            continue
        systems = [name for name in wanted.systems if any(name in case.systems for case in cases)]
        cpus, memory = (Cpus(), False) if free else (wanted.cpus, wanted.memory)
        part = replace(wanted, cases=cases, systems=systems, cpus=cpus, memory=memory)
        found, titled = run(part, make, tell)
        results.add(found)
        titles |= titled
    return results, titles


def run(wanted: Wanted, make: Make, tell: Callable[[str], None]) -> tuple[Results, dict[str, str]]:
    """Measure; gives the results and the systems' titles. ``tell`` hears what is going on.

    Raises `Unavailable` when the benchmark itself cannot work: without a C compiler.
    """
    results = Results()
    client_program, model_program = (tools.compile_native(wanted.cache, name) for name in ("client", "model"))
    with tempfile.TemporaryDirectory(prefix="polyport-bench-") as temporary, ExitStack() as running:
        folder = Path(temporary).resolve()
        ports = running.enter_context(ground.models(model_program, folder, wanted.cpus.models))
        base = Ground(folder, model_program, ports, wanted.cpus.models, wanted.cpus.system)
        systems = running.enter_context(started(wanted.systems, lambda name: make(name, base), results, tell))
        if wanted.memory and "polyport" in systems:
            tell("memory")
            _measure_memory(systems["polyport"], results)
        pairs = rounds.check_all(systems, wanted.cases, results)
        caller = Client(client_program, folder, wanted.cpus.client)
        total, done = len(pairs) * wanted.plan.rounds, iter(range(1, len(pairs) * wanted.plan.rounds + 1))
        rounds.run(
            pairs,
            caller,
            wanted.plan,
            results,
            lambda pair: tell(f"{next(done)}/{total} {pair.case.name}: {pair.system.name}"),
        )
        return results, {name: system.title for name, system in systems.items()}


@contextmanager
def started(
    names: Sequence[str], make: Callable[[str], System], results: Results, tell: Callable[[str], None]
) -> Iterator[Mapping[str, System]]:
    """All systems that start; for the others the reason is noted. All are ended with the block."""
    systems: dict[str, System] = {}
    with ExitStack() as running:
        for name in names:
            tell(f"starting {name}")
            system = make(name)
            running.callback(system.stop)
            try:
                system.start()
                systems[name] = system
            except Unavailable as error:
                results.missing[name, ""] = str(error)
                system.stop()
        yield systems


def _measure_memory(polyport: System, results: Results) -> None:
    serving = polyport.serving()
    idle = processes.memory(serving).rss
    body = pattern(memory.BODY)
    small = Case("memory", "", "echo", SMALL, SMALL, ("polyport",))
    large = Case("memory", "", "count", body, counted(body), ("polyport",))
    memory.note(
        results,
        lambda: memory.measure(serving, idle, (small, polyport.target(small)), (large, polyport.target(large))),
    )


def select(cases: Sequence[str], systems: Sequence[str]) -> tuple[list[Case], list[str]]:
    """The cases of these names (none: all), and the systems that take part in them, cut to those wanted (none: all).

    Raises `KeyError` for a case that there is not.
    """
    by_name = {case.name: case for case in CASES}
    chosen = [by_name[name] for name in cases] if cases else list(CASES)
    known = list(dict.fromkeys(name for case in chosen for name in case.systems))
    return chosen, [name for name in known if not systems or name in systems]


def cpus(*, pinned: bool) -> Cpus:
    """Who runs where on this machine."""
    return machine.plan(machine.available()) if pinned else Cpus()
