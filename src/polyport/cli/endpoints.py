"""`polyport endpoints`: what an operator needs beyond SageMaker's operations. The commands read and write the rows of
the home; a running server sees what they want within a second.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from polyport import settings
from polyport.cli import wishes
from polyport.cli.access import desk
from polyport.cli.access.desk import Account, AsJson, Desk, Home
from polyport.domain.endpoints import Deployment, Endpoint, Fleet, InstanceRow, Status, Wanted
from polyport.domain.names import Owner
from polyport.errors import StaleWrite, UsageError

app = typer.Typer(help="List endpoints, restart, cancel and delete them.", no_args_is_help=True)

#: How often a lost race with the server is run again.
MAX_RACES = 50
CANCELLED = "Cancelled by polyport endpoints cancel."

Name = Annotated[str, typer.Argument(metavar="NAME", help="The endpoint.")]
Region = Annotated[
    str | None, typer.Option(help="The region.", show_default=f"the setting region: {settings.default('region')}")
]


@app.command("list")
def list_endpoints(home: Home = None, as_json: AsJson = False) -> None:
    """List the endpoints of all accounts and regions."""

    async def work(at: Desk) -> list[Endpoint]:
        return await at.endpoints.all_endpoints()

    rows = [_summary(endpoint) for endpoint in desk.at_desk(home, work)]
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("Endpoint", "Status", "Since", "Configuration", "Instances", "Region", "Account", box=None)
    table.pad_edge = False
    for row in rows:
        table.add_row(*(str(row[key]) for key in row if key != "reason"))
    desk.show(table)


@app.command()
def show(
    name: Name, account: Account = None, region: Region = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Show an endpoint with what is under way and its instances."""

    async def work(at: Desk) -> Endpoint:
        return await _find(at, name, account, region)

    endpoint = desk.at_desk(home, work)
    summary = _summary(endpoint) | {"steps": list(steps(endpoint))}
    instances = list(_instances(endpoint))
    if as_json:
        typer.echo(json.dumps(summary | {"instances": instances}, indent=2))
        return
    for key, value in summary.items():
        if value and key != "instances":
            typer.echo(f"{key}: {'; '.join(value) if isinstance(value, list) else value}")
    table = Table("Instance", "Variant", "Created", "Part of", "Note", box=None)
    table.pad_edge = False
    for row in instances:
        table.add_row(*row.values())
    desk.show(table)


@app.command()
def restart(
    name: Name,
    batch: Annotated[
        int,
        typer.Option(
            min=wishes.MIN_BATCH,
            max=wishes.MAX_BATCH,
            help="Percent of each variant's instances that are replaced at a time, at least one.",
        ),
    ] = 25,
    wait: Annotated[int, typer.Option(min=0, max=3600, help="Seconds between two batches.")] = 0,
    account: Account = None,
    region: Region = None,
    home: Home = None,
) -> None:
    """Replace all instances by new ones of the same images, batch by batch, without losing a call.

    A restart that does not get healthy is rolled back, as an update is.
    """
    before, is_served = _want(name, account, region, home, lambda row: wishes.restart(row, batch, wait))
    count = sum(len(fleet.instances) for fleet in before.state.active.fleets) if before.state.active else 0
    _say(
        f"Endpoint {name} is restarted: {count} instance(s) are replaced, {batch} % of each variant at a time.",
        is_served=is_served,
    )


@app.command()
def cancel(name: Name, account: Account = None, region: Region = None, home: Home = None) -> None:
    """End a create or an update that is in progress: an update is rolled back, a new endpoint becomes Failed."""
    before, is_served = _want(name, account, region, home, lambda row: wishes.cancel(row, CANCELLED))
    if before.status is Status.CREATING:
        text = f"Endpoint {name} is no longer created: it becomes Failed, and can be deleted then."
    else:
        active = before.state.active
        text = f"The update of endpoint {name} is rolled back to {active.config_name if active else 'nothing'}."
    _say(text, is_served=is_served)


