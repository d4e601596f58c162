"""`polyport alarm`: the alarms that updates watch (``AutoRollbackConfiguration``). They are rows of the home; a running
server sees a change within a second.
"""

import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.table import Table

from polyport import settings
from polyport.cli.access import desk
from polyport.cli.access.desk import Account, AsJson, Desk, Home
from polyport.domain.alarms import AlarmRow, AlarmState
from polyport.domain.names import Owner
from polyport.errors import UsageError

app = typer.Typer(help="Set the alarms that roll updates back, list and remove them.", no_args_is_help=True)

#: The length that ``AlarmName`` may have.
MAX_NAME = 255

Name = Annotated[str, typer.Argument(metavar="NAME", help="The alarm, as `AlarmName` has it.")]
Region = Annotated[
    str | None, typer.Option(help="The region.", show_default=f"the setting region: {settings.default('region')}")
]


@app.command("set")
def set_state(
    name: Name,
    state: Annotated[
        AlarmState, typer.Argument(case_sensitive=False, help="ALARM rolls back the updates that watch it.")
    ],
    account: Account = None,
    region: Region = None,
    home: Home = None,
) -> None:
    """Set the state of an alarm; a new one is made.

    polyport alarm set errors-high ALARM
    """
    if not name.strip() or len(name) > MAX_NAME:
        raise UsageError(f"An alarm's name has 1 to {MAX_NAME} characters, and not only spaces: {name!r} has not.")

    async def work(at: Desk) -> None:
        await at.alarms.put(AlarmRow(_owner(at, account, region), name, state, desk.now()))

    desk.at_desk(home, work)
    desk.say(f"{name} is {state}.")


@app.command("ls")
def list_alarms(home: Home = None, as_json: AsJson = False) -> None:
    """List the alarms with their states."""

    async def work(at: Desk) -> tuple[AlarmRow, ...]:
        return await at.alarms.all()

    described = [_describe(row) for row in desk.at_desk(home, work)]
    if as_json:
        typer.echo(json.dumps(described, indent=2))
        return
    table = Table("Alarm", "State", "Since", "Account", "Region", box=None, pad_edge=False)
    for row in described:
        table.add_row(*row.values())
    desk.show(table)


@app.command("rm")
def remove(name: Name, account: Account = None, region: Region = None, home: Home = None) -> None:
    """Remove an alarm. One that is not there never fires."""

    async def work(at: Desk) -> bool:
        return await at.alarms.delete(_owner(at, account, region), name)

    if not desk.at_desk(home, work):
        raise UsageError(f"There is no alarm {name}. See polyport alarm ls.")
    desk.say(f"{name} is removed.")


def _owner(at: Desk, account: str | None, region: str | None) -> Owner:
    return Owner(at.account(account), region or at.settings.region)


def _describe(row: AlarmRow) -> dict[str, str]:
    return {
        "alarm": row.name,
        "state": row.state.value,
        "since": datetime.fromtimestamp(row.changed_at, UTC).isoformat(timespec="seconds"),
        "account": row.owner.account,
        "region": row.owner.region,
    }
