"""The preparer of the docker engine. Imported only where that engine is used: its client is an extra."""

import asyncio
import logging
import time
from collections.abc import Callable

from polyport.artifacts.cache import Cache
from polyport.domain.endpoints import Endpoint, Fleet, InstanceRow, Variant
from polyport.domain.instances import Container, ContainerSpec, Image, Instance
from polyport.images.daemon.faults import DaemonAway
from polyport.images.daemon.library import Library
from polyport.images.daemon.values import DaemonImage
from polyport.server import preparer
from polyport.settings import Settings

log = logging.getLogger(__name__)

#: How often, and how many seconds apart, a daemon that is away is asked again before a deployment is given up.
TRIES, PAUSE = 60, 1.0


class DockerPreparer:
    """The daemon keeps the images, model data comes through the cache.

    What an image is, its command and its environment, is the daemon's to know: containers get what the user gave.
    """

    def __init__(
        self, library: Library, cache: Cache, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._library = library
        self._cache = cache
        self._settings = settings
        self._clock = clock
        #: Why images cannot be looked for at the moment.
        self._problem = ""

    async def resolve(self, variant: Variant) -> tuple[Image, ...]:
        """Pin each container's image to what its name stands for now, pulled if it must be, all at once. A daemon that
        is away is waited for: no endpoint fails because it is restarted just now. Raises `ImageError`."""
        specified = list(dict.fromkeys(spec.image for spec in variant.containers))
        found = dict(zip(specified, await asyncio.gather(*map(self._find, specified)), strict=True))
        return tuple(found[spec.image] for spec in variant.containers)

    async def prepare(self, endpoint: Endpoint, fleet: Fleet, row: InstanceRow) -> Instance:
        """Fetch the model data of all containers at once. Raises `ImageError` or `ArtifactError`."""
        return await preparer.assemble(endpoint, fleet, row, self._settings, self._container)

    def hints(self, variant: Variant) -> list[str]:
        """How far the pulls are, or that the daemon is away."""
        names = dict.fromkeys(spec.image for spec in variant.containers)
        pulls = [text for name in names if (text := self._library.describe_pull(name))]
        return pulls or ([self._problem] if self._problem else [])

    async def _find(self, name: str) -> Image:
        found = await self._patiently(name)
        for warning in found.warnings:
            log.warning("image %s: %s", name, warning)
        return Image(specified=name, resolved=found.reference, resolved_at=self._clock())

    async def _patiently(self, name: str) -> DaemonImage:
        tries = 0
        while True:
            try:
                found = await self._library.resolve(name)
            except DaemonAway as error:
                tries += 1
                if tries == TRIES:
                    raise
                self._problem = str(error)
                await asyncio.sleep(PAUSE)
            else:
                self._problem = ""
                return found

    async def _container(self, spec: ContainerSpec, image: Image, timeout: float) -> Container:
        fetching = preparer.fetch(self._cache, spec, timeout)
        artifacts, _ = await asyncio.gather(fetching, self._library.ensure(image.resolved))
        return Container(hostname=spec.hostname, image=image, environment=spec.environment, artifacts=artifacts)
