"""The audit log: a line of JSON for each control-plane call and each refused invocation, in CloudTrail's words.

It tells who, what, on what, from where, and whether it was allowed and why. Bodies, secrets and the values of what
users sent are not in it, names and ARNs are.
"""

import logging
import os
import queue
import sys
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from typing import IO

import msgspec

log = logging.getLogger(__name__)

VERSION = "1.11"
#: Records that wait to be written; what comes beyond is counted only.
MAX_WAITING = 50_000
#: Characters of what clients chose freely.
MAX_TEXT = 256


class Identity(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """Who called. ``type`` is ``IAMUser``, ``AssumedRole``, ``Root`` or ``Unknown``."""

    type: str
    principal_id: str = ""
    arn: str = ""
    account_id: str = ""
    access_key_id: str = ""
    user_name: str = ""


class Record(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """One event. Members are CloudTrail's, but for ``eventVersion``, which `encode` adds.

    ``additional_event_data`` says what decided."""

    event_time: str
    event_source: str
    event_name: str
    aws_region: str
    user_identity: Identity
    source_ip_address: str = msgspec.field(name="sourceIPAddress")
    user_agent: str
    request_id: str = msgspec.field(name="requestID")
    event_id: str = msgspec.field(name="eventID")
    read_only: bool
    management_event: bool
    event_category: str
    event_type: str
    error_code: str = ""
    error_message: str = ""
    request_parameters: dict[str, str] = {}
    resources: tuple[dict[str, str], ...] = ()
    additional_event_data: dict[str, str] = {}
    recipient_account_id: str = ""


def now() -> str:
    """As CloudTrail writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def event_id() -> str:
    """A new one."""
    return str(uuid.uuid4())


def clip(text: str) -> str:
    """What a client chose, as long as it may be in a record."""
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 3] + "..."


class AuditLog:
    """Writes lines in a thread of its own: a disk may be as slow as it likes. Rotated by size."""

    def __init__(self, path: Path, max_bytes: int, files: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._files = files
        self._queue: queue.Queue[logging.LogRecord] = queue.Queue(MAX_WAITING)
        self._handler = _Queueing(self._queue)
        self._listener: QueueListener | None = None
        self._lost = 0

    def open(self) -> None:
        """Begin to write. Raises `OSError` when the file cannot be opened."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = _PrivateFile(self._path, maxBytes=self._max_bytes, backupCount=self._files, encoding="utf-8")
        self._listener = QueueListener(self._queue, file)
        self._listener.start()

    def close(self) -> None:
        """Write what waits, and end."""
        if self._listener is not None:
            self._listener.stop()
            for handler in self._listener.handlers:
                # What did not find room on the disk is lost, and was told of.
                with suppress(OSError):
                    handler.close()
            self._listener = None

    def add(self, record: Record) -> None:
        """Never waits and never raises."""
        self.add_line(encode(record))

    def add_line(self, line: bytes) -> None:
        """A record that another process made."""
        try:
            self._handler.enqueue(logging.LogRecord("audit", logging.INFO, "", 0, line.decode("utf-8"), None, None))
        except queue.Full:
            self.lose(1)

    @property
    def lost(self) -> int:
        """How many records could not be kept, as far as is known here."""
        return self._lost

    def lose(self, count: int) -> None:
        """So many records could not be kept."""
        if not self._lost:
            log.warning("records of the audit log are lost: they come faster than they can be written")
        self._lost += count


def encode(record: Record) -> bytes:
    """One line, without its end."""
    return b'{"eventVersion":"%b",%b' % (VERSION.encode(), msgspec.json.encode(record)[1:])


class _Queueing(QueueHandler):
    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return record


class _PrivateFile(RotatingFileHandler):
    _trouble = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Trouble is told of once, and without the record, which logging itself would print."""
        before, self._trouble = self._trouble, ""
        super().emit(record)
        if self._trouble and not before:
            log.warning("records of the audit log are lost: %s", self._trouble)
        elif before and not self._trouble:
            log.warning("the audit log is written again")

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802  logging's own name
        self._trouble = str(sys.exc_info()[1])

    def _open(self) -> IO[str]:  # type: ignore[override]  # only its methods of writing are used
        return open(self.baseFilename, self.mode, encoding=self.encoding, opener=_private)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC, 0o600)
