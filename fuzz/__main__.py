"""`python -m fuzz`: looks for inputs that show a mistake, and prints the smallest it can make of each."""

import argparse
import os
import random
import signal
import sys
import traceback
from contextlib import closing
from pathlib import Path

from fuzz import session, target
from fuzz.session import Plan, Report
from fuzz.shrink import shrink
from fuzz.target import Target

FOLDER = Path(".fuzz")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    made.add_argument("--seconds", type=float, default=12.0, help="how long each target is run (12)")
    made.add_argument("--targets", nargs="+", default=list(target.NAMES), choices=target.NAMES, metavar="TARGET")
    made.add_argument("--seed", type=int, default=0, help="of all chances (0: another one each time)")
    made.add_argument("--corpus", type=Path, default=FOLDER, help="inputs are kept here and begun with again (.fuzz)")
    made.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="targets at the same time (2)")
    made.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="run one input, and say what it shows")
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status: 1 if anything was found."""
    given = parser().parse_args(arguments)
    if given.replay:
        return replay(target.load(given.replay[0]), Path(given.replay[1]))
    seed = given.seed or random.randrange(1, 2**31)  # noqa: S311  # chances, not secrets
    guided = "atheris" if session.is_guided() else "blindly: there is no atheris for this machine"
    print(f"seed {seed}, {given.seconds:g} seconds each, {guided}", flush=True)
    plan = Plan(given.seconds, seed, given.corpus.resolve(), max(given.jobs, 1))
    status = 0
    # However this ends, what was started ends too.
    with closing(session.run_all(given.targets, plan)) as reports:
        for report in reports:
            print(_line(report), flush=True)
            if report.trouble:
                print(report.trouble, file=sys.stderr)
            for path in report.found:
                show(target.load(report.name), path)
            if report.found or report.trouble:
                status = 1
    return status


def replay(chosen: Target, path: Path) -> int:
    """One input; the exit status."""
    error = session.failure(chosen, path.read_bytes())
    if error is None:
        print(f"{chosen.name}: everything holds.")
        return 0
    traceback.print_exception(error)
    return 1


def show(chosen: Target, path: Path) -> None:
    """What an input shows, as small as it can be made."""
    data = path.read_bytes()
    error = session.failure(chosen, data)
    if error is not None:
        kind = type(error)
        data = shrink(data, lambda smaller: type(session.failure(chosen, smaller)) is kind)
        error = session.failure(chosen, data) or error
        path.write_bytes(data)
        traceback.print_exception(error)
    else:
        print("It does not show again: it takes too long or too much memory, or depends on what came before.")
    print(f"\n{chosen.name}: {data!r}\n\n    python -m fuzz --replay {chosen.name} {path}\n", flush=True)


def _line(report: Report) -> str:
    speed = report.executions / report.seconds if report.seconds else 0.0
    reached = f", {report.first} to {report.last} places reached" if report.last else ""
    found = f", {len(report.found)} found" if report.found else ""
    return f"{report.name:10} {report.executions:9,} inputs, {speed:7,.0f} a second{reached}{found}"


if __name__ == "__main__":
    # As on Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
