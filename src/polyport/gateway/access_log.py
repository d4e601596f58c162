"""The access log: a line of JSON for each invocation, without bodies, secrets or custom attributes.

An `Entry` stands between a connection and the exchange that answers it, so that without a log nothing is spent on it.
Lines are gathered and handed to a thread once a second: a file, or whoever reads a pipe, may be as slow as it likes.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from time import monotonic
from typing import TYPE_CHECKING, Protocol

import msgspec

from polyport.gateway.clients.between import Between

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.clients.exchange import Client
    from polyport.gateway.clients.request import Request

log = logging.getLogger(__name__)

STREAMS = {"stdout": 1, "stderr": 2}
#: Lines that wait to be written; what comes beyond is counted only.
MAX_LINES = 50_000
#: Bytes that a pipe takes whole, whoever else writes to it; files take more at once.
PIPE_PIECE = 4096
FILE_PIECE = 1024 * 1024
#: Seconds that the last lines may take when the process ends.
PATIENCE = 2.0
#: What is said of a client that left before it was answered, as other proxies say it.
GONE = 499


class Way(msgspec.Struct):
    """Which way a call took. ``containers`` are the hostnames of those it is for; ``stages`` has the milliseconds of
    those that were asked; of the last one, until the first byte of its answer."""

    endpoint: str = ""
    variant: str = ""
    instance: str = ""
    containers: list[str] = []
    stages: dict[str, float] = {}
    #: The code of the error that ended it.
    error: str = ""


class Line(msgspec.Struct, omit_defaults=True):
    """One line. ``status`` is what the client was told; ``request_bytes`` are of the body, ``response_bytes`` of the
    whole answer with its head; times are milliseconds."""

    time: datetime
    request_id: str
    client: str
    endpoint: str
    variant: str
    instance: str
    containers: list[str]
    status: int
    error: str
    request_bytes: int
    response_bytes: int
    stages: dict[str, float]
    total: float
    #: It is the copy of a call, for a shadow variant; not said of others.
    shadow: bool = False


class Logged(Protocol):
    """An exchange that can say which way it took."""

    def way(self) -> Way:
        """Also when it is over."""


class Log:
    """Gathers lines, and writes them in a thread of its own. ``target``: ``stdout``, ``stderr`` or a path."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._lines: list[bytes] = []
        self._missed = 0
        self._unread = self._unwritten = 0
        self._is_failing = False
        self._is_torn = False
        self._thread: threading.Thread | None = None

    def add(self, line: Line) -> None:
        """Keep it until the next `flush`."""
        if len(self._lines) < MAX_LINES:
            self._lines.append(msgspec.json.encode(line) + b"\n")
        else:
            self._missed += 1
            self._unread += 1

    def flush(self) -> None:
        """Begin to write what there is, unless the last time is not over."""
        if self._lines and (self._thread is None or not self._thread.is_alive()):
            lines, self._lines = self._lines, []
            # A daemon: a pipe that nobody reads must not keep the process from ending.
            self._thread = threading.Thread(target=self._write, args=(lines,), daemon=True)
            self._thread.start()

    @property
    def lost(self) -> int:
        """How many lines were lost since the beginning; of those that a write failed with, some may be there."""
        return self._unread + self._unwritten

    def close(self) -> None:
        """Write the last lines."""
        for _ in range(2):
            if self._thread is not None:
                self._thread.join(PATIENCE)
            self.flush()
        if self._thread is not None:
            self._thread.join(PATIENCE)

    # In the thread

    def _write(self, lines: list[bytes]) -> None:
        try:
            if self._target in STREAMS:
                _put(STREAMS[self._target], lines, PIPE_PIECE)
            else:
                self._append(lines)
        except OSError as error:
            self._fail(error)
            self._unwritten += len(lines)
        else:
            self._is_failing = False
        if self._missed:
            missed, self._missed = self._missed, 0
            log.warning("%d lines of the access log were lost: it is too slow", missed)

    def _append(self, lines: list[bytes]) -> None:
        """Opened each time, so that whoever moves the file away to rotate it need not tell us."""
        file = os.open(self._target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            # What a full disk cut off must not spoil the next line.
            _put(file, [b"\n", *lines] if self._is_torn else lines, FILE_PIECE)
            self._is_torn = False
        finally:
            os.close(file)

    def _fail(self, error: OSError) -> None:
        self._is_torn = True
        if not self._is_failing:
            self._is_failing = True
            log.warning("the access log cannot be written (%s); lines are lost", error.strerror)


class Entry(Between):
    """Looks on at one call, and writes its line when it is over. ``is_shadow``: it is the copy of one."""

    __slots__ = ("_began", "_is_shadow", "_log", "_request", "_sent", "_status")

    def __init__(self, log_: Log, client: Client, request: Request, *, is_shadow: bool = False) -> None:
        super().__init__(client)
        self._log = log_
        self._request = request
        self._is_shadow = is_shadow
        self._began = monotonic()
        self._status = 0
        self._sent = 0

    def write(self, data: bytes) -> None:
        """Count it."""
        if not self._status:
            self._status = int(data[9:12])
        self._sent += len(data)
        self._client.write(data)

    def finish(self) -> None:
        """The answer is complete."""
        self._close()
        self._client.finish()

    def fail(self, error: ApiError, lines: bytes = b"") -> int:
        """An error is the whole answer."""
        self._status = error.status
        # Taken now: when this returns, the connection may be at the next request.
        peer, taken = self._client.peer(), self._client.fail(error, lines)
        self._sent += taken
        self._close(error.code, peer)
        return taken

    def cut(self) -> None:
        """The answer ends before its end."""
        self._close()
        self._client.cut()

    def abandon(self) -> None:
        """The client is gone, and no answer comes any more."""
        exchange = self.exchange
        self._status = self._status or GONE
        self._close("ClientGone")
        exchange.abandon()

    def _close(self, error: str = "", peer: str | None = None) -> None:
        request = self._request
        way = self.way()
        self.exchange = None  # type: ignore[assignment]
        self._log.add(
            Line(
                time=datetime.now(UTC),
                request_id=request.id.decode(),
                client=self._client.peer() if peer is None else peer,
                endpoint=way.endpoint,
                variant=way.variant,
                instance=way.instance,
                containers=way.containers,
                status=self._status,
                error=error or way.error,
                request_bytes=request.size,
                response_bytes=self._sent,
                stages=way.stages,
                total=milliseconds(monotonic() - self._began),
                shadow=self._is_shadow,
            )
        )


def milliseconds(seconds: float) -> float:
    """For people to read."""
    return round(seconds * 1e3, 3)


def _put(file: int, lines: list[bytes], most: int) -> None:
    for piece in _pieces(lines, most):
        rest = memoryview(piece)
        while rest:
            rest = rest[os.write(file, rest) :]


def _pieces(lines: list[bytes], most: int) -> Iterator[bytes]:
    """Whole lines, together no longer than that, if one alone is not."""
    piece: list[bytes] = []
    size = 0
    for line in lines:
        if size + len(line) > most and piece:
            yield b"".join(piece)
            piece, size = [], 0
        piece.append(line)
        size += len(line)
    if piece:
        yield b"".join(piece)
