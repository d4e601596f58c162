"""`python -m bench`: measures, prints, and writes `results.json` and `results.svg`."""

import argparse
import json
import signal
import sys
from pathlib import Path

from rich.console import Console

from bench import machine, plot, report, session, systems
from bench.cases import CASES
from bench.ground import Unavailable
from bench.rounds import Plan
from bench.targets import TARGETS, Outcome, scaling

FOLDER = Path(".bench")
#: Columns that the widest table needs.
WIDTH = 150


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    made.add_argument("--quick", action="store_true", help="2 short rounds: shows that it works, no figures to quote")
    made.add_argument("--rounds", type=int, default=7, help="how often each system does each work (7)")
    made.add_argument("--seconds", type=float, default=2.0, help="how long one timed run takes (2)")
    made.add_argument("--warm-up", type=float, default=0.5, help="seconds of calls before each timed run (0.5)")
    made.add_argument("--max-calls", type=int, default=0, help="end a run after so many calls (0: only time does)")
    made.add_argument("--cases", nargs="*", default=[], choices=[case.name for case in CASES], metavar="CASE")
    made.add_argument("--systems", nargs="*", default=[], metavar="SYSTEM", help="polyport nginx haproxy envoy ...")
    made.add_argument("--folder", type=Path, default=FOLDER, help="programs and results are kept here (.bench)")
    made.add_argument("--no-install", action="store_true", help="compare only with what is there already")
    made.add_argument("--no-pin", action="store_true", help="let everything run on all CPUs")
    made.add_argument("--strict", action="store_true", help="exit with 1 when a target is missed")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status."""
    given = parser().parse_args(arguments)
    plan = Plan(2, 0.5, 0.2) if given.quick else Plan(given.rounds, given.seconds, given.warm_up, given.max_calls)
    cases, names = session.select(given.cases, given.systems)
    pinning = session.cpus(pinned=not given.no_pin)
    cache = given.folder.resolve()
    # A table cut to 80 columns tells nothing: lines may be longer than a pipe's or a small terminal's.
    console = Console(width=max(Console().width, WIDTH))
    try:
        with console.status("") as status:
            found, titles = session.run_all(
                session.Wanted(cases, names, plan, cache, pinning),
                lambda name, ground: systems.make(name, ground, cache, install=not given.no_install),
                status.update,
            )
    except Unavailable as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    verdicts = [target.verdict(found) for target in (*TARGETS, scaling(len(machine.available())))]
    facts = {"rounds": plan.rounds, "seconds": plan.seconds, "placement": str(pinning)}
    made = report.Report(found, cases, titles, verdicts, machine.describe(), facts)
    report.show(made, console)
    write(made, cache, plot.draw(found, plot.PANELS, titles))
    console.print(f"{given.folder}/results.json and {given.folder}/results.svg are written.")
    return 1 if given.strict and any(verdict.outcome is Outcome.MISS for verdict in verdicts) else 0


def write(made: report.Report, folder: Path, picture: str, name: str = "results") -> None:
    """The JSON and the picture."""
    (folder / f"{name}.json").write_text(json.dumps(made.as_json(), indent=2) + "\n")
    (folder / f"{name}.svg").write_text(picture)


if __name__ == "__main__":
    # As on Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
