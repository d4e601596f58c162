"""How tries to start an instance went, and when the next one is due. Pure."""

import logging

import msgspec

from polyport.control import failure
from polyport.errors import PolyportError

log = logging.getLogger(__name__)

#: Seconds before something that failed is tried again, by how often it failed.
RETRY = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)


class Attempt(msgspec.Struct, frozen=True):
    """The latest try to prepare and apply an instance. Times in epoch seconds."""

    #: Why it failed; empty: it did not.
    reason: str = ""
    #: Since when tries fail, and how often they did.
    since: float = 0.0
    failures: int = 0
    #: Not to be tried again before this. After a success too: engines may take a second to show an instance.
    again_at: float = 0.0


NEVER = Attempt()


def pause(failures: int) -> float:
    """Seconds until the next try, after so many that failed before the latest."""
    return RETRY[min(failures, len(RETRY) - 1)]


def failed(before: Attempt, reason: str, now: float) -> Attempt:
    """One more failure."""
    since = before.since if before.reason else now
    return Attempt(reason=reason, since=since, failures=before.failures + 1, again_at=now + pause(before.failures))


def reason(error: Exception) -> str:
    """What is told of an action that failed: our own errors speak for themselves, a bug must not hang the endpoint."""
    if isinstance(error, PolyportError):
        return failure.clip(str(error), ())
    log.error("an action failed", exc_info=error)
    return failure.clip(f"Internal error: {type(error).__name__}: {error}", ())
