"""`polyport backup` and `polyport restore`."""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from polyport import settings
from polyport.cli import console

Home = Annotated[
    Path | None, typer.Option(help="The home folder of the server.", show_default=settings.default("home"))
]
LEFT_OUT = "Not in it: images, model data in buckets, logs and caches."


def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to write; an older backup is replaced.")],
    home: Home = None,
) -> None:
    """Write the state of the server into one file, while it runs or not.

    In it are the database, the key file, polyport.toml and the TLS files that lie in the home. Whoever has the file
    can read every access key in it: keep it as you would keep a password.
    """
    from polyport.server import backups  # noqa: PLC0415  a moment of imports that most commands do not need

    manifest = backups.backup(_load(home), file.absolute())
    _say(f"{file} has {_count(manifest.endpoints)}, and {', '.join(manifest.files)}. {LEFT_OUT}")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What polyport backup wrote.")],
    home: Home = None,
    force: Annotated[
        bool, typer.Option("--force", help="Also into a home that is in use; what was there is kept beside it.")
    ] = False,
) -> None:
    """Put the state of a server back from a backup, while no server runs on the home.

    The file is checked first (checksums, version, integrity of the database); a backup that is not sound changes
    nothing. The next start brings the endpoints back.
    """
    from polyport.server import backups  # noqa: PLC0415  a moment of imports that most commands do not need

    loaded = _load(home)
    done = backups.restore(loaded, file.absolute(), force=force)
    made = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(done.manifest.made_at))
    kept = f" What was there is in {done.replaced}." if done.replaced else ""
    _say(
        f"{loaded.home} is as it was at {made}: {_count(done.manifest.endpoints)}, {', '.join(done.manifest.files)}."
        f"{kept} Images and model data are not part of a backup."
    )


def _load(home: Path | None) -> settings.Settings:
    return settings.load({"home": home} if home else {}, os.environ)


def _count(endpoints: int) -> str:
    return f"{endpoints} endpoint{'' if endpoints == 1 else 's'}"


def _say(text: str) -> None:
    console.out.print(text, highlight=False, markup=False, soft_wrap=True)
