"""The results as tables for people and as JSON for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from rich.console import Console
from rich.table import Table

from bench.cases import Case
from bench.results import Range, Results
from bench.targets import Outcome, Verdict


@dataclass(frozen=True)
class Column:
    """A metric in a table. ``factor`` brings it to the heading's unit; ``ranged``: least and most are shown too."""

    heading: str
    metric: str
    decimals: int
    factor: float = 1
    ranged: bool = False


COLUMNS = (
    Column("CPU us/call", "cpu", 1, ranged=True),
    Column("beside", "cpu_beside", 1),
    Column("calls/s", "rate", 0, ranged=True),
    Column("MB/s", "throughput", 0, ranged=True),
    Column("p50 ms", "p50", 3),
    Column("p99 ms", "p99", 3),
    Column("p99.9 ms", "p999", 3),
    Column("RSS MB", "rss", 1, 1e-6),
    Column("PSS MB", "pss", 1, 1e-6),
)
#: Bodies of so many bytes are large enough for MB/s to mean something.
LARGE = 32 * 1024
STYLES = {Outcome.PASS: "green", Outcome.MISS: "bold red", Outcome.OPEN: "yellow"}


@dataclass(frozen=True)
class Report:
    """A run of the benchmark. ``machine`` and ``plan`` are facts for the reader; ``titles`` name systems."""

    results: Results
    cases: Sequence[Case]
    titles: Mapping[str, str]
    verdicts: Sequence[Verdict] = ()
    machine: Mapping[str, str] = field(default_factory=dict)
    plan: Mapping[str, object] = field(default_factory=dict)

    def as_json(self) -> dict[str, object]:
        """Everything, with the same names as in the code; times in microseconds (CPU) and milliseconds, sizes in
        bytes but for ``figures`` (MB)."""
        return {
            "machine": dict(self.machine),
            "plan": dict(self.plan),
            "systems": dict(self.titles),
            "cases": {case.name: case.title for case in self.cases},
            "results": self.results.as_json(asdict),
            "figures": self.results.figures,
            "missing": [
                {"system": system, "case": case, "why": why} for (system, case), why in self.results.missing.items()
            ],
            "targets": [asdict(verdict) for verdict in self.verdicts],
        }


def show(report: Report, console: Console) -> None:
    """Print one table per case, what is missing, and how the targets stand."""
    console.print(", ".join(f"{name}: {value}" for name, value in {**report.machine, **report.plan}.items()))
    for case in report.cases:
        if any(report.results.of(name, case.name) for name in case.systems):
            console.print(case_table(report, case))
    if report.results.figures:
        console.print(_figures(report.results.figures))
    if report.results.missing:
        console.print(_missing(report.results.missing))
    if report.verdicts:
        console.print(_targets(report.verdicts))


def case_table(report: Report, case: Case) -> Table:
    """The systems on one case: medians over the rounds, and for the main metrics least and most."""
    columns = [column for column in COLUMNS if column.metric != "throughput" or len(case.body) >= LARGE]
    table = Table(title=case.title, title_justify="left")
    table.add_column("system", no_wrap=True)
    for column in columns:
        table.add_column(column.heading, justify="right", no_wrap=True)
    for name in case.systems:
        if report.results.of(name, case.name):
            cells = [_cell(column, report.results.range(name, case.name, column.metric)) for column in columns]
            table.add_row(report.titles.get(name, name), *cells)
    return table


def _cell(column: Column, found: Range | None) -> str:
    """``21.3 (20.9-22.0)``; a figure that is nothing is a dash."""
    if found is None or not found.most:
        return "-"
    values = (value * column.factor for value in (found.median, found.least, found.most))
    median, least, most = (f"{value:,.{column.decimals}f}" for value in values)
    return f"{median} ({least}-{most})" if column.ranged and least != most else median


def _figures(figures: Mapping[str, float]) -> Table:
    table = Table("Polyport's memory", "MB", title="memory", title_justify="left")
    for name, value in figures.items():
        table.add_row(name, f"{value:.1f}")
    return table


def _missing(missing: Mapping[tuple[str, str], str]) -> Table:
    table = Table("system", "case", "why", title="not measured", title_justify="left")
    for (system, case), why in missing.items():
        table.add_row(system, case or "all", why)
    return table


def _targets(verdicts: Sequence[Verdict]) -> Table:
    table = Table("work", "target", "measured", "verdict", "note", title="targets", title_justify="left")
    for verdict in verdicts:
        outcome = f"[{STYLES[verdict.outcome]}]{verdict.outcome}[/]"
        table.add_row(verdict.work, verdict.target, verdict.figure, outcome, verdict.note)
    return table
