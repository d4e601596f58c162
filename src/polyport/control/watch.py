"""What is known of one container that is being asked how it is."""

import asyncio

import msgspec

from polyport.control import health
from polyport.domain.endpoints import Variant
from polyport.domain.instances import ContainerState


class Verdict(msgspec.Struct, frozen=True):
    """What others want to know of it, and are told when it changes."""

    healthy: bool
    slow: bool
    overdue: bool
    failure: str
    complaint: str


class Watch:
    """One container. `monitor` does the asking."""

    def __init__(self, variant: Variant, rules: health.Rules) -> None:
        self.variant = variant
        self.rules = rules
        self.health: health.Health | None = None
        self.failure = ""
        #: What the container printed last, when it failed.
        self.output: tuple[str, ...] = ()
        self.overdue = False
        self.slow = False
        self.complaint = ""
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

    def observe(self, container: ContainerState | None, now: float) -> health.Health | None:
        """Take note of the engine's view. A container that is gone begins anew when it comes back."""
        if container is None:
            self.health = None
            self.forgive()
            return None
        before, self.health = self.health, health.observe(self.health, container, now)
        if before is None or before.started_at != self.health.started_at:
            self.complaint = ""
        self.slow = self.slow and health.is_slow(self.health, container)
        return self.health
