"""What the planner asks for is done here: resolve images, apply and remove instances. Each action may be repeated, and
each has a limit of time (`limits`): one that hangs fails like any other.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from polyport.control import attempts, plan
from polyport.control.chronicle import Chronicle
from polyport.control.jobs import Jobs
from polyport.control.limits import Limits
from polyport.control.prepare import Preparer
from polyport.domain.diagnosis import Stage
from polyport.domain.endpoints import Deployment, Endpoint, Fleet, InstanceRow
from polyport.domain.events import Event, Kind
from polyport.domain.instances import Image
from polyport.engines.contract import Engine
from polyport.errors import ArtifactError, EngineError, ImageError, PolyportError

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
        limits: Limits,
        chronicle: Chronicle | None = None,
    ) -> None:
        self._engine = engine
        self._preparer = preparer
        self._jobs = jobs
        self._loop = loop
        self._refresh = refresh
        self._clock = clock
        self._limits = limits
        self._chronicle = chronicle or Chronicle()
        self._resolved: dict[str, dict[tuple[int, str], tuple[Image, ...] | str]] = {}
        self._attempts: dict[str, attempts.Attempt] = {}
        #: Since when the engine is asked to end an instance.
        self._removing: dict[str, float] = {}

    def resolved(self, endpoint_id: str) -> plan.Resolved:
        """The images that were found for an endpoint, or why they were not."""
        return self._resolved.get(endpoint_id, {})

    def attempt(self, instance: str) -> attempts.Attempt:
        """The latest try to start an instance."""
        return self._attempts.get(instance, attempts.NEVER)

    def note_present(self, instance: str) -> None:
        """The engine shows it: its tries were not in vain."""
        if self.attempt(instance).is_vain:
            self._attempts.pop(instance)

    def removing_for(self, instance: str) -> float:
        """For how many seconds the engine has been asked to end it. Not by the clock on the wall, which may jump."""
        since = self._removing.get(instance)
        return 0.0 if since is None else asyncio.get_running_loop().time() - since

    def forget(self, instance: str) -> None:
        """The instance is gone for good."""
        self._attempts.pop(instance, None)
        self._removing.pop(instance, None)
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
        self._removing.setdefault(instance, asyncio.get_running_loop().time())
        self._jobs.start(("remove", instance), self._remove(instance))

    async def _resolve(self, endpoint: Endpoint, deployment: Deployment, fleet: Fleet) -> None:
        found: tuple[Image, ...] | str
        limit = self._limits.resolve(fleet.variant)
        try:
            async with _at_most(limit, ImageError(f"The images were not found within {limit:g} seconds.")):
                found = await self._preparer.resolve(fleet.variant)
        except Exception as error:  # noqa: BLE001  whatever it is, the endpoint must not hang on it
            found = attempts.reason(error, Stage.IMAGE)
            trouble = attempts.trouble(error, Stage.IMAGE, self._clock())
            self._chronicle.note_variant(endpoint, fleet.variant.name, trouble)
        if self._loop.knows(endpoint.id):
            self._resolved.setdefault(endpoint.id, {})[deployment.revision, fleet.variant.name] = found
            self._loop.wake(endpoint.id)

    async def _apply(self, endpoint: Endpoint, fleet: Fleet, row: InstanceRow) -> None:
        limit, stage = self._limits.prepare(fleet.variant), Stage.MODEL
        images = "; ".join(dict.fromkeys(f"{image.specified} is {image.resolved}" for image in fleet.images))
        self._chronicle.note(row.id, Event(self._clock(), Kind.IMAGE, images))
        try:
            async with _at_most(limit, ArtifactError(f"The model data was not there within {limit:g} seconds.")):
                instance = await self._preparer.prepare(endpoint, fleet, row)
            stage = Stage.ENGINE
            async with self._in_engine_time():
                await self._engine.apply(instance)
            self._chronicle.note(row.id, Event(self._clock(), Kind.APPLIED, "model data is here; given to the engine"))
        except Exception as error:  # noqa: BLE001  whatever it is, the endpoint must not hang on it
            self._chronicle.note(row.id, attempts.trouble(error, stage, self._clock()))
            self._attempts[row.id] = attempts.failed(self.attempt(row.id), attempts.reason(error, stage), self._clock())
        else:
            now = self._clock()
            self._attempts[row.id] = attempts.accepted(self.attempt(row.id), now, now + SHOW_TIME)
            await self._refresh()
        self._loop.wake(endpoint.id)

    async def _remove(self, instance: str) -> None:
        async with self._in_engine_time():
            await self._engine.remove(instance)

    def _in_engine_time(self) -> AbstractAsyncContextManager[None]:
        limit = self._limits.engine
        return _at_most(limit, EngineError(f"The engine gave no answer within {limit:g} seconds."))


@asynccontextmanager
async def _at_most(seconds: float, error: PolyportError) -> AsyncIterator[None]:
    """Raises the error when it takes longer."""
    try:
        async with asyncio.timeout(seconds) as limit:
            yield
    except TimeoutError as timeout:
        raise (error if limit.expired() else timeout) from timeout
