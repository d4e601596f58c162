"""`polyport image`: builds process images, lists them, and gives them other names."""

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from polyport import settings
from polyport.cli import console
from polyport.domain.endpoints import Endpoint
from polyport.errors import UsageError
from polyport.images.registry import ProcessImage, Registry, Step

app = typer.Typer(help="Build process images, list, remove and alias them.", no_args_is_help=True)

Home = Annotated[
    Path | None,
    typer.Option(help="The home folder that keeps the images.", show_default=settings.default("home")),
]
Tag = Annotated[
    str, typer.Option("--tag", "-t", metavar="NAME", help="Its name: NAME, NAME:TAG, with or without a registry.")
]


@app.command()
def build(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with the image.toml.")],
    tag: Tag,
    home: Home = None,
) -> None:
    """Build an image from a folder. What was built before is not built again."""
    image = run_build(registry(home), folder, tag)
    for warning in image.warnings:
        console.err.print(f"Warning: {warning}", style="yellow", highlight=False, markup=False, soft_wrap=True)
    console.out.print(f"{image.name}  {image.digest}", highlight=False, soft_wrap=True)


@app.command("ls")
def list_images(
    home: Home = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, with every field.")] = False,
) -> None:
    """List the images and the aliases."""
    known = registry(home)
    images, aliases = known.list(), known.aliases()
    if as_json:
        described = [
            describe(image, [pattern for pattern, target in aliases.items() if target == image.name])
            for image in images
        ]
        typer.echo(json.dumps(described, indent=2))
    elif console.out.is_terminal:
        console.out.print(image_table(images))
    else:
        for image in images:
            typer.echo(f"{image.name}\t{image.digest}\t{image.size}")


@app.command("rm")
def remove(
    name: Annotated[str, typer.Argument(help="The image's name.")],
    home: Home = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Remove the aliases of it, too.")] = False,
) -> None:
    """Remove an image. One that an endpoint uses is not removed."""
    loaded = load(home)
    Registry(loaded.home).remove(name, in_use=images_in_use(loaded.home), force=force)
    console.out.print(f"Removed {name}.", highlight=False, soft_wrap=True)


@app.command()
def alias(
    pattern: Annotated[str | None, typer.Argument(help="What the code says; * and ? match anything.")] = None,
    name: Annotated[str | None, typer.Argument(help="The image that is meant.")] = None,
    home: Home = None,
    show: Annotated[bool, typer.Option("--list", help="List the aliases.")] = False,
    drop: Annotated[str | None, typer.Option("--remove", metavar="PATTERN", help="Remove an alias.")] = None,
) -> None:
    """Give an image another name, such as the one it has in ECR. The longest pattern that matches counts.

    polyport image alias '123456789012.dkr.ecr.us-east-1.amazonaws.com/myimage1:*' myimage1
    """
    known = registry(home)
    if drop is not None:
        known.unalias(drop)
    elif show:
        for known_pattern, target in known.aliases().items():
            typer.echo(f"{known_pattern}\t{target}")
    elif pattern is None or name is None:
        raise UsageError("polyport image alias needs PATTERN and NAME, or --list, or --remove PATTERN.")
    else:
        known.alias(pattern, name)


def load(home: Path | None) -> settings.Settings:
    """The settings, with the home folder that was named."""
    return settings.load({"home": home} if home else {}, os.environ)


def registry(home: Path | None) -> Registry:
    """The images of a home."""
    return Registry(load(home).home)


def run_build(known: Registry, folder: Path, tag: str) -> ProcessImage:
    """Build, and say how far it is: a bar on a terminal, plain lines elsewhere."""
    if not console.err.is_terminal:
        say = narrate(lambda text: console.err.print(text, highlight=False, markup=False, soft_wrap=True))
        return known.build(folder, tag, say)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console.err, transient=True) as bar:
        task = bar.add_task(f"Building {tag}", total=1.0)
        return known.build(
            folder, tag, lambda step: bar.update(task, completed=step.fraction, description=escape(in_words(step)))
        )


def narrate(say: Callable[[str], None]) -> Callable[[Step], None]:
    """What the build reports, as text for people."""
    return lambda step: say(in_words(step))


def in_words(step: Step) -> str:
    """What it does, and uv's own words if there are any."""
    return f"{step.name}: {step.detail.strip()}" if step.detail.strip() else step.name


def describe(image: ProcessImage, aliases: list[str]) -> dict[str, Any]:
    """One image as JSON. ``size`` in bytes, ``created_at`` in ISO 8601."""
    return {
        "name": image.name,
        "digest": image.digest,
        "created_at": datetime.fromtimestamp(image.created_at, UTC).isoformat(),
        "size": image.size,
        "labels": image.labels,
        "aliases": aliases,
        "warnings": list(image.warnings),
    }


def image_table(images: Sequence[ProcessImage]) -> Table:
    """For a terminal."""
    table = Table("Name", "Digest", "Created", "Size", box=None, pad_edge=False)
    for image in images:
        created = datetime.fromtimestamp(image.created_at, UTC).astimezone().strftime("%Y-%m-%d %H:%M")
        table.add_row(image.name, image.digest.removeprefix("sha256:")[:12], created, f"{image.size / 1e6:.1f} MB")
    return table


def images_in_use(home: Path) -> set[str]:
    """What endpoints of this home run or are about to run, as ``...@sha256:...``. Only reads the database."""
    database = home / "polyport.db"
    if not database.exists():
        return set()
    return {image for endpoint in asyncio.run(all_endpoints(database)) for image in endpoint.state.images}


async def all_endpoints(database: Path) -> list[Endpoint]:
    """Without `Store.open`, which would migrate the database: that is for the server to do."""
    from polyport import store  # noqa: PLC0415  a second of imports that most commands do not need

    rows = store.Store(store.sqlite_url(database))
    try:
        return await rows.all_endpoints()
    finally:
        await rows.close()
