"""`polyport role` and `polyport user`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from polyport.access import minting
from polyport.aws.policy import document
from polyport.cli.access import desk
from polyport.cli.access.desk import Account, AsJson, Desk, Home
from polyport.domain.access import AccessRows, PrincipalKind, PrincipalRow
from polyport.errors import AlreadyExists, UsageError

roles = typer.Typer(help="Make roles that users can assume, list and delete them.", no_args_is_help=True)
users = typer.Typer(help="List users, and delete them with their keys and policies.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME")]


@roles.command()
def create(
    name: Name,
    trust: Annotated[str, typer.Option(metavar="FILE", help="The trust policy: who may assume the role.")],
    policy: Annotated[
        str | None, typer.Option(metavar="FILE", help=f"What the role may do: a file, or {desk.ADMINISTRATOR}.")
    ] = None,
    account: Account = None,
    max_session: Annotated[
        int, typer.Option(min=3600, max=43200, metavar="SECONDS", help="How long a session may last.")
    ] = 3600,
    home: Home = None,
) -> None:
    """Make a role. Sessions of it come from STS: aws sts assume-role."""
    desk.check_name(name)
    trusted = desk.read_policy(trust, document.Kind.TRUST).document
    given = desk.read_policy(policy) if policy else None

    async def work(at: Desk) -> PrincipalRow:
        row = PrincipalRow(
            account=at.account(account),
            kind=PrincipalKind.ROLE,
            name=name,
            id=minting.role_id(),
            created_at=desk.now(),
            trust=trusted,
            max_session=max_session,
        )
        try:
            await at.rows.add_principal(row, (given,) if given else ())
        except AlreadyExists as error:
            raise UsageError(f"There is a role {name} already: polyport role delete {name}") from error
        return row

    typer.echo(desk.at_desk(home, work).arn)


@roles.command("list")
def list_roles(home: Home = None, as_json: AsJson = False) -> None:
    """List the roles."""
    _list(home, PrincipalKind.ROLE, as_json=as_json)


@roles.command("delete")
def delete_role(name: Name, account: Account = None, home: Home = None) -> None:
    """Delete a role. Sessions of it are refused from now on."""
    _delete(home, account, PrincipalKind.ROLE, name)


@users.command("list")
def list_users(home: Home = None, as_json: AsJson = False) -> None:
    """List the users."""
    _list(home, PrincipalKind.USER, as_json=as_json)


@users.command("delete")
def delete_user(
    name: Name,
    account: Account = None,
    home: Home = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Also if the last keys are this user's.")] = False,
) -> None:
    """Delete a user with its keys and policies."""

    def check(rows: AccessRows, whose: str) -> None:
        if not force and rows.keys and all((key.account, key.user) == (whose, name) for key in rows.keys):
            raise UsageError(
                f"The only keys are those of {name}. Without any key, a server on a loopback address accepts any "
                "credentials, and one on another address nobody. If that is what you want: --force."
            )

    _delete(home, account, PrincipalKind.USER, name, check)


def _list(home: Path | None, kind: PrincipalKind, *, as_json: bool) -> None:
    async def work(at: Desk) -> AccessRows:
        return await at.rows.read()

    rows = desk.at_desk(home, work)
    described = [_describe(rows, row) for row in rows.principals if row.kind is kind]
    if as_json:
        typer.echo(json.dumps(described, indent=2))
        return
    table = Table("Name", "ARN", "Policies", box=None, pad_edge=False)
    for one in described:
        table.add_row(one["name"], one["arn"], ", ".join(one["policies"]))
    desk.show(table)


def _describe(rows: AccessRows, row: PrincipalRow) -> dict[str, Any]:
    policies = rows.policies.get((row.account, row.kind, row.name), ())
    described: dict[str, Any] = {"name": row.name, "account": row.account, "arn": row.arn, "id": row.id}
    described["policies"] = [policy.name for policy in policies]
    if row.kind is PrincipalKind.USER:
        described["keys"] = [key.id for key in rows.keys if (key.account, key.user) == (row.account, row.name)]
    else:
        described |= {"max_session": row.max_session, "trust": json.loads(row.trust)}
    return described


def _delete(
    home: Path | None,
    account: str | None,
    kind: PrincipalKind,
    name: str,
    check: Callable[[AccessRows, str], None] = lambda *_: None,
) -> None:
    async def work(at: Desk) -> bool:
        whose = at.account(account)
        check(await at.rows.read(), whose)
        return await at.rows.delete_principal((whose, kind, name))

    if not desk.at_desk(home, work):
        raise UsageError(f"There is no {kind.value} {name}. See polyport {kind.value} list.")
    desk.say(f"The {kind.value} {name} is deleted.")
