"""`polyport policy`."""

import json
from typing import Annotated

import typer
from rich.table import Table

from polyport.cli.access import desk
from polyport.cli.access.desk import Account, AsJson, Desk, Home, Role, User
from polyport.cli.access.simulate import simulate
from polyport.domain.access import AccessRows
from polyport.errors import UsageError

app = typer.Typer(help="Attach policies to users and roles, list, try and delete them.", no_args_is_help=True)
app.command()(simulate)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The policy's name.")]


@app.command()
def put(
    file: Annotated[
        str, typer.Argument(metavar="FILE", help=f"The JSON document, or {desk.ADMINISTRATOR}; - reads it.")
    ],
    user: User = None,
    role: Role = None,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="By default the file's name.")] = None,
    account: Account = None,
    home: Home = None,
) -> None:
    """Attach a policy to a user or a role, in place of the one of the same name."""
    policy = desk.read_policy(file, name=name)

    async def work(at: Desk) -> bool:
        return await at.rows.put_policy(desk.holder(at.account(account), user, role), policy)

    if not desk.at_desk(home, work):
        made_by = f"polyport key create --user {user}" if user else f"polyport role create {role} --trust FILE"
        raise UsageError(f"There is no {'user' if user else 'role'} {user or role}. One is made by: {made_by}")
    desk.say(f"Policy {policy.name} is attached to {user or role}.")


@app.command("list")
def list_policies(
    user: User = None, role: Role = None, account: Account = None, home: Home = None, as_json: AsJson = False
) -> None:
    """List the policies, of all or of one user or role. With --json, whole."""

    async def work(at: Desk) -> tuple[AccessRows, tuple[str, str, str] | None]:
        of = desk.holder(at.account(account), user, role) if user or role else None
        rows = await at.rows.read()
        if of is not None and of not in {(row.account, row.kind, row.name) for row in rows.principals}:
            raise UsageError(f"There is no {of[1].value} {of[2]}. See polyport {of[1].value} list.")
        return rows, of

    rows, of = desk.at_desk(home, work)
    found = [(held, policy) for held, policies in rows.policies.items() for policy in policies if of in (None, held)]
    if as_json:
        described = [
            {"account": account, "kind": kind, "of": name, "name": policy.name, "document": json.loads(policy.document)}
            for (account, kind, name), policy in found
        ]
        typer.echo(json.dumps(described, indent=2))
        return
    table = Table("Policy", "Of", "Account", box=None, pad_edge=False)
    for (whose, kind, holder), policy in found:
        table.add_row(policy.name, f"{kind} {holder}", whose)
    desk.show(table)


@app.command()
def delete(name: Name, user: User = None, role: Role = None, account: Account = None, home: Home = None) -> None:
    """Take a policy away from a user or a role."""

    async def work(at: Desk) -> bool:
        return await at.rows.delete_policy(desk.holder(at.account(account), user, role), name)

    if not desk.at_desk(home, work):
        raise UsageError(f"{user or role} has no policy {name}. See polyport policy list.")
    desk.say(f"Policy {name} of {user or role} is deleted.")
