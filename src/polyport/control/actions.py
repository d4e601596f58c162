"""What the planner asks for is done here: resolve images, apply and remove instances. Each action may be repeated."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from polyport.control import attempts, plan
from polyport.control.jobs import Jobs
from polyport.control.prepare import Preparer
from polyport.domain.endpoints import Deployment, Endpoint, Fleet, InstanceRow
from polyport.domain.instances import Image
from polyport.engines.contract import Engine

#: Seconds in which an engine shows what it was given.
SHOW_TIME = 1.0


class Loop(Protocol):
    """What the actions tell the reconciler."""

    def wake(self, endpoint_id: str) -> None:
        """There is news for this endpoint."""

    def knows(self, endpoint_id: str) -> bool:
        """Whether the endpoint still is."""


class Actions:
    """Runs actions in the background, at most one of a kind for each instance, and remembers what came of them."""

    def __init__(
        self,
        engine: Engine,
        preparer: Preparer,
        jobs: Jobs,
        loop: Loop,
        refresh: Callable[[], Awaitable[None]],
        clock: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._preparer = preparer
        self._jobs = jobs
        self._loop = loop
        self._refresh = refresh
        self._clock = clock
        self._resolved: dict[str, dict[tuple[int, str], tuple[Image, ...] | str]] = {}
        self._attempts: dict[str, attempts.Attempt] = {}

    def resolved(self, endpoint_id: str) -> plan.Resolved:
        """The images that were found for an endpoint, or why they were not."""
        return self._resolved.get(endpoint_id, {})

    def attempt(self, instance: str) -> attempts.Attempt:
        """The latest try to start an instance."""
        return self._attempts.get(instance, attempts.NEVER)

    def forget(self, instance: str) -> None:
        """The instance is gone for good."""
        self._attempts.pop(instance, None)
        self._jobs.cancel(instance)

    def forget_images(self, endpoint_id: str) -> None:
        """Whatever was found is written down, or not needed any more."""
        self._resolved.pop(endpoint_id, None)

    def start(self, endpoint: Endpoint, decision: plan.Decision) -> None:
        """Begin what was decided. Returns at once."""
        for deployment, fleet in decision.resolve:
            key = (endpoint.id, deployment.revision, fleet.variant.name)
            self._jobs.start(key, self._resolve(endpoint, deployment, fleet))
        for fleet, row in decision.apply:
            if self.attempt(row.id).again_at <= self._clock():
                self._jobs.start(row.id, self._apply(endpoint, fleet, row))
        for row in endpoint.state.retired:
            self._jobs.cancel(row.id)
        for instance in decision.remove:
            self.remove(instance)

    def remove(self, instance: str) -> None:
        """Begin to end an instance."""
        self._jobs.start(("remove", instance), self._engine.remove(instance))

    async def _resolve(self, endpoint: Endpoint, deployment: Deployment, fleet: Fleet) -> None:
        found: tuple[Image, ...] | str
        try:
            found = await self._preparer.resolve(fleet.variant)
        except Exception as error:  # noqa: BLE001  whatever it is, the endpoint must not hang on it
            found = attempts.reason(error)
        if self._loop.knows(endpoint.id):
            self._resolved.setdefault(endpoint.id, {})[deployment.revision, fleet.variant.name] = found
            self._loop.wake(endpoint.id)

    async def _apply(self, endpoint: Endpoint, fleet: Fleet, row: InstanceRow) -> None:
        try:
            instance = await self._preparer.prepare(endpoint, fleet, row)
            await self._engine.apply(instance)
        except Exception as error:  # noqa: BLE001  whatever it is, the endpoint must not hang on it
            self._attempts[row.id] = attempts.failed(self.attempt(row.id), attempts.reason(error), self._clock())
        else:
            self._attempts[row.id] = attempts.Attempt(again_at=self._clock() + SHOW_TIME)
            await self._refresh()
        self._loop.wake(endpoint.id)
