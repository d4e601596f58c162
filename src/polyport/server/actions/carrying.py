"""Carries one action out: a POST, or a command. Both raise `ActionError` when that fails, and have a deadline."""

import asyncio
import base64
import functools
import logging
import os
import re
import signal
import ssl
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Self
from urllib.parse import SplitResult, unquote, urlsplit

import msgspec

from polyport.domain.alarms import Notice
from polyport.server.actions import book, messages
from polyport.server.actions.book import Action, ActionError

log = logging.getLogger(__name__)

#: What a command gets of the server's own environment.
INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")
_STATUS = re.compile(rb"HTTP/1\.[01] ([1-5][0-9][0-9])(?: |\r|$)")
#: Statuses of refusals that another try may not meet, as SNS has them.
_PASSING = frozenset({408, 429})
#: Bytes of a command's output that the log may show.
_MOST_OUTPUT = 500
#: Seconds for which they are waited for after its end.
_LAST_WORDS = 0.5


async def carry(action: Action, notice: Notice) -> None:
    """Do it, within its time. Raises `ActionError`."""
    try:
        async with asyncio.timeout(action.timeout):
            await (_post(action, notice) if action.url else _run(action, notice))
    except TimeoutError as error:
        raise ActionError(f"It took longer than {action.timeout:g} seconds.", may_pass=True) from error


# Webhooks


async def _post(action: Action, notice: Notice) -> None:
    """Redirects are not followed: who may answer there is not who was meant."""
    try:
        parts = urlsplit(action.url)
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        name = host.encode("idna").decode() if not host.isascii() else host
    except ValueError as error:
        raise ActionError("The URL is not valid.") from error
    try:
        security = _security() if parts.scheme == "https" else None
        reader, writer = await asyncio.open_connection(name, port, ssl=security)
    except (OSError, ssl.SSLError) as error:
        raise ActionError(f"{name} cannot be reached: {_cause(error)}.", may_pass=True) from error
    try:
        writer.write(request(action, parts, notice))
        await writer.drain()
        line = await reader.readline()
    except (OSError, ValueError) as error:
        raise ActionError(f"{name} broke the connection.", may_pass=True) from error
    finally:
        # Nothing more is of interest, and a close that waits for the other side may wait for long.
        writer.transport.abort()
    _judge(line, name)


def request(action: Action, parts: SplitResult, notice: Notice) -> bytes:
    """The whole request, as bytes."""
    is_text = action.format == "text"
    body = msgspec.json.encode({"text": messages.text(notice)} if is_text else messages.message(notice))
    headers = {
        "Host": parts.netloc.rpartition("@")[2],
        "User-Agent": "polyport",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        "Connection": "close",
        # As a topic of SNS delivers without its envelope. The id is the same at each try.
        "x-amz-sns-message-type": "Notification",
        "x-amz-sns-message-id": notice.id,
        "x-amz-sns-topic-arn": book.shown(notice.action),
        "x-amz-sns-rawdelivery": "true",
        **_authorization(parts),
        **action.headers,
    }
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    lines = [f"POST {target} HTTP/1.1", *(f"{name}: {_one_line(value)}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def _one_line(value: str) -> str:
    """An action's text is an alarm's: it must not become a header."""
    return re.sub(r"[\r\n\0]", " ", value)


def _authorization(parts: SplitResult) -> Mapping[str, str]:
    if parts.username is None:
        return {}
    user = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": "Basic " + base64.b64encode(user.encode()).decode()}


def _judge(line: bytes, name: str) -> None:
    found = _STATUS.match(line)
    if found is None:
        raise ActionError(f"{name} gave no answer of HTTP.", may_pass=True)
    status = int(found[1])
    if not 200 <= status < 300:
        raise ActionError(f"{name} answered {status}.", may_pass=status >= 500 or status in _PASSING)


@functools.cache
def _security() -> ssl.SSLContext:
    return ssl.create_default_context()


def _cause(error: OSError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({error.verify_message})"
    return (error.strerror or type(error).__name__).rstrip(".")


# Commands


async def _run(action: Action, notice: Notice) -> None:
    """With the notification at stdin. What it starts ends with it when its time is over; when it ends by itself, what
    it has left in the background goes on, and is not waited for."""
    with tempfile.TemporaryFile() as told, _Tail() as tail:
        told.write(msgspec.json.encode(messages.message(notice)))
        told.seek(0)
        status = await _end_of(action, notice, told, tail)
        if status:
            # Its output may hold what those who see the alarm may not: it is for the log alone.
            log.warning("the command of %s ended with status %d: %r", notice.action, status, await tail.text())
            raise ActionError(f"The command ended with status {status}.", may_pass=True)


async def _end_of(action: Action, notice: Notice, told: IO[bytes], tail: "_Tail") -> int:
    """Its exit status. Neither stdin nor stderr is a pipe of asyncio's: such a one is waited for at the end, whoever
    holds it."""
    environ = {name: os.environ[name] for name in INHERITED if name in os.environ}
    try:
        process = await asyncio.create_subprocess_exec(
            *action.command,
            stdin=told,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=await tail.open(),
            env=environ | messages.environment(notice),
            start_new_session=True,
        )
    except OSError as error:
        raise ActionError(f"The command cannot be started: {error.strerror}.") from error
    finally:
        tail.close_writer()
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()


class _Tail:
    """The end of what a command prints: read as fast as it comes."""

    def __init__(self) -> None:
        self._writer: int | None = None
        self._reading: asyncio.Task[None] | None = None
        self._transport: asyncio.ReadTransport | None = None
        self._text = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_writer()
        if self._reading is not None:
            self._reading.cancel()
        if self._transport is not None:
            self._transport.close()

    async def open(self) -> int:
        """The descriptor to print to."""
        ours, self._writer = os.pipe()
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, open(ours, "rb", 0))  # noqa: ASYNC230, PTH123, SIM115  a pipe, closed by its transport
        self._reading = asyncio.create_task(self._read(reader))
        return self._writer

    def close_writer(self) -> None:
        """The command has it now."""
        if self._writer is not None:
            os.close(self._writer)
            self._writer = None

    async def text(self) -> str:
        """Once the command has ended: what it printed last, without what others may still print."""
        if self._reading is not None:
            await asyncio.wait([self._reading], timeout=_LAST_WORDS)
        return self._text.decode(errors="replace").strip()

    async def _read(self, reader: asyncio.StreamReader) -> None:
        while part := await reader.read(65536):
            self._text = (self._text + part)[-_MOST_OUTPUT:]
