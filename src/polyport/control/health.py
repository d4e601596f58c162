"""Whether a container is healthy, when to ask it again, and when to stop hoping. Pure: `monitor` does the asking."""

import msgspec
from msgspec.structs import replace

from polyport.domain.instances import ContainerPhase, ContainerState
from polyport.engines.contract import Ping

#: Seconds between pings until the first 200, by the age of the container: (younger than, pause). A model that loads
#: in a second is in service in a second; one that needs minutes is not bothered.
EAGER = ((2.0, 0.02), (10.0, 0.1), (60.0, 0.5))
PATIENT = 2.0
_GOOD = Ping(status=200)


#: Seconds within which falling ill counts together: who does it again and again has to answer ever longer.
MEMORY = 600.0
#: The most good pings in a row that anybody needs to be healthy again.
MOST = 32
#: Seconds at most between two pings of a container that has to answer several times to be healthy again.
RECOVERING = 1.0


#: When to look what a container that runs does wrong, in seconds since it could have been healthy.
LOOKS = (2.0, 10.0, 60.0, 300.0)


class Rules(msgspec.Struct, frozen=True):
    """The settings that health goes by, for one variant; seconds and counts."""

    startup_timeout: float = 480.0
    startup_restarts: int = 3
    ping_interval: float = 5.0
    unhealthy_after: int = 3
    healthy_after: int = 1
    replace_after: float = 30.0
    replace_falls: int = 5


class Health(msgspec.Struct, frozen=True):
    """What is known of one container. Times in epoch seconds."""

    healthy: bool = False
    #: When it began to be healthy or unhealthy.
    since: float = 0.0
    #: Failed pings in a row, and good ones while it is not healthy.
    failures: int = 0
    successes: int = 0
    #: The latest start that this was learnt of; another start begins anew.
    started_at: float | None = None
    #: It was healthy since that start.
    proven: bool = False
    #: Restarts of the container when it was last healthy: only those after it count against it.
    restarts: int = 0
    #: How often it fell ill of late, and when it did last.
    falls: int = 0
    fell_at: float = 0.0
    #: A gateway could not reach it: the next failed ping decides.
    suspected: bool = False
    last: Ping = Ping()


def observe(health: Health | None, container: ContainerState, now: float) -> Health:
    """Take note of the engine's view: a container that ended or was started again is not healthy."""
    if health is None:
        return Health(since=now, started_at=container.started_at, restarts=0)
    alive = container.phase is ContainerPhase.RUNNING and container.started_at == health.started_at
    if alive or (not health.healthy and container.started_at == health.started_at):
        return health
    health = _fall(health, now) if health.healthy else health
    return replace(health, failures=0, successes=0, started_at=container.started_at, proven=False)


def judge(health: Health, ping: Ping, container: ContainerState, rules: Rules, now: float) -> Health:
    """Take note of an answer. One 200 makes a new container healthy, and `unhealthy_after` failures in a row unmake it,
    or one, after a gateway could not reach it. Who fell ill has to answer several times to be healthy again."""
    if ping.healthy:
        return _answered(health, container, rules, now)
    failures = health.failures + 1
    if health.healthy and (failures >= rules.unhealthy_after or health.suspected):
        health = _fall(health, now)
    return replace(health, failures=failures, successes=0, last=ping)


def suspect(health: Health) -> Health:
    """Take note that a gateway could not reach it."""
    return replace(health, suspected=True) if health.healthy else health


def vouch(health: Health) -> Health:
    """Take note that it was healthy since its latest start."""
    return replace(health, proven=True)


def _answered(health: Health, container: ContainerState, rules: Rules, now: float) -> Health:
    health = replace(health, failures=0, suspected=False, last=_GOOD)
    if not health.healthy:
        health = replace(health, successes=health.successes + 1)
        if health.successes < needed(health, rules, now):
            return health
        health = replace(health, healthy=True, since=now, proven=True)
    return replace(health, restarts=container.restarts)


def needed(health: Health, rules: Rules, now: float) -> int:
    """How many good pings in a row make it healthy: one, unless it fell ill of late; then more each time."""
    falls = recent_falls(health, now)
    return min(MOST, rules.healthy_after * 2 ** min(falls - 1, 10)) if falls else 1


def recent_falls(health: Health, now: float) -> int:
    """How often it fell ill, each time within `MEMORY` of the time before."""
    return health.falls if now - health.fell_at < MEMORY else 0


def _fall(health: Health, now: float) -> Health:
    falls = recent_falls(health, now) + 1
    return replace(health, healthy=False, since=now, successes=0, suspected=False, falls=falls, fell_at=now)


def pause(health: Health, rules: Rules, now: float) -> float:
    """Seconds until the next ping."""
    if health.healthy:
        # A first failure is looked into at once: the usual cause is a container that is gone.
        return rules.ping_interval if health.failures == 0 else min(0.5, rules.ping_interval)
    if health.successes and health.falls > 1:
        # Its good pings are to be spread over a while.
        return min(RECOVERING, rules.ping_interval)
    age = now - (health.since if health.started_at is None else health.started_at)
    return next((pause for limit, pause in EAGER if age < limit), PATIENT)


def count_looks(seconds: float) -> int:
    """How often a container that runs and has been unhealthy for so long is to have been looked into."""
    return sum(seconds >= look for look in LOOKS)


def is_slow(health: Health, container: ContainerState) -> bool:
    """Whether it was healthy and does nothing worse than not to answer pings in time: it may be busy with calls."""
    return health.proven and container.phase is ContainerPhase.RUNNING and health.last.error == "timeout"


def complaint(health: Health, container: ContainerState, rules: Rules, now: float) -> str:
    """Why another instance should take its place though it was healthy once; empty: none should, or not yet."""
    if health.healthy:
        return ""
    falls, ill = recent_falls(health, now), now - health.since
    if falls >= rules.replace_falls:
        return f"container {container.hostname} fell ill {falls} times in a short time."
    if health.proven and container.phase is ContainerPhase.RUNNING and ill >= rules.replace_after:
        last = f"answered {health.last.status}" if health.last.status is not None else health.last.error
        return f"container {container.hostname} has been unhealthy for {ill:.0f} s; its last ping: {last}."
    return ""


def is_overdue(health: Health, rules: Rules, now: float) -> bool:
    """Whether it has been unhealthy for longer than a start may take."""
    return not health.healthy and now - health.since > rules.startup_timeout


def is_crashing(health: Health, container: ContainerState, rules: Rules) -> bool:
    """Whether it exited more often than a start is allowed to, without once being healthy in between."""
    exited = container.phase in {ContainerPhase.BACKOFF, ContainerPhase.STOPPED}
    return not health.healthy and exited and container.restarts - health.restarts >= rules.startup_restarts
