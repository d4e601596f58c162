"""What the demo shows: each step while it runs, a line when it is done, and a table of all at the end."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text


class Step:
    """One step: a title, what it is doing now, and in the end a result."""

    def __init__(self, title: str, report: "Report") -> None:
        self.title = title
        self.result = ""
        self.seconds = 0.0
        self._begun = time.perf_counter()
        self._report = report

    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.perf_counter() - self._begun

    def say(self, text: str) -> None:
        """What happens at this moment."""
        self._report.show(self.title, text)


class Report:
    """Steps in their order."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("")
        self._steps: list[Step] = []

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """Times its body. A body that raises is shown as failed."""
        step = Step(title, self)
        done = False
        self.show(title, "", first=True)
        try:
            with self._status:
                yield step
            done = True
        finally:
            step.seconds = step.elapsed()
            self._steps.append(step)
            mark, style = ("✓", "green") if done else ("✗", "red")
            line = Text.assemble(
                (f"{mark} ", style), f"{title}  ", (f"{step.seconds:.2f} s", "bold"), f"  {step.result}"
            )
            self._console.print(line, soft_wrap=True)

    def show(self, title: str, text: str, first: bool = False) -> None:
        """A live line on a terminal; elsewhere a plain line for each thing said."""
        if self._console.is_terminal:
            self._status.update(Text(f"{title}: {text}" if text else title))
        elif not first:
            self._console.print(Text(f"  {title}: {text}"), soft_wrap=True)

    def table(self) -> Table:
        """Steps, times, results."""
        table = Table(box=box.SIMPLE_HEAD, title="Two models, two frameworks, one endpoint", title_justify="left")
        table.add_column("Step")
        table.add_column("Time", justify="right", no_wrap=True)
        table.add_column("Result")
        for step in self._steps:
            table.add_row(Text(step.title), f"{step.seconds:.2f} s", Text(step.result))
        return table
