"""The `polyport` command."""

import sys
from typing import Annotated

import typer

import polyport
from polyport.cli import alarm, console, demo, endpoints, image
from polyport.cli.access import key, policy, principals
from polyport.cli.backup import backup, restore
from polyport.cli.doctor import doctor
from polyport.cli.logs import logs
from polyport.cli.serve import serve
from polyport.cli.top import top
from polyport.errors import PolyportError

app = typer.Typer(
    name="polyport",
    help="Hosts several model containers behind one SageMaker-compatible endpoint.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(serve)

app.command()(top)
app.command()(doctor)
app.command()(logs)
app.command()(backup)
app.command()(restore)
app.add_typer(demo.app, name="demo")
app.add_typer(image.app, name="image")
app.add_typer(endpoints.app, name="endpoints")
app.add_typer(alarm.app, name="alarm")
app.add_typer(key.app, name="key")
app.add_typer(policy.app, name="policy")
app.add_typer(principals.users, name="user")
app.add_typer(principals.roles, name="role")


def _version(wanted: bool) -> None:
    if wanted:
        console.out.print(f"polyport {polyport.__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    del version


def main() -> None:
    """Run the command; what is wrong is one line on standard error and exit status 2."""
    try:
        app()
    except PolyportError as error:
        if str(error):
            console.err.print(f"polyport: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
        sys.exit(2)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(130)
