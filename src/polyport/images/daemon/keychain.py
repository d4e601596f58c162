"""Who we are to a registry, from Docker's own configuration. Nothing of it is ever logged or told."""

import asyncio
import base64
import binascii
import json
import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polyport.images import references
from polyport.images.references import Reference

log = logging.getLogger(__name__)

#: Seconds that a credential helper may take: it may ask a cloud for a token.
HELPER_TIMEOUT = 30.0
#: Bytes of its answer that are read; tokens take a few thousand.
HELPER_LIMIT = 256 * 1024
#: What Docker calls its own registry in its configuration.
HUB_KEY = "https://index.docker.io/v1/"
#: A helper that has nothing says so with these words, which is no failure.
NOTHING_THERE = "credentials not found"
#: The user name that marks an identity token.
TOKEN_USER = "<token>"  # noqa: S105  a mark, not a secret


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user name with a password, or an identity token; neither is shown by ``repr``."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)

    def header(self, reference: Reference) -> dict[str, str]:
        """The value of ``X-Registry-Auth``, before it is encoded. An empty token counts as none."""
        server = HUB_KEY if reference.host == references.HUB else reference.host
        return {
            "username": self.username,
            "password": self.password,
            "identitytoken": self.identity_token,
            "serveraddress": server,
        }

    def hide(self, text: str) -> str:
        """The text without the secrets, should a daemon repeat them."""
        for secret in filter(None, (self.password, self.identity_token)):
            text = text.replace(secret, "***")
        return text


@dataclass(frozen=True, slots=True)
class Found:
    """What the configuration has for a registry. ``problems`` say what could not be read or asked, without secrets."""

    credentials: Credentials | None = None
    problems: tuple[str, ...] = ()


class Keychain:
    """Reads the files anew each time: whoever logs in need not restart anything."""

    def __init__(self, environ: Mapping[str, str], helper_timeout: float = HELPER_TIMEOUT) -> None:
        self._environ = environ
        self._helper_timeout = helper_timeout

    async def find(self, reference: Reference) -> Found:
        """The first file that has something for the registry, its helpers before what it holds itself."""
        problems: list[str] = []
        for path in files(self._environ):
            try:
                config = _read(path)
            except ValueError as error:
                problems.append(f"{path} cannot be used: {error}.")
                continue
            found = await self._ask_helper(config, reference, problems) or _stored(config, reference)
            if found:
                return Found(found)
        for problem in problems:
            log.warning("credentials for %s: %s", reference.host, problem)
        return Found(None, tuple(problems))

    async def _ask_helper(
        self, config: Mapping[str, Any], reference: Reference, problems: list[str]
    ) -> Credentials | None:
        helpers = _table(config, "credHelpers")
        name = next((helpers[key] for key in helpers if _registry(key) == reference.host), config.get("credsStore"))
        if not name:
            return None
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", str(name)):
            problems.append("The configuration names a credential helper that cannot be a program's name.")
            return None
        program = f"docker-credential-{name}"
        try:
            return await self._run(program, HUB_KEY if reference.host == references.HUB else reference.host)
        except (OSError, ValueError) as error:
            problems.append(f"The credential helper {program} {_failure(error, self._helper_timeout)}.")
            return None

    async def _run(self, program: str, server: str) -> Credentials | None:
        """``docker-credential-NAME get``: the server on its standard input, JSON on its standard output."""
        process = await asyncio.create_subprocess_exec(
            program,
            "get",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env=dict(self._environ),
            limit=HELPER_LIMIT,
        )
        try:
            async with asyncio.timeout(self._helper_timeout):
                answer = await _talk(process, server.encode())
                status = await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if status != 0:
            if NOTHING_THERE in answer.decode(errors="replace").lower():
                return None
            raise ValueError(f"failed with exit status {status}")
        return _from_helper(answer)


def files(environ: Mapping[str, str]) -> list[Path]:
    """Where credentials may be, in order: the file that was named, Docker's, Podman's."""
    home = Path(environ.get("HOME") or Path.home())
    named = environ.get("REGISTRY_AUTH_FILE")
    docker = Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "containers" / "auth.json"
    root = Path(f"/run/containers/{os.getuid()}/auth.json")
    own = Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"
    return [*([Path(named)] if named else []), docker, runtime, root, own]


def _read(path: Path) -> dict[str, Any]:
    """Empty when there is no such file. Raises `ValueError` with the cause, which never quotes the file."""
    try:
        found = json.loads(path.read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ValueError(error.strerror or "it cannot be read") from error
    except ValueError:
        raise ValueError("it is not JSON") from None
    if not isinstance(found, dict):
        raise ValueError("it is not a JSON object")
    return found


def _stored(config: Mapping[str, Any], reference: Reference) -> Credentials | None:
    """What the file holds itself; the entry with the longest part of the name counts (Podman's files have such)."""
    entries = {_registry(key): value for key, value in _table(config, "auths").items()}
    for prefix in _prefixes(reference):
        if isinstance(entry := entries.get(prefix), dict) and (found := _from_entry(entry)):
            return found
    return None


def _prefixes(reference: Reference) -> Iterator[str]:
    """``host/a/b``, ``host/a``, ``host``."""
    parts = reference.full.split("/")
    for count in range(len(parts), 0, -1):
        yield "/".join(parts[:count])


def _registry(key: str) -> str:
    """``https://index.docker.io/v1/`` and the like as image names have them."""
    name = re.sub(r"^https?://", "", key).rstrip("/")
    name = re.sub(r"/v[12]$", "", name)
    host, slash, rest = name.partition("/")
    return (references.HUB if host in {"index.docker.io", "registry-1.docker.io"} else host) + slash + rest


def _from_entry(entry: Mapping[str, Any]) -> Credentials | None:
    """``auth`` is ``user:password`` in base64; some have the two in clear, some an identity token."""
    username, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        with suppress(binascii.Error, ValueError):
            username, _, password = base64.b64decode(str(entry["auth"])).decode().rstrip("\0").partition(":")
    token = str(entry.get("identitytoken") or "")
    return Credentials(username, password, token) if token or (username and password) else None


def _from_helper(answer: bytes) -> Credentials | None:
    try:
        said = json.loads(answer)
        username, secret = str(said["Username"]), str(said["Secret"])
    except (ValueError, KeyError, TypeError):
        raise ValueError("answered something that is not its protocol") from None
    if not secret:
        return None
    return Credentials(identity_token=secret) if username == TOKEN_USER else Credentials(username, secret)


async def _talk(process: asyncio.subprocess.Process, said: bytes) -> bytes:
    if process.stdin is None or process.stdout is None:
        raise ValueError("could not be talked to")
    with suppress(BrokenPipeError, ConnectionResetError):
        process.stdin.write(said)
        await process.stdin.drain()
    process.stdin.close()
    answer = b""
    while piece := await process.stdout.read(HELPER_LIMIT):
        answer += piece
        if len(answer) > HELPER_LIMIT:
            raise ValueError(f"answered more than {HELPER_LIMIT} bytes")
    return answer


def _failure(error: Exception, timeout: float) -> str:
    if isinstance(error, TimeoutError):
        return f"did not answer within {timeout:g} s"
    if isinstance(error, FileNotFoundError):
        return "is not installed"
    return f"could not be run: {error.strerror}" if isinstance(error, OSError) else str(error)


def _table(config: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = config.get(name)
    return found if isinstance(found, dict) else {}
