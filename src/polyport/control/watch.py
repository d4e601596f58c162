"""What is known of one container that is being asked how it is."""

import asyncio

import msgspec

from polyport.control import health
from polyport.domain.diagnosis import Finding
from polyport.domain.endpoints import Variant
from polyport.domain.instances import ContainerPhase, ContainerState


class Verdict(msgspec.Struct, frozen=True):
    """What others want to know of it, and are told when it changes."""

    healthy: bool
    slow: bool
    overdue: bool
    failure: str
    complaint: str


class Watch:
    """One container. `monitor` does the asking."""

    def __init__(self, hostname: str, variant: Variant, rules: health.Rules, now: float) -> None:
        self.hostname = hostname
        self.variant = variant
        self.rules = rules
        self.health: health.Health | None = None
        self.failure = ""
        #: What the container printed last, when it failed.
        self.output: tuple[str, ...] = ()
        self.overdue = False
        self.slow = False
        self.complaint = ""
        #: What is wrong with it, as far as is known; and the times that it was looked into: at its latest end, and how
        #: often since it began to be unhealthy.
        self.finding: Finding | None = None
        self.looks = 0
        self.seen_end: float | None = None
        #: When the container that is there was started, and the one before it.
        self.starts: tuple[float, float] = (now, now)
        #: The verdict that others were told.
        self.told: Verdict = self.verdict
        #: Set to ask again without waiting for the pause to end.
        self.kick = asyncio.Event()
        #: Set once there is a first verdict.
        self.known = asyncio.Event()

    @property
    def verdict(self) -> Verdict:
        """What others want to know of it."""
        return Verdict(self.is_healthy, self.slow, self.overdue, self.failure, self.complaint)

    @property
    def is_healthy(self) -> bool:
        """Whether it takes calls."""
        return self.health is not None and self.health.healthy

    @property
    def is_known(self) -> bool:
        """Whether it was asked often enough to be judged: a container that is busy with a call may miss one ping."""
        if self.health is None or self.health.healthy or self.health.last.error != "timeout":
            return True
        return self.health.failures >= self.rules.unhealthy_after

    def forgive(self) -> None:
        """Nothing stands against it any more."""
        self.failure, self.output, self.overdue, self.slow, self.complaint = "", (), False, False, ""
        self.finding, self.looks = None, 0

    def observe(self, container: ContainerState | None, now: float) -> health.Health | None:
        """Take note of the engine's view. A container that is gone begins anew when it comes back."""
        if container is None:
            self.health = None
            self.forgive()
            return None
        before, self.health = self.health, health.observe(self.health, container, now)
        if before is None or before.started_at != self.health.started_at:
            self.complaint, self.looks = "", 0
            if container.started_at is not None:
                self.starts = (self.starts[1], container.started_at)
        self.slow = self.slow and health.is_slow(self.health, container)
        return self.health

    def look_is_due(self, container: ContainerState, now: float) -> bool:
        """Whether it is time to look what is wrong with a container that is not healthy: whenever it ended, and some
        times while it runs. Asking counts as looking."""
        end = container.last_exit
        if end is not None and end.at != self.seen_end:
            self.seen_end = end.at
            return True
        if self.health is None or container.phase is not ContainerPhase.RUNNING:
            return False
        looks = health.count_looks(now - max(self.health.since, self.starts[1]))
        due = looks > self.looks
        self.looks = max(looks, self.looks)
        return due

    def lived(self, container: ContainerState) -> float | None:
        """Seconds that the container had run when it ended last."""
        end = container.last_exit
        if end is None:
            return None
        return min((end.at - start for start in self.starts if start <= end.at), default=None)
