"""What each kind of engine is supplied with: images, model data, and who joins them. One table."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from polyport.api.context import Artifacts, Images
from polyport.artifacts.cache import Cache
from polyport.control.prepare import Preparer
from polyport.errors import UsageError
from polyport.images.registry import Registry
from polyport.server.preparer import FakeArtifacts, FakePreparer, FakeRegistry, ProcessImages, ProcessPreparer
from polyport.settings import Settings

#: Drops what neither a name nor any of the given images needs; returns what is gone.
Prune = Callable[[set[str]], tuple[str, ...]]


def _prune_nothing(in_use: set[str]) -> tuple[str, ...]:  # noqa: ARG001  whatever it is
    """The images are the user's, or there are none."""
    return ()


async def _nothing() -> None:
    """There is nothing to close."""


@dataclass(frozen=True, slots=True)
class Supplies:
    """For one engine. ``prune`` blocks; `close` lets go of what was opened."""

    preparer: Preparer
    images: Images
    artifacts: Artifacts
    prune: Prune = _prune_nothing
    close: Callable[[], Awaitable[None]] = _nothing


def of(settings: Settings, cache: Cache) -> Supplies:
    """Opens nothing yet. Raises `UsageError` for an engine that is not known."""
    try:
        make = KINDS[settings.engine]
    except KeyError:
        raise UsageError(f"There is no engine {settings.engine!r}. The known ones are: {', '.join(KINDS)}.") from None
    return make(settings, cache)


def _process(settings: Settings, cache: Cache) -> Supplies:
    registry = Registry(settings.home)
    return Supplies(ProcessPreparer(registry, cache, settings), ProcessImages(registry), cache, registry.prune)


def _docker(settings: Settings, cache: Cache) -> Supplies:
    # An extra: only who uses this engine has its client.
    from polyport.server import daemon_images  # noqa: PLC0415
    from polyport.server.daemon_preparer import DockerPreparer  # noqa: PLC0415

    opened = daemon_images.Opened(settings)
    return Supplies(DockerPreparer(opened.library, cache, settings), opened.library, cache, close=opened.close)


def _fake(settings: Settings, cache: Cache) -> Supplies:  # noqa: ARG001  nothing is fetched
    return Supplies(FakePreparer(settings), FakeRegistry(), FakeArtifacts())


KINDS = {"process": _process, "docker": _docker, "fake": _fake}
