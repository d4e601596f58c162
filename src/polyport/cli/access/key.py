"""`polyport key`."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from polyport.access import minting
from polyport.cli.access import desk
from polyport.cli.access.desk import Account, AsJson, Desk, Home
from polyport.domain.access import KeyRow, KeyStatus, PolicyText, PrincipalKind, PrincipalRow
from polyport.errors import UsageError

app = typer.Typer(help="Make access keys, list, disable, rotate and delete them.", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The access key id, AKIA...")]


@app.command()
def create(
    user: Annotated[str, typer.Option("--user", metavar="NAME", help="Whose key it is; a new user is made.")],
    account: Account = None,
    policy: Annotated[
        str | None,
        typer.Option(metavar="FILE", help=f"A policy to attach to the user: a file, or {desk.ADMINISTRATOR}."),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a key, and the user if there is none of that name. The secret is shown this once.

    eval "$(polyport key create --user alice --policy AdministratorAccess)"
    """
    desk.check_name(user)
    given = desk.read_policy(policy) if policy else None

    async def work(at: Desk) -> tuple[KeyRow, str, bool, bool]:
        whose = at.account(account)
        closes = at.is_served and not (await at.rows.read()).keys
        await _provide_user(at, whose, user, given)
        row, secret = await _add_key(at, whose, user)
        rows = await at.rows.read()
        return row, secret, bool(rows.policies.get((whose, PrincipalKind.USER, user))), closes

    row, secret, may_do_anything, closes = desk.at_desk(home, work)
    _show_secret(row, secret, as_json=as_json)
    if closes:
        desk.say("This is the first key: from now on the running server refuses calls that are not signed with a key.")
    if not may_do_anything:
        desk.say(
            f"{user} has no policy yet and may do nothing. Attach one: "
            f"polyport policy put --user {user} FILE (or {desk.ADMINISTRATOR})"
        )


@app.command("list")
def list_keys(home: Home = None, as_json: AsJson = False) -> None:
    """List the keys; secrets are not shown."""

    async def work(at: Desk) -> tuple[KeyRow, ...]:
        return (await at.rows.read()).keys

    rows = desk.at_desk(home, work)
    if as_json:
        typer.echo(json.dumps([_describe(row) for row in rows], indent=2))
        return
    table = Table("Key", "User", "Account", "Status", "Created", "Expires", box=None, pad_edge=False)
    for row in rows:
        described = _describe(row)
        table.add_row(*(described[name] for name in ("key", "user", "account", "status", "created", "expires")))
    desk.show(table)


@app.command()
def disable(key: KeyId, home: Home = None) -> None:
    """Refuse a key from now on. It can be enabled again."""
    _change(home, key, KeyStatus.INACTIVE)
    desk.say(f"{key} is disabled.")


@app.command()
def enable(key: KeyId, home: Home = None) -> None:
    """Accept a disabled or expired key again."""
    _change(home, key, KeyStatus.ACTIVE)
    desk.say(f"{key} is enabled.")


@app.command()
def delete(
    key: KeyId,
    home: Home = None,
    force: Annotated[bool, typer.Option("--force", "-f", help="Also if it is the last key.")] = False,
) -> None:
    """Delete a key for good."""

    async def work(at: Desk) -> bool:
        keys = (await at.rows.read()).keys
        if not force and [row.id for row in keys] == [key]:
            raise UsageError(
                f"{key} is the last key. Without any key, a server on a loopback address accepts any credentials, and "
                "one on another address nobody. If that is what you want: --force."
            )
        return await at.rows.delete_key(key)

    if not desk.at_desk(home, work):
        raise UsageError(f"There is no key {key}. See polyport key list.")
    desk.say(f"{key} is deleted.")


@app.command()
def rotate(
    key: KeyId,
    grace: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="How long the old key still works; 0: it ends at once.")
    ] = 0,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a new key for the user of an old one, and let the old one end."""

    async def work(at: Desk) -> tuple[KeyRow, str, float]:
        old = next((row for row in (await at.rows.read()).keys if row.id == key), None)
        if old is None:
            raise UsageError(f"There is no key {key}. See polyport key list.")
        row, secret = await _add_key(at, old.account, old.user)
        # A key that is refused already is not brought back by its rotation, and none lives longer by a second one.
        ends = min(desk.now() + grace, old.expires_at or math.inf)
        left = round(ends - desk.now(), 3) if old.status is KeyStatus.ACTIVE else 0
        if left > 0:
            await at.rows.change_key(key, KeyStatus.ACTIVE, ends)
        else:
            await at.rows.change_key(key, KeyStatus.INACTIVE, None)
        return row, secret, max(left, 0)

    row, secret, left = desk.at_desk(home, work)
    _show_secret(row, secret, as_json=as_json)
    desk.say(f"{key} works for {math.ceil(left)} more seconds." if left else f"{key} is disabled.")


async def _provide_user(at: Desk, account: str, name: str, policy: PolicyText | None) -> None:
    known = {(row.account, row.kind, row.name) for row in (await at.rows.read()).principals}
    holder = (account, PrincipalKind.USER, name)
    if holder not in known:
        user = PrincipalRow(account, PrincipalKind.USER, name, minting.user_id(), desk.now())
        await at.rows.add_principal(user, (policy,) if policy else ())
    elif policy:
        await at.rows.put_policy(holder, policy)


async def _add_key(at: Desk, account: str, user: str) -> tuple[KeyRow, str]:
    secret = minting.secret()
    row = KeyRow(minting.key_id(), account, user, at.vault.encrypt(secret), KeyStatus.ACTIVE, desk.now())
    await at.rows.add_key(row)
    return row, secret


def _change(home: Path | None, key: str, status: KeyStatus) -> None:
    async def work(at: Desk) -> bool:
        return await at.rows.change_key(key, status, None)

    if not desk.at_desk(home, work):
        raise UsageError(f"There is no key {key}. See polyport key list.")


def _show_secret(row: KeyRow, secret: str, *, as_json: bool) -> None:
    """Fit for a shell: what is for people goes to standard error."""
    if as_json:
        typer.echo(json.dumps({**_describe(row), "secret": secret}, indent=2))
    else:
        typer.echo(f"export AWS_ACCESS_KEY_ID={row.id}\nexport AWS_SECRET_ACCESS_KEY={secret}")
    desk.say(f"A key of user {row.user} in account {row.account}. Its secret cannot be shown again.")


def _describe(row: KeyRow) -> dict[str, Any]:
    return {
        "key": row.id,
        "user": row.user,
        "account": row.account,
        "status": row.status.value,
        "created": _date(row.created_at),
        "expires": _date(row.expires_at) if row.expires_at is not None else "",
    }


def _date(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="seconds")
