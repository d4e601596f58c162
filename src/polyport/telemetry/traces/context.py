"""The context of a trace as the headers ``traceparent`` and ``tracestate`` carry it (W3C Trace Context): pure.

What does not keep the rules is treated as if it had not been sent.
"""

import random
import re

import msgspec

#: The names of the headers.
PARENT = b"traceparent"
STATE = b"tracestate"
SAMPLED = 0x01
#: The trace id was drawn at random in all its bits; of a new trace it is not claimed, for older readers.
RANDOM = 0x02
#: Bytes of a ``tracestate`` that is passed on, and of an entry that is the first to go when it is longer.
MAX_STATE = 512
LONG_ENTRY = 128
MAX_ENTRIES = 32
_FORM = re.compile(rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?")
_KEY = rb"(?:[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13})"
_ENTRY = re.compile(_KEY + rb"=[ -+\--<>-~]{0,255}[!-+\--<>-~]")


class Context(msgspec.Struct, frozen=True):
    """Where in which trace something happens. ``state`` is for the systems named in it, and empty if there is none."""

    trace_id: int
    span_id: int
    flags: int
    state: bytes = b""

    @property
    def is_sampled(self) -> bool:
        """Whether whoever began the trace, or came between, records it."""
        return bool(self.flags & SAMPLED)

    def parent(self) -> bytes:
        """As a ``traceparent``."""
        return b"00-%032x-%016x-%02x" % (self.trace_id, self.span_id, self.flags & (SAMPLED | RANDOM))


def parse(parent: bytes | None, state: bytes | None = None) -> Context | None:
    """The context that a request came with; ``None``: none that is in order. A newer version is read as far as this
    one goes. A ``tracestate`` that is not in order is dropped alone."""
    match = _FORM.fullmatch(parent) if parent is not None else None
    if match is None or match[1] == b"ff" or (match[1] == b"00" and match[5] is not None):
        return None
    trace_id, span_id = int(match[2], 16), int(match[3], 16)
    if not trace_id or not span_id:
        return None
    return Context(trace_id, span_id, int(match[4], 16), parse_state(state) if state else b"")


def parse_state(state: bytes) -> bytes:
    """A ``tracestate`` as it is passed on: no longer than `MAX_STATE`, for which whole entries go, long ones and then
    the last ones first. Empty, if it is not in order."""
    entries = [entry for entry in (part.strip(b" \t") for part in state.split(b",")) if entry]
    keys = {entry.partition(b"=")[0] for entry in entries}
    if len(entries) > MAX_ENTRIES or len(keys) < len(entries) or not all(map(_ENTRY.fullmatch, entries)):
        return b""
    if sum(map(len, entries)) + len(entries) - 1 > MAX_STATE:
        entries = [entry for entry in entries if len(entry) <= LONG_ENTRY]
    while sum(map(len, entries)) + len(entries) - 1 > MAX_STATE:
        entries.pop()
    return b",".join(entries)


def new_trace_id() -> int:
    """For a trace that begins here."""
    return random.getrandbits(128) or 1


def new_span_id() -> int:
    """For a span."""
    return random.getrandbits(64) or 1
