"""Whether a container is healthy, when to ask it again, and when to stop hoping. Pure: `monitor` does the asking."""

import msgspec
from msgspec.structs import replace

from polyport.domain.instances import ContainerPhase, ContainerState
from polyport.engines.contract import Ping

#: Seconds between pings until the first 200, by the age of the container: (younger than, pause). A model that loads
#: in a second is in service in a second; one that needs minutes is not bothered.
EAGER = ((2.0, 0.02), (10.0, 0.1), (60.0, 0.5))
PATIENT = 2.0


class Rules(msgspec.Struct, frozen=True):
    """The settings that health goes by, for one variant; seconds and counts."""

    startup_timeout: float = 480.0
    startup_restarts: int = 3
    ping_interval: float = 5.0
    unhealthy_after: int = 3


class Health(msgspec.Struct, frozen=True):
    """What is known of one container. Times in epoch seconds."""

    healthy: bool = False
    #: When it began to be healthy or unhealthy.
    since: float = 0.0
    #: Failed pings in a row.
    failures: int = 0
    #: The latest start that this was learnt of; another start begins anew.
    started_at: float | None = None
    #: Restarts of the container when it was last healthy: only those after it count against it.
    restarts: int = 0
    last: Ping = Ping()


def observe(health: Health | None, container: ContainerState, now: float) -> Health:
    """Take note of the engine's view: a container that ended or was started again is not healthy."""
    if health is None:
        return Health(since=now, started_at=container.started_at, restarts=0)
    alive = container.phase is ContainerPhase.RUNNING and container.started_at == health.started_at
    if alive or (not health.healthy and container.started_at == health.started_at):
        return health
    since = now if health.healthy else health.since
    return replace(health, healthy=False, since=since, failures=0, started_at=container.started_at)


def judge(health: Health, ping: Ping, container: ContainerState, rules: Rules, now: float) -> Health:
    """Take note of an answer. One 200 makes a container healthy; `unhealthy_after` failures in a row unmake it."""
    if ping.healthy:
        since = health.since if health.healthy else now
        return replace(health, healthy=True, since=since, failures=0, restarts=container.restarts, last=ping)
    failures = health.failures + 1
    if health.healthy and failures >= rules.unhealthy_after:
        return replace(health, healthy=False, since=now, failures=failures, last=ping)
    return replace(health, failures=failures, last=ping)


def pause(health: Health, rules: Rules, now: float) -> float:
    """Seconds until the next ping."""
    if health.healthy:
        # A first failure is looked into at once: the usual cause is a container that is gone.
        return rules.ping_interval if health.failures == 0 else min(0.5, rules.ping_interval)
    age = now - (health.since if health.started_at is None else health.started_at)
    return next((pause for limit, pause in EAGER if age < limit), PATIENT)


def is_overdue(health: Health, rules: Rules, now: float) -> bool:
    """Whether it has been unhealthy for longer than a start may take."""
    return not health.healthy and now - health.since > rules.startup_timeout


def is_crashing(health: Health, container: ContainerState, rules: Rules) -> bool:
    """Whether it exited more often than a start is allowed to, without once being healthy in between."""
    exited = container.phase in {ContainerPhase.BACKOFF, ContainerPhase.STOPPED}
    return not health.healthy and exited and container.restarts - health.restarts >= rules.startup_restarts
