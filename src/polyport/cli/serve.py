"""`polyport serve`."""

import logging
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from polyport import settings
from polyport.cli import console
from polyport.engines import catalog
from polyport.server import launcher


def _flag(setting: str) -> Any:
    """A flag says what the table of settings says."""
    return typer.Option(help=settings.description(setting).replace("`", ""), show_default=settings.default(setting))


def serve(
    host: Annotated[str | None, _flag("host")] = None,
    port: Annotated[int | None, _flag("port")] = None,
    home: Annotated[Path | None, _flag("home")] = None,
    workers: Annotated[int | None, _flag("workers")] = None,
    engine: Annotated[str | None, _flag("engine")] = None,
    tls_cert: Annotated[Path | None, _flag("tls_cert")] = None,
    tls_key: Annotated[Path | None, _flag("tls_key")] = None,
    replace: Annotated[
        bool,
        typer.Option("--replace", help="Take over from the server that runs on the home, if one does: no call fails."),
    ] = False,
) -> None:
    """Serve SageMaker's hosting API on one port until Ctrl-C.

    Further settings: polyport.toml in the home folder, or environment variables POLYPORT_*.
    """
    flags: dict[str, Any] = {"host": host, "port": port, "home": home, "workers": workers, "engine": engine}
    # Flags are about files where the user is, settings about files in the home.
    flags |= {name: str(path.absolute()) for name, path in (("tls_cert", tls_cert), ("tls_key", tls_key)) if path}
    given = {name: value for name, value in flags.items() if value is not None}
    loaded = catalog.settle(settings.load(given, os.environ))
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
    launcher.serve(loaded, lambda url, is_open: _announce(loaded, url, is_open=is_open), replace=replace)


def _announce(loaded: settings.Settings, url: str, *, is_open: bool) -> None:
    """What a user needs next, fit to be pasted into a shell."""
    if is_open:
        credentials = "Any credentials are accepted, since there is no key (polyport key create). "
        keys = "AWS_ACCESS_KEY_ID=polyport AWS_SECRET_ACCESS_KEY=polyport"
    else:
        credentials = "Calls must be signed with a key of this server (polyport key create). "
        keys = "AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=..."
    console.out.print(
        f"""
Polyport listens on {url} (engine: {loaded.engine}, home: {loaded.home}).
{credentials}In the shell of your client:

  export AWS_ENDPOINT_URL={url}
  export AWS_REGION={loaded.region} AWS_DEFAULT_REGION={loaded.region}
  export {keys}

Ctrl-C stops the server and its containers; endpoints come back with the next start.
""",
        highlight=False,
        soft_wrap=True,
    )
