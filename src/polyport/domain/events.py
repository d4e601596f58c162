"""What happened to an instance and its containers, as `polyport doctor ENDPOINT` tells it."""

from collections.abc import Iterator, Sequence
from enum import StrEnum

import msgspec

from polyport.domain import diagnosis
from polyport.domain.instances import ContainerState


class Kind(StrEnum):
    """What an event is about."""

    #: The row of the instance was written.
    CREATED = "created"
    #: What the image's name stands for.
    IMAGE = "image"
    #: Everything is here, and the engine has taken the instance.
    APPLIED = "applied"
    #: It could not be prepared or taken; it is tried again.
    TROUBLE = "trouble"
    STARTED = "started"
    #: It came to have much more memory than was noted before, or nearly all that it may have.
    MEMORY = "memory"
    #: ``/ping`` answers otherwise than before.
    PING = "ping"
    #: It takes calls from here on, or no more.
    HEALTH = "health"
    ENDED = "ended"
    #: What is wrong with it.
    FINDING = "finding"
    #: What is told to the user: the endpoint or the update fails with it, or another instance takes its place.
    GIVEN_UP = "given up"
    REMOVED = "removed"


class Event(msgspec.Struct, frozen=True, omit_defaults=True):
    """``at`` is in epoch seconds. Without a hostname it is about the whole instance."""

    at: float
    kind: Kind
    text: str = ""
    hostname: str = ""
    #: Of a finding: its name in `diagnosis.CAUSES`, the fix, and the last output.
    cause: str = ""
    fix: str = ""
    output: tuple[str, ...] = ()


#: The engine says when these were: that moment tells whether they are known.
_DATED = {Kind.STARTED, Kind.ENDED}
#: What makes an answer to ``/ping``, or a finding, worth telling again though it is the same.
_RENEWS = {Kind.PING: {Kind.STARTED}, Kind.FINDING: {Kind.HEALTH}, Kind.GIVEN_UP: {Kind.HEALTH}}


def is_news(known: Sequence[Event], event: Event) -> bool:
    """Whether it is to be noted after these: not what is noted already, nor what the latest of its kind says too."""
    for other in reversed(known):
        if other.hostname != event.hostname:
            continue
        if event.kind in _DATED:
            if other.kind is event.kind and other.at >= event.at:
                return False
        elif other.kind in _RENEWS.get(event.kind, ()):
            return True
        elif other.kind is event.kind:
            return (other.cause or other.text) != (event.cause or event.text)
    return True


def of_container(before: ContainerState | None, after: ContainerState) -> Iterator[Event]:
    """What an engine's view of a container says that the view before it did not, oldest first."""
    started, end = after.started_at, after.last_exit
    if before is not None and (started, end) == (before.started_at, before.last_exit):
        return
    found = []
    if started is not None:
        port = f", port {after.port}" if after.port else ""
        again = f" again ({after.restarts})" if after.restarts else ""
        process = f": process {after.pid}{port}" if after.pid else ""
        found.append(Event(started, Kind.STARTED, f"started{again}{process}", after.hostname))
    if end is not None:
        lived = f" after {end.at - started:.1f} s" if started is not None and started <= end.at else ""
        memory = f"; memory: {figures}" if (figures := diagnosis.describe_memory(end)) else ""
        found.append(Event(end.at, Kind.ENDED, diagnosis.describe_end(end) + lived + memory, after.hostname))
    yield from sorted(found, key=lambda event: event.at)
