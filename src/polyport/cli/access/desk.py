"""What all these commands share: the rows of a home, how users and policies are named, how files are read."""

import asyncio
import os
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from polyport import settings
from polyport.access.vault import Vault, open_vault
from polyport.aws.policy import document
from polyport.cli import console
from polyport.domain.access import PolicyText, PrincipalKind
from polyport.errors import PolicyError, UsageError
from polyport.server import home as homes
from polyport.store import Store, sqlite_url

Result = TypeVar("Result")

#: What may be given in place of a file: AWS's name for a policy that allows everything.
ADMINISTRATOR = "AdministratorAccess"
_ADMINISTRATOR_DOCUMENT = '{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":"*","Resource":"*"}]}'
_NAME = re.compile(r"[\w+=,.@-]{1,64}", re.ASCII)
_POLICY_NAME = re.compile(r"[\w+=,.@-]{1,128}", re.ASCII)
_ACCOUNT = re.compile(r"[0-9]{12}")
#: Columns of a table that goes to a file or another program: nothing of it is cut off.
_WIDE = 10_000

Home = Annotated[
    Path | None,
    typer.Option(help="The home folder of the server.", show_default=settings.default("home")),
]
Account = Annotated[
    str | None,
    typer.Option(
        help="The AWS account (12 digits).", show_default=f"the setting account_id: {settings.default('account_id')}"
    ),
]
User = Annotated[str | None, typer.Option("--user", metavar="NAME", help="The user.")]
Role = Annotated[str | None, typer.Option("--role", metavar="NAME", help="The role.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


class Desk:
    """The rows of one home, open."""

    def __init__(self, loaded: settings.Settings, store: Store, vault: Vault, *, is_served: bool) -> None:
        self.settings = loaded
        #: A server runs on this home, and takes what is changed within a second.
        self.is_served = is_served
        self.rows = store.access
        self.alarms = store.alarms
        self.endpoints = store
        self.vault = vault

    def account(self, given: str | None) -> str:
        """The account that is meant. Raises `UsageError`."""
        account = given or self.settings.account_id
        if not _ACCOUNT.fullmatch(account):
            raise UsageError(f"An AWS account has 12 digits: {account!r} has not.")
        return account


def at_desk(home: Path | None, work: Callable[[Desk], Awaitable[Result]]) -> Result:
    """Do it on the rows of that home, which is made if need be. Raises `UsageError`, `StoreError`."""
    loaded = settings.load({"home": home} if home else {}, os.environ)
    homes.prepare(loaded)

    async def main() -> Result:
        store = Store(sqlite_url(loaded.home / "polyport.db"))
        is_served = homes.is_locked(loaded.home)
        # A running server brings its database up to date, and does not expect others to.
        await store.open(upgrade=not is_served)
        try:
            return await work(Desk(loaded, store, open_vault(loaded.home), is_served=is_served))
        finally:
            await store.close()

    return asyncio.run(main())


def show(table: Table) -> None:
    """On standard output; whole, unless it is a terminal that is too narrow."""
    out = console.out if console.out.is_terminal else Console(width=_WIDE)
    out.print(table)


def say(text: str) -> None:
    """One line for people, on standard error."""
    console.err.print(text, highlight=False, markup=False, soft_wrap=True)


def check_name(name: str) -> str:
    """The name of a user or a role, if it can be one. Raises `UsageError`."""
    if not _NAME.fullmatch(name):
        raise UsageError(f"A name has 1 to 64 letters, digits or _+=,.@- : {name!r} has not.")
    return name


def holder(account: str, user: str | None, role: str | None) -> tuple[str, PrincipalKind, str]:
    """Whom a policy is attached to: exactly one of the two. Raises `UsageError`."""
    if (user is None) == (role is None):
        raise UsageError("Say whose: --user NAME or --role NAME.")
    if user is not None:
        return account, PrincipalKind.USER, check_name(user)
    assert role is not None, "one of them is given"
    return account, PrincipalKind.ROLE, check_name(role)


def read_policy(source: str, kind: document.Kind = document.Kind.IDENTITY, name: str | None = None) -> PolicyText:
    """The policy in a file (``-``: standard input), or the one of that name that is built in. Raises `UsageError`."""
    if source == ADMINISTRATOR and kind is document.Kind.IDENTITY:
        return PolicyText(name or ADMINISTRATOR, _ADMINISTRATOR_DOCUMENT)
    try:
        text = typer.get_text_stream("stdin").read() if source == "-" else Path(source).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {source}. ({ADMINISTRATOR} is a policy that needs no file.)") from error
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} cannot be read: {error}") from error
    try:
        document.parse(text, kind)
    except PolicyError as error:
        raise UsageError(f"{source} is no valid policy: {error}") from error
    name = name or ("policy" if source == "-" else Path(source).stem)
    if not _POLICY_NAME.fullmatch(name):
        raise UsageError(f"A policy's name has 1 to 128 letters, digits or _+=,.@- : {name!r} has not. Use --name.")
    return PolicyText(name, text)


def now() -> float:
    """Epoch seconds."""
    return round(time.time(), 3)
