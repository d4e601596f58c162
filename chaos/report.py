"""The table, the JSON, and the block of figures in docs/reliability.md."""

import re
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table

from chaos.scenarios import Result

BEGIN, END = "<!-- chaos: begin (python -m chaos --docs) -->", "<!-- chaos: end -->"
PAGE = Path(__file__).resolve().parents[1] / "docs" / "reliability.md"


class Report(msgspec.Struct, frozen=True):
    """One run of `make chaos`. ``machine`` is what it ran on, ``date`` when."""

    seed: int
    date: str
    machine: str
    results: tuple[Result, ...]
    #: What this machine does not give.
    skipped: tuple[str, ...] = ()


def show(report: Report, console: Console) -> None:
    """For people."""
    table = Table("Scenario", "Kept", "Calls", "Excused", "Failed", "Figures", box=None, pad_edge=False)
    for one in report.results:
        state = "[red]no[/]" if one.broken else "[green]yes[/]"
        table.add_row(one.scenario, state, f"{one.calls:,}", _counts(one.excused), _counts(one.failed), _figures(one))
    console.print(table)
    for one in report.results:
        for sentence in one.broken:
            console.print(f"{one.scenario}: {sentence}", style="red", markup=False, highlight=False)
        for sentence in one.slow:
            console.print(f"{one.scenario}: {sentence}", style="yellow", markup=False, highlight=False)
    for what in report.skipped:
        console.print(f"not done: {what}", markup=False, highlight=False)


def block(report: Report) -> str:
    """Markdown."""
    lines = [
        f"`make chaos` of {report.date}, seed {report.seed}, on {report.machine}.",
        "",
        "| scenario | times | calls | failed, excused by a fault | failed, not excused | figures |",
        "|---|---|---|---|---|---|",
    ]
    for one in report.results:
        times = f"{one.plan.seconds:g} s" if one.scenario == "mix" else str(one.plan.times)
        cells = [one.scenario, times, f"{one.calls:,}", _counts(one.excused), _counts(one.failed), _figures(one)]
        lines.append(f"| {' | '.join(cell or '0' for cell in cells)} |")
    kept = sum(not one.broken for one in report.results)
    lines += ["", f"Promises kept in {kept} of {len(report.results)} scenarios."]
    lines += [f"- {one.scenario}: {_plain(sentence)}" for one in report.results for sentence in one.broken]
    lines += [
        f"- {one.scenario}, slower than its target: {sentence}" for one in report.results for sentence in one.slow
    ]
    return "\n".join(lines)


def write_page(report: Report, page: Path = PAGE) -> None:
    """Replace the block of figures."""
    text = page.read_text(encoding="utf-8")
    made = f"{BEGIN}\n\n{block(report)}\n\n{END}"
    page.write_text(
        re.sub(f"{re.escape(BEGIN)}.*{re.escape(END)}", lambda _: made, text, flags=re.DOTALL), encoding="utf-8"
    )


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{what} {count}" for what, count in sorted(counts.items()))


def _figures(one: Result) -> str:
    return "; ".join(
        f"{name}: {value:g}" if isinstance(value, float) else f"{name}: {value}" for name, value in one.figures.items()
    )


def _plain(sentence: str) -> str:
    """Of one line, without what is a machine's own."""
    return re.sub(r"/\S*polyport-chaos-\S+", "(home)", " ".join(sentence.split()))[:300]
