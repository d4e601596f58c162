"""What one part of the work on a call was, as it waits to be sent."""

from enum import Enum

import msgspec

from polyport.telemetry.traces.context import Context

Value = str | int | float | bool


class Kind(Enum):
    """Which side of a request it is."""

    SERVER = "server"
    CLIENT = "client"


class Span(msgspec.Struct):
    """Over and complete. Times in nanoseconds since the epoch. ``context`` is its own, ``parent`` that of what it is a
    part of (``is_remote``: of another process). ``error``: it came to nothing, for the reason in ``description``."""

    name: str
    kind: Kind
    context: Context
    parent: Context | None
    is_remote: bool
    began: int
    ended: int
    attributes: dict[str, Value]
    error: bool = False
    description: str = ""
