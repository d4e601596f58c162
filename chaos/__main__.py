"""`python -m chaos`: breaks a real server while a real client calls it, and checks that what was promised holds."""

import argparse
import os
import platform
import random
import signal
import sys
import time
from pathlib import Path

import msgspec
from rich.console import Console

from chaos import disk, report, scenarios
from chaos.report import Report
from chaos.scenarios import SCENARIOS, Plan, Scenario

FOLDER = Path(".chaos")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    names = [one.name for one in SCENARIOS]
    made = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    made.add_argument("--scenario", nargs="+", default=names, choices=names, metavar="NAME", help=", ".join(names))
    made.add_argument("--times", type=int, default=0, help="how often a scenario repeats its fault (0: a few times)")
    made.add_argument("--full", action="store_true", help="as often as the targets say; takes half an hour")
    made.add_argument(
        "--seconds", type=float, default=float(os.environ.get("CHAOS_SECONDS", "120")), help="of the mix (120)"
    )
    made.add_argument("--seed", type=int, default=0, help="of all chances; the same seed is the same schedule")
    made.add_argument("--strict", action="store_true", help="exit with 1 also when a limit of time is missed")
    made.add_argument("--folder", type=Path, default=FOLDER, help="results.json and logs are written there (.chaos)")
    made.add_argument(
        "--docs", action="store_true", help="only write the figures of results.json into docs/reliability.md"
    )
    return made


def main(arguments: list[str] | None = None) -> int:
    """Run; the exit status: 1 when a promise was broken."""
    given = parser().parse_args(arguments)
    file = given.folder / "results.json"
    if given.docs:
        report.write_page(msgspec.json.decode(file.read_bytes(), type=Report))
        return 0
    console = Console(width=max(Console().width, 160))
    seed = given.seed or random.randrange(1, 2**31)  # noqa: S311  chances, not secrets
    console.print(f"seed {seed}", highlight=False)
    problem = disk.separate()
    skipped = (f"fill the disk: {problem}",) if problem else ()
    results = []
    for one in SCENARIOS:
        if one.name in given.scenario:
            with console.status(one.name) as status:
                plan = Plan(_times(given, one), given.seconds, seed)
                results.append(scenarios.run(one, plan, lambda text, one=one: status.update(f"{one.name}: {text}")))  # type: ignore[misc]
            console.print(f"{one.name}: {'BROKEN' if results[-1].broken else 'kept'}", highlight=False)
    machine = (
        f"{os.cpu_count()} CPUs, Linux {platform.release().partition('-')[0]}, Python {platform.python_version()}, "
        f"load average {os.getloadavg()[1]:.0f}"
    )
    made = Report(seed, time.strftime("%Y-%m-%d", time.gmtime()), machine, tuple(results), skipped)
    given.folder.mkdir(exist_ok=True)
    file.write_bytes(msgspec.json.format(msgspec.json.encode(made)) + b"\n")
    report.show(made, console)
    console.print(f"{file} is written.", highlight=False)
    broken = any(one.broken for one in results)
    if broken:
        console.print(
            f"The same again: python -m chaos --seed {seed} --scenario {' '.join(given.scenario)}", highlight=False
        )
    return 1 if broken or (given.strict and any(one.slow for one in results)) else 0


def _times(given: argparse.Namespace, one: Scenario) -> int:
    return given.times or (one.full if given.full else one.times)


if __name__ == "__main__":
    # As on Ctrl-C: what was started is ended.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    sys.exit(main())
