"""How images, builds and pulls look."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Protocol

from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from polyport.cli import console
from polyport.images.records import Step


class Shown(Protocol):
    """An image of any engine. ``size`` in bytes, ``created_at`` in epoch seconds."""

    @property
    def name(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def created_at(self) -> float: ...
    @property
    def size(self) -> int: ...
    @property
    def labels(self) -> Mapping[str, str]: ...
    @property
    def warnings(self) -> Sequence[str]: ...


@contextmanager
def progress(title: str) -> Iterator[Callable[[Step], None]]:
    """Says how far it is: a bar on a terminal, plain lines elsewhere, each once."""
    if not console.err.is_terminal:
        yield narrate(_once(lambda text: console.err.print(text, highlight=False, markup=False, soft_wrap=True)))
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console.err, transient=True) as bar:
        task = bar.add_task(escape(title), total=1.0)
        yield lambda step: bar.update(task, completed=step.fraction, description=escape(in_words(step)))


def narrate(say: Callable[[str], None]) -> Callable[[Step], None]:
    """What a build or a pull reports, as text for people."""
    return lambda step: say(in_words(step))


def in_words(step: Step) -> str:
    """What it does, and the builder's own words if there are any."""
    return f"{step.name}: {step.detail.strip()}" if step.detail.strip() else step.name


def _once(say: Callable[[str], None]) -> Callable[[str], None]:
    latest = ""

    def tell(text: str) -> None:
        nonlocal latest
        if text != latest:
            latest = text
            say(text)

    return tell


def result(image: Shown) -> None:
    """Warnings, then name and digest."""
    for warning in image.warnings:
        console.err.print(f"Warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.out.print(f"{image.name}  {image.digest}", highlight=False, soft_wrap=True)


def describe(image: Shown, aliases: list[str]) -> dict[str, Any]:
    """One image as JSON; ``created_at`` in ISO 8601."""
    return {
        "name": image.name,
        "digest": image.digest,
        "created_at": datetime.fromtimestamp(image.created_at, UTC).isoformat(),
        "size": image.size,
        "labels": dict(image.labels),
        "aliases": aliases,
        "warnings": list(image.warnings),
    }


def table(images: Sequence[Shown]) -> Table:
    """For a terminal."""
    found = Table("Name", "Digest", "Created", "Size", box=None, pad_edge=False)
    for image in images:
        created = datetime.fromtimestamp(image.created_at, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
        found.add_row(image.name, image.digest.removeprefix("sha256:")[:12], created, f"{image.size / 1e6:.1f} MB")
    return found
