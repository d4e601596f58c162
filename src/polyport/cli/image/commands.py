"""The commands of `polyport image`."""

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from polyport import settings
from polyport.cli import console
from polyport.cli.image import desks, showing
from polyport.domain.endpoints import Endpoint
from polyport.errors import UsageError

app = typer.Typer(help="Build or pull images, list, remove and alias them.", no_args_is_help=True)

Home = Annotated[
    Path | None,
    typer.Option(help="The home folder that keeps the images.", show_default=settings.default("home")),
]
Engine = Annotated[
    str | None,
    typer.Option(
        help="Whose images: process, or docker (of Docker or Podman). By default the setting engine.",
        show_default=settings.default("engine"),
    ),
]
Tag = Annotated[
    str, typer.Option("--tag", "-t", metavar="NAME", help="Its name: NAME, NAME:TAG, with or without a registry.")
]


@app.command()
def build(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder with the image.toml.")],
    tag: Tag,
    home: Home = None,
    engine: Engine = None,
) -> None:
    """Build an image from a folder. What was built before is not built again.

    With the docker engine a Dockerfile in the folder goes before its image.toml.
    """
    desk = desks.of(load(home, engine))
    with showing.progress(f"Building {tag}") as progress:
        image = desk.build(folder, tag, progress)
    showing.result(image)


@app.command()
def pull(
    name: Annotated[str, typer.Argument(help="The image's name, as in CreateModel.")],
    home: Home = None,
    engine: Engine = None,
) -> None:
    """Pull an image with Docker or Podman, so that no endpoint has to wait for it.

    Registries' passwords come from Docker's own configuration (docker login, credential helpers).
    """
    desk = desks.of(load(home, engine))
    with showing.progress(f"Pulling {name}") as progress:
        image = desk.pull(name, progress)
    showing.result(image)


@app.command("ls")
def list_images(
    home: Home = None,
    engine: Engine = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list, with every field.")] = False,
) -> None:
    """List the images and the aliases; with the docker engine those that Polyport built or that aliases name."""
    desk = desks.of(load(home, engine))
    images, aliases = desk.images(), desk.aliases()
    if as_json:
        described = [
            showing.describe(image, [pattern for pattern, target in aliases.items() if target == image.name])
            for image in images
        ]
        typer.echo(json.dumps(described, indent=2))
    elif console.out.is_terminal:
        console.out.print(showing.table(images))
    else:
        for image in images:
            typer.echo(f"{image.name}\t{image.digest}\t{image.size}")


@app.command("rm")
def remove(
    name: Annotated[str, typer.Argument(help="The image's name.")],
    home: Home = None,
    engine: Engine = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Remove the aliases of it, too.")] = False,
) -> None:
    """Remove an image. One that an endpoint uses is not removed."""
    loaded = load(home, engine)
    desks.of(loaded).remove(name, images_in_use(loaded.home), force)
    console.out.print(f"Removed {name}.", highlight=False, soft_wrap=True)


@app.command()
def alias(
    pattern: Annotated[str | None, typer.Argument(help="What the code says; * and ? match anything.")] = None,
    name: Annotated[str | None, typer.Argument(help="The image that is meant.")] = None,
    home: Home = None,
    engine: Engine = None,
    show: Annotated[bool, typer.Option("--list", help="List the aliases.")] = False,
    drop: Annotated[str | None, typer.Option("--remove", metavar="PATTERN", help="Remove an alias.")] = None,
) -> None:
    """Give an image another name, such as the one it has in ECR. The longest pattern that matches counts.

    polyport image alias '123456789012.dkr.ecr.us-east-1.amazonaws.com/myimage1:*' myimage1
    """
    desk = desks.of(load(home, engine))
    if drop is not None:
        desk.unalias(drop)
    elif show:
        for known_pattern, target in desk.aliases().items():
            typer.echo(f"{known_pattern}\t{target}")
    elif pattern is None or name is None:
        raise UsageError("polyport image alias needs PATTERN and NAME, or --list, or --remove PATTERN.")
    else:
        desk.alias(pattern, name)


def load(home: Path | None, engine: str | None = None) -> settings.Settings:
    """The settings, with the home folder and the engine that were named."""
    flags: dict[str, Any] = {"home": home, "engine": engine}
    return settings.load({name: value for name, value in flags.items() if value}, os.environ)


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
