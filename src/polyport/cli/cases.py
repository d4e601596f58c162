"""What is known of one instance and its containers, from what control has noted in the home."""

from enum import StrEnum

import msgspec

from polyport.domain.events import Event, Kind


class State(StrEnum):
    """How a container does, as far as events tell."""

    PREPARING = "preparing"
    STARTING = "starting"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    #: It ended; it is started again, unless it was given up.
    ENDED = "ended"


class Case(msgspec.Struct, frozen=True):
    """One instance; without an id: what happened before there was one."""

    instance: str
    variant: str
    #: The endpoint has it now.
    is_live: bool
    events: tuple[Event, ...]
    #: The last lines of each of its containers, by hostname.
    output: dict[str, tuple[str, ...]]

    @property
    def findings(self) -> dict[str, Event]:
        """What is wrong, by hostname (empty: with all of it): the latest finding, unless it got well or came further
        after it. Of one that is no more, the latest of all."""
        found: dict[str, Event] = {}
        for event in self.events:
            if event.cause:
                found[event.hostname] = event
            elif self.is_live and event.kind is Kind.HEALTH and event.text.startswith("healthy"):
                found.pop(event.hostname, None)
            elif event.kind is Kind.APPLIED:
                found.pop("", None)
        return found

    def state(self, hostname: str) -> State:
        """Of one of its containers."""
        mine = [event for event in self.events if event.hostname == hostname]
        state = State.PREPARING
        for event in sorted(mine, key=lambda event: event.at):
            if event.kind is Kind.STARTED:
                state = State.STARTING
            elif event.kind is Kind.ENDED:
                state = State.ENDED
            elif event.kind is Kind.HEALTH and event.text.startswith("healthy"):
                state = State.HEALTHY
            elif (event.kind is Kind.HEALTH or event.cause) and state is not State.ENDED:
                state = State.UNHEALTHY
        return state
