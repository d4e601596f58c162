"""`polyport demo`: two frameworks that cannot share an environment, behind one endpoint, called with plain boto3."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(invoke_without_command=True, help="See Polyport at work.")

Engine = Annotated[str, typer.Option(help="Where the models run: process, docker (Docker or Podman), or auto.")]


@app.callback()
def demo(
    context: typer.Context,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the server and the endpoint running.")] = False,
    url: Annotated[
        str | None, typer.Option(help="Use the server at this URL, of this machine, in place of one of its own.")
    ] = None,
    engine: Engine = "process",
    home: Annotated[Path | None, typer.Option(help="With --url: the home folder of that server.")] = None,
) -> None:
    """Host a scikit-learn and a LightGBM model on one endpoint: direct, then serial, through boto3."""
    if context.invoked_subcommand is not None:
        return
    from polyport.cli.demo import command  # noqa: PLC0415  boto3 takes its time, and other commands do not need it

    command.run(keep, url, home, engine)


@app.command("update")
def update(engine: Engine = "process") -> None:
    """Draw two canary deployments while they happen: one goes well, one is rolled back by an alarm."""
    from polyport.cli.demo import command  # noqa: PLC0415  as above

    command.run_update(engine)
