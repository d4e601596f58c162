"""`python -m bench.peers`: Polyport and the Python peers; writes `peers.json` and `peers.svg`."""

import argparse
import signal
import sys
from pathlib import Path

from rich.console import Console

from bench import machine, plot, report, session, systems
from bench.__main__ import FOLDER, WIDTH, write
from bench.cases import CASES
from bench.ground import Ground, Unavailable
from bench.peers import PEERS
from bench.plot import Panel
from bench.rounds import Plan
from bench.systems.contract import System
from bench.targets import PEER_TARGETS

NAMES = ("polyport", *PEERS)
PANELS = (
    Panel("CPU per direct call, microseconds (less is better)", "direct", "cpu", NAMES),
    Panel("CPU per chain of 3, microseconds (less is better)", "chain", "cpu", NAMES),
)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench.peers", description=__doc__)
    made.add_argument("--rounds", type=int, default=5, help="how often each system does each work (5)")
    made.add_argument("--seconds", type=float, default=3.0, help="how long one timed run takes (3)")
    made.add_argument("--warm-up", type=float, default=1.0, help="seconds of calls before each timed run (1)")
    made.add_argument("--systems", nargs="*", default=list(NAMES), choices=NAMES, metavar="SYSTEM")
    made.add_argument("--folder", type=Path, default=FOLDER, help="programs and results are kept here (.bench)")
    made.add_argument("--no-install", action="store_true", help="compare only with what is there already")
    made.add_argument("--no-pin", action="store_true", help="let everything run on all CPUs")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status."""
    given = parser().parse_args(arguments)
    # Peers have many processes; Polyport is held to the same CPUs.
    pinning = session.cpus(pinned=not given.no_pin)
    plan = Plan(given.rounds, given.seconds, given.warm_up)
    cases = [case.between(NAMES) for case in CASES if case.name in {"direct", "chain"}]
    cache = given.folder.resolve()

    def make(name: str, ground: Ground) -> System:
        if peer := PEERS.get(name):
            return peer(ground, cache, install=not given.no_install)
        return systems.make(name, ground, cache)

    console = Console(width=max(Console().width, WIDTH))
    wanted = session.Wanted(cases, given.systems, plan, cache, pinning, memory=False)
    try:
        with console.status("") as status:
            found, titles = session.run(wanted, make, status.update)
    except Unavailable as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    verdicts = [target.verdict(found) for target in PEER_TARGETS]
    facts = {"rounds": plan.rounds, "seconds": plan.seconds, "placement": str(pinning)}
    made = report.Report(found, cases, titles, verdicts, machine.describe(), facts)
    report.show(made, console)
    write(made, cache, plot.draw(found, PANELS, titles), "peers")
    console.print(f"{given.folder}/peers.json and {given.folder}/peers.svg are written.")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
