"""Where the time of a call went, as the header ``Server-Timing`` tells it: the gateway's own, then each stage's.

A stage has the time from the sending of its request until its answer goes on: to the next stage, or, of the last one,
its first byte to the client. What is left (waiting for a place or a connection, and the gateway's work) is the
gateway's own.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

#: What a metric's name may hold (RFC 9110, token).
_NO_TOKEN = re.compile(r"[^A-Za-z0-9!#$%&'*+.^_`|~-]")


class Stage(Protocol):
    """A container, as `opening` made it known."""

    timing: bytes


Times = Sequence[tuple[Stage, float]]
"""Stages in their order, with seconds."""


@lru_cache(4096)
def opening(hostname: str) -> bytes:
    """What stands before the milliseconds of a stage. Whatever the hostname holds, it stays one name."""
    return f", {_NO_TOKEN.sub('_', hostname)};dur=".encode()


def line(total: float, stages: Times) -> bytes:
    """The header line. ``total``: seconds since the call began."""
    if len(stages) == 1:
        # Nearly every call.
        stage, seconds = stages[0]
        own = (total - seconds) * 1e3
        return b"Server-Timing: gateway;dur=%.2f%b%.2f\r\n" % (own, stage.timing, seconds * 1e3)
    own = (total - sum(seconds for _, seconds in stages)) * 1e3
    parts = [b"%b%.2f" % (stage.timing, seconds * 1e3) for stage, seconds in stages]
    return b"Server-Timing: gateway;dur=%.2f%b\r\n" % (own, b"".join(parts))