@app.command()
def delete(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="In any status, also while something is in progress.")] = False,
    account: Account = None,
    region: Region = None,
    home: Home = None,
) -> None:
    """Delete an endpoint. Calls that are under way are finished first."""
    before, is_served = _want(name, account, region, home, lambda row: wishes.delete(row, force=force))
    if before.status is Status.DELETING:
        _say(f"Endpoint {name} is being deleted already.", is_served=is_served)
    else:
        _say(f"Endpoint {name}, which was {before.status}, is being deleted.", is_served=is_served)


def _want(
    name: str, account: str | None, region: str | None, home: Any, wish: Callable[[Endpoint], Wanted]
) -> tuple[Endpoint, bool]:
    """Write what is wished for, unless it is so already. Returns the endpoint as it was, and whether a server runs."""

    async def work(at: Desk) -> tuple[Endpoint, bool]:
        for _ in range(MAX_RACES):
            endpoint = await _find(at, name, account, region)
            wanted = wish(endpoint)
            try:
                if wanted != endpoint.wanted:
                    await at.endpoints.want(endpoint, wanted, desk.now())
            except StaleWrite:
                continue
            return endpoint, at.is_served
        raise UsageError(f"Endpoint {name} changes too quickly at the moment. Try again.")

    return desk.at_desk(home, work)


async def _find(at: Desk, name: str, account: str | None, region: str | None) -> Endpoint:
    owner = Owner(at.account(account), region or at.settings.region)
    endpoint = await at.endpoints.get_endpoint(owner, name)
    if endpoint is None:
        raise UsageError(
            f"There is no endpoint {name} of account {owner.account} in {owner.region}. See polyport endpoints list."
        )
    return endpoint


def _say(text: str, *, is_served: bool) -> None:
    desk.say(text if is_served else f"{text} No server runs on this home: it is done once one does.")


def _summary(endpoint: Endpoint) -> dict[str, Any]:
    active = endpoint.state.active
    return {
        "endpoint": endpoint.name,
        "status": str(endpoint.status),
        "since": _time(endpoint.modified_at),
        "configuration": active.config_name if active else endpoint.wanted.config_name,
        "instances": sum(len(fleet.instances) for _, fleet in fleets(endpoint)),
        "region": endpoint.owner.region,
        "account": endpoint.owner.account,
        "reason": endpoint.state.failure_reason,
    }


def steps(endpoint: Endpoint) -> Iterator[str]:
    """What is under way."""
    state = endpoint.state
    if endpoint.wanted.cancelled and endpoint.generation > state.settled:
        yield "being cancelled"
    if state.pending is not None and state.rollout is not None:
        rollout = state.rollout
        yield (
            f"{'restart' if endpoint.wanted.restart else 'update'} to {state.pending.config_name}, "
            f"{rollout.strategy}: step {rollout.step} of {len(rollout.shares)}, {rollout.phase} "
            f"since {_time(rollout.since)}"
        )
    elif state.is_resizing:
        yield "change of weights and counts"
    if state.retired:
        yield f"{len(state.retired)} instance(s) drain and end"


def fleets(endpoint: Endpoint) -> Iterator[tuple[str, Fleet]]:
    """``active`` or ``new``, and a fleet."""
    parts: list[tuple[str, Deployment | None]] = [("active", endpoint.state.active), ("new", endpoint.state.pending)]
    for part, deployment in parts:
        for fleet in deployment.fleets if deployment else ():
            yield part, fleet


def _instances(endpoint: Endpoint) -> Iterator[dict[str, str]]:
    for part, fleet in fleets(endpoint):
        for row in fleet.instances:
            yield _instance(part, row, f"to be replaced: {row.condemned}" if row.condemned else "")
    for row in endpoint.state.retired:
        yield _instance("leaving", row, "")


def _instance(part: str, row: InstanceRow, note: str) -> dict[str, str]:
    return {"id": row.id, "variant": row.variant, "created": _time(row.created_at), "part": part, "note": note}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
