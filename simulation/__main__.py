"""`python -m simulation`: random histories of control, its gateways, its engine and its users, in made-up time.

What must hold is checked at every step. A history in which a rule is broken is made smaller and printed; its seed shows
the same again, always.
"""

import argparse
import gc
import os
import sys
import time
from collections.abc import Iterable, Iterator
from multiprocessing import Pool
from pathlib import Path

import msgspec

from simulation import history, play, rules, shrink
from simulation.history import History
from simulation.play import Outcome

#: Histories that a process is given at a time.
PIECE = 100
#: Of how many seeds that show something the history is made smaller and told.
MOST_TOLD = 3


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m simulation", description=__doc__)
    made.add_argument("--seeds", type=int, default=20_000, metavar="N", help="how many histories (20000)")
    made.add_argument("--first", type=int, default=0, metavar="N", help="the seed to begin with (0)")
    made.add_argument("--seed", type=int, metavar="N", help="one history alone")
    made.add_argument("--history", type=Path, metavar="FILE", help="one history as it was printed (JSON)")
    made.add_argument("--trace", action="store_true", help="with --seed or --history: all that happens")
    made.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (as many as there are cores)")
    made.add_argument("--rules", action="store_true", help="list what must hold")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status: 1 if a rule was broken."""
    given = parser().parse_args(arguments)
    if given.rules:
        print("\n".join(describe_rules()))
        return 0
    if given.history is not None:
        return replay(msgspec.json.decode(given.history.read_bytes(), type=History), trace=given.trace)
    if given.seed is not None:
        return replay(history.make(given.seed), trace=given.trace)
    return explore(range(given.first, given.first + given.seeds), max(given.jobs, 1))


def replay(chosen: History, *, trace: bool) -> int:
    """One history; the exit status."""
    lines: list[str] | None = [] if trace else None
    outcome = play.run(chosen, lines)
    print(*(lines or ()), sep="\n", end="\n" if lines else "")
    print(f"seed {chosen.seed}: {_tell(outcome)}")
    return 1 if outcome.rule else 0


def explore(seeds: range, jobs: int) -> int:
    """All of these seeds; the exit status."""
    began = time.monotonic()
    seconds, writes, broken = 0.0, 0, []
    for outcome in outcomes(seeds, jobs):
        seconds, writes = seconds + outcome.seconds, writes + outcome.writes
        if outcome.rule:
            broken.append(outcome)
            print(f"seed {outcome.seed}: {_tell(outcome)}", flush=True)
    for outcome in broken[:MOST_TOLD]:
        tell(outcome)
    took = time.monotonic() - began
    print(
        f"{len(seeds):,} histories from seed {seeds.start} on, {seconds / 3600:,.0f} hours of made-up time, "
        f"{writes:,} steps written, in {took:.0f} s: {len(broken):,} broken."
    )
    return 1 if broken else 0


def outcomes(seeds: range, jobs: int) -> Iterator[Outcome]:
    """Of all of them, on so many processes."""
    pieces = [seeds[at : at + PIECE] for at in range(0, len(seeds), PIECE)]
    if jobs == 1 or len(pieces) < 2:
        for piece in pieces:
            yield from run_piece(piece)
        return
    with Pool(jobs) as pool:
        for found in pool.imap(run_piece, pieces):
            yield from found


def run_piece(seeds: Iterable[int]) -> list[Outcome]:
    """One after the other."""
    # Worlds are full of cycles: one look at the whole of a piece is cheaper than one at each.
    gc.disable()
    try:
        return [play.run(history.make(seed)) for seed in seeds]
    finally:
        gc.enable()
        gc.collect()


def tell(outcome: Outcome) -> None:
    """The smallest history that shows the same, with all that happens in it."""
    smallest = shrink.shrink(history.make(outcome.seed))
    lines: list[str] = []
    play.run(smallest, lines)
    print(f"\nseed {outcome.seed} made smaller:\n{msgspec.json.encode(smallest).decode()}", *lines, sep="\n")
    print(f"\n    python -m simulation --seed {outcome.seed} --trace\n", flush=True)


def describe_rules() -> Iterator[str]:
    """Each rule, and what it says."""
    groups = (rules.WRITE, rules.REMOVAL, rules.ORDER, rules.ENDING, rules.TABLE, rules.END)
    for rule in (rule for group in groups for rule in group):
        yield f"{rule.__name__}: {' '.join((rule.__doc__ or '').split())}"


def _tell(outcome: Outcome) -> str:
    if not outcome.rule:
        return f"everything held, {outcome.seconds:.0f} s of made-up time, {outcome.writes} steps written"
    return f"{outcome.rule}: {outcome.text}"


if __name__ == "__main__":
    sys.exit(main())
