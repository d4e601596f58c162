"""The file in which the operator names what alarms may do: a table for each action.

    [on-call]
    url = "https://hooks.example.com/services/T0/B0/secret"
    format = "text"

    [restart]
    command = ["/usr/local/bin/restart-workers", "--now"]

An alarm names an action by the ARN of a topic or a function of its own account and region:
``arn:aws:sns:REGION:ACCOUNT:on-call``. Nothing of a command comes from an alarm, and no URL but those that the
setting ``alarm_urls`` lets in.
"""

import re
import stat
import tomllib
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

import msgspec
from msgspec import Meta

from polyport.domain.names import Owner
from polyport.errors import PolyportError

_URL = re.compile(r"https?://", re.IGNORECASE)
_NO_LINE = r"^[^\r\n\0]*$"
Seconds = Annotated[float, Meta(gt=0, le=300)]
Text = Annotated[str, Meta(pattern=_NO_LINE)]


class ActionError(PolyportError):
    """An action cannot be carried out. The message may be shown to whoever may see the alarm. ``may_pass``: another try
    may do better."""

    def __init__(self, message: str, *, may_pass: bool = False) -> None:
        super().__init__(message)
        self.may_pass = may_pass


class Action(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One table of the file: either ``url`` or ``command``. ``timeout`` in seconds."""

    url: Annotated[str, Meta(pattern=r"^https?://[\x21-\x7e]+$")] = ""
    headers: dict[Annotated[str, Meta(pattern=r"^[A-Za-z0-9-]+$")], Text] = {}
    #: ``sns``: as SNS delivers an alarm's notification, raw. ``text``: ``{"text": ...}``, as chat programs take it.
    format: Literal["sns", "text"] = "sns"
    command: Annotated[tuple[str, ...], Meta(max_length=100)] = ()
    timeout: Seconds = 15.0
    #: Whose alarms may use it, by account. Empty: those of the server's own account.
    accounts: tuple[str, ...] = ()


class Book:
    """The file, read again when it changes. ``allowed``: how URLs may begin that alarms give themselves."""

    def __init__(self, path: Path, account: str, allowed: tuple[str, ...] = ()) -> None:
        self._path = path
        self._account = account
        self._allowed = allowed
        self._read: tuple[tuple[int, int, int], dict[str, Action]] | None = None

    def find(self, action: str, owner: Owner) -> Action:
        """What an alarm of ``owner`` means by ``action``. Raises `ActionError`."""
        if _URL.match(action):
            return self._given(action)
        name = _name(action, owner)
        found = self._actions().get(name)
        if found is None:
            raise ActionError(f"There is no action {name}: the operator names them in {self._path.name}.")
        if owner.account not in (found.accounts or (self._account,)):
            raise ActionError(f"The action {name} is not for alarms of account {owner.account}.")
        return found

    def _given(self, url: str) -> Action:
        if not any(_begins(url, prefix) for prefix in self._allowed):
            raise ActionError(f"No alarm may call {shown(url)}: see the setting alarm_urls.")
        try:
            return msgspec.convert({"url": url}, Action)
        except msgspec.ValidationError as error:
            raise ActionError(f"{shown(url)} is not a valid URL.") from error

    def _actions(self) -> dict[str, Action]:
        try:
            found = self._path.stat()
            version = (found.st_mtime_ns, found.st_size, found.st_ino)
            if self._read is None or self._read[0] != version:
                if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    raise ActionError(f"{self._path.name} is not used: others than its owner may write to it.")
                self._read = version, parse(self._path.read_text(encoding="utf-8"), self._path.name)
        except FileNotFoundError:
            return {}
        except (OSError, UnicodeDecodeError) as error:
            raise ActionError(f"{self._path.name} cannot be read.", may_pass=True) from error
        return self._read[1]


def parse(text: str, file: str) -> dict[str, Action]:
    """By name. Raises `ActionError` that names the table, and shows nothing of what is in it."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ActionError(f"{file} is not valid TOML.", may_pass=True) from error
    return {name: _action(file, name, table) for name, table in tables.items()}


def _action(file: str, name: str, table: object) -> Action:
    try:
        found = msgspec.convert(table, Action)
    except msgspec.ValidationError as error:
        raise ActionError(f"{file}: [{name}] is not right: {error}", may_pass=True) from error
    if bool(found.url) is bool(found.command):
        raise ActionError(f"{file}: [{name}] must have either url or command.", may_pass=True)
    return found


def shown(action: str) -> str:
    """An action for histories and logs: of a URL no more than scheme and host, as the rest may be secret."""
    if not _URL.match(action):
        return action
    try:
        parts = urlsplit(action)
        return f"{parts.scheme}://{parts.hostname or ''}/..."
    except ValueError:
        return "a URL"


def _name(action: str, owner: Owner) -> str:
    """``arn:aws:sns:REGION:ACCOUNT:NAME`` or ``arn:aws:lambda:REGION:ACCOUNT:function:NAME[:VERSION]``."""
    parts = action.split(":")
    is_topic = len(parts) == 6 and parts[2] == "sns"
    is_function = len(parts) in {7, 8} and parts[2] == "lambda" and parts[5] == "function"
    if parts[0] != "arn" or not (is_topic or is_function):
        raise ActionError("Polyport carries out actions that are named as SNS topics or Lambda functions, no others.")
    if (parts[3], parts[4]) != (owner.region, owner.account):
        raise ActionError("The action is of another account or region than the alarm.")
    return parts[6] if is_function else parts[5]


def _begins(url: str, prefix: str) -> bool:
    """Whether a URL is below another: of the same scheme, host and port, with a path that begins so and goes nowhere
    else."""
    try:
        given, allowed = urlsplit(url), urlsplit(prefix)
        same = (given.scheme, given.netloc) == (allowed.scheme, allowed.netloc)
    except ValueError:
        return False
    path = unquote(given.path)
    climbs = ".." in path.split("/") or "\\" in path or "%" in path
    folder = allowed.path.rstrip("/") + "/"
    return same and bool(allowed.netloc) and not climbs and (given.path + "/").startswith(folder)
