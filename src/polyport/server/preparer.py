"""Joins images and model data into instances that an engine can start."""

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable

from polyport.artifacts.cache import Cache
from polyport.domain.endpoints import Endpoint, Fleet, InstanceRow, Variant
from polyport.domain.instances import Container, ContainerSpec, Image, Instance, ModelSource
from polyport.errors import ArtifactError
from polyport.images.registry import ProcessImage, Registry
from polyport.settings import Settings

#: The folder below ``/opt/ml`` for ``AdditionalModelDataSources``.
ADDITIONAL = "additional-model-data-sources"


class ProcessPreparer:
    """For the process engine: images are folders in the home, model data comes through the cache."""

    def __init__(
        self, registry: Registry, cache: Cache, settings: Settings, clock: Callable[[], float] = time.time
    ) -> None:
        self._registry = registry
        self._cache = cache
        self._settings = settings
        self._clock = clock

    async def resolve(self, variant: Variant) -> tuple[Image, ...]:
        """Pin each container's image to what its name stands for now. Raises `ImageError`."""
        return tuple(
            Image(
                specified=spec.image,
                resolved=f"{repository(spec.image)}@{self._registry.resolve(spec.image).digest}",
                resolved_at=self._clock(),
            )
            for spec in variant.containers
        )

    async def prepare(self, endpoint: Endpoint, fleet: Fleet, row: InstanceRow) -> Instance:
        """Fetch the model data of all containers at once. Raises `ImageError` or `ArtifactError`."""
        return await assemble(endpoint, fleet, row, self._settings, self._container)

    async def _container(self, spec: ContainerSpec, image: Image, timeout: float) -> Container:
        built = self._registry.resolve(image.resolved)
        return Container(
            hostname=spec.hostname,
            image=image,
            command=built.command,
            environment=built.environment | spec.environment,
            folder=str(built.folder),
            artifacts=await fetch(self._cache, spec, timeout),
            paths=tuple(map(str, built.paths)),
        )

    def hints(self, variant: Variant) -> list[str]:  # noqa: ARG002  images are here
        """Images are here, or they are not."""
        return []


class FakePreparer:
    """For the fake engine: every image is there, and nothing is fetched."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock

    async def resolve(self, variant: Variant) -> tuple[Image, ...]:
        """Every name stands for an image of its own."""
        return tuple(
            Image(
                specified=spec.image,
                resolved=f"{repository(spec.image)}@sha256:{hashlib.sha256(spec.image.encode()).hexdigest()}",
                resolved_at=self._clock(),
            )
            for spec in variant.containers
        )

    async def prepare(self, endpoint: Endpoint, fleet: Fleet, row: InstanceRow) -> Instance:
        """The names and environments of the containers; the engine needs no more."""
        pairs = zip(fleet.variant.containers, fleet.images, strict=True)
        containers = tuple(
            Container(hostname=spec.hostname, image=image, environment=spec.environment) for spec, image in pairs
        )
        return instance_of(endpoint, fleet, row, containers, self._settings.stop_timeout)

    def hints(self, variant: Variant) -> list[str]:  # noqa: ARG002  whatever it is
        """Nothing is fetched."""
        return []


class AnyImage:
    """What `FakeRegistry` says of every image."""

    warnings: tuple[str, ...] = ()


class FakeRegistry:
    """Knows every image, for the fake engine."""

    async def check(self, name: str) -> AnyImage:  # noqa: ARG002  whatever it is
        """It is there."""
        return AnyImage()


class ProcessImages:
    """The registry as the API needs it. In a thread: a look at an image is a look at files."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def check(self, name: str) -> ProcessImage:
        """Raises `ImageError`, naming the known images, when there is none of that name."""
        return await asyncio.to_thread(self._registry.resolve, name)


class FakeArtifacts:
    """Has all model data, for the fake engine."""

    async def check(self, source: ModelSource) -> None:
        """It is there."""


async def assemble(
    endpoint: Endpoint,
    fleet: Fleet,
    row: InstanceRow,
    settings: Settings,
    make: Callable[[ContainerSpec, Image, float], Awaitable[Container]],
) -> Instance:
    """The instance of containers that ``make`` makes, all at once, each in at most so many seconds."""
    timeout = fleet.variant.download_timeout or settings.download_timeout
    pairs = zip(fleet.variant.containers, fleet.images, strict=True)
    containers = await asyncio.gather(*(make(spec, image, timeout) for spec, image in pairs))
    return instance_of(endpoint, fleet, row, tuple(containers), settings.stop_timeout)


async def fetch(cache: Cache, spec: ContainerSpec, timeout: float) -> dict[str, str]:
    """A container's model data as `Container.artifacts` has it. Raises `ArtifactError` naming the container."""
    sources = {f"{ADDITIONAL}/{channel}": source for channel, source in spec.additional.items()}
    if spec.model is not None:
        sources["model"] = spec.model
    try:
        folders = await asyncio.gather(*(cache.fetch(source, timeout) for source in sources.values()))
    except ArtifactError as error:
        raise ArtifactError(f"The model data of container {spec.hostname} cannot be used. {error}") from error
    return {path: str(folder) for path, folder in zip(sources, folders, strict=True)}


def instance_of(
    endpoint: Endpoint, fleet: Fleet, row: InstanceRow, containers: tuple[Container, ...], stop_timeout: float
) -> Instance:
    """The instance of a row, with the labels by which people and engines find it."""
    return Instance(
        id=row.id,
        labels={
            "account": endpoint.owner.account,
            "region": endpoint.owner.region,
            "endpoint": endpoint.name,
            "variant": fleet.variant.name,
        },
        containers=containers,
        network_isolation=fleet.variant.network_isolation,
        stop_timeout=stop_timeout,
        instance_type=fleet.variant.instance_type,
    )


def repository(image: str) -> str:
    """An image name without its tag or digest: ``registry:5000/name:tag`` -> ``registry:5000/name``."""
    name = image.partition("@")[0]
    head, colon, tag = name.rpartition(":")
    return head if colon and "/" not in tag else name
