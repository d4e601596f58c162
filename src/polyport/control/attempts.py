"""How tries to start an instance went, and when the next one is due. Pure."""

import logging
import re

import msgspec

from polyport.control import failure
from polyport.domain import diagnosis
from polyport.domain.diagnosis import Stage
from polyport.domain.events import Event, Kind
from polyport.errors import EngineError, ImageError, PolyportError

log = logging.getLogger(__name__)

#: Seconds before something that failed is tried again, by how often it failed.
RETRY = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
#: What has a command or a setting in it says by itself what to do.
_ADVICE = re.compile(
    r"\b(polyport|docker|podman) (image|log|system|pull)|image_platform|image_pull_timeout|the setting "
)


class Attempt(msgspec.Struct, frozen=True):
    """The latest try to prepare and apply an instance. Times in epoch seconds."""

    #: Why it failed; empty: it did not.
    reason: str = ""
    #: The engine took the instance, and has not shown it since.
    is_vain: bool = False
    #: Since when tries fail or are in vain, and how often they failed.
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


def accepted(before: Attempt, now: float, again_at: float) -> Attempt:
    """The engine took the instance. Whether it keeps it is to be seen."""
    return Attempt(is_vain=True, since=before.since if before.is_vain else now, again_at=again_at)


def why_absent(attempt: Attempt, now: float, patience: float) -> str:
    """Why an instance that the engine does not show is given up; empty: it is not."""
    if attempt.is_vain and now - attempt.since > patience:
        return f"The engine took the instance, and it was not there for {patience:g} seconds."
    return attempt.reason


def trouble(error: Exception, stage: Stage, now: float) -> Event:
    """What is noted of it, with its cause and the fix."""
    stage = Stage.IMAGE if isinstance(error, ImageError) else stage
    text = str(error) or type(error).__name__
    finding = diagnosis.find(diagnosis.Evidence(trouble=text, stage=stage))
    cause, fix = (finding.name, finding.fix) if finding else ("", "")
    return Event(now, Kind.TROUBLE, text, cause=cause, fix=fix)


def reason(error: Exception, stage: Stage) -> str:
    """What is told of an action that failed: our own errors speak for themselves, and what to do about an image or
    model data comes after them, unless they say it; a bug must not hang the endpoint."""
    if isinstance(error, PolyportError):
        found = trouble(error, stage, 0.0)
        is_told = isinstance(error, EngineError) or not found.fix or _ADVICE.search(found.text) is not None
        return failure.clip(found.text if is_told else _join(found.text, found.fix), ())
    log.error("an action failed", exc_info=error)
    return failure.clip(f"Internal error: {type(error).__name__}: {error}", ())


def _join(text: str, fix: str) -> str:
    """Two sentences; a long first one leaves room for the second."""
    room = failure.LIMIT - len(fix) - 2
    text = text.strip().rstrip(".")
    return f"{text if len(text) <= room else text[: room - 1] + '…'}. {fix}"
