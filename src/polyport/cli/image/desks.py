"""Who does what `polyport image` is asked for: the registry of process images, or the library of a daemon."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from polyport.cli.image.showing import Shown
from polyport.engines import catalog
from polyport.errors import UsageError
from polyport.images.aliases import Aliases
from polyport.images.places import Places
from polyport.images.records import Progress
from polyport.images.registry import Registry
from polyport.settings import Settings

if TYPE_CHECKING:
    from polyport.images.daemon.library import Library

T = TypeVar("T")


class Desk(Protocol):
    """All raise `ImageError`."""

    def build(self, folder: Path, tag: str, progress: Progress) -> Shown:
        """An image from a folder."""

    def pull(self, name: str, progress: Progress) -> Shown:
        """An image from its registry."""

    def images(self) -> Sequence[Shown]:
        """What there is to list."""

    def aliases(self) -> dict[str, str]:
        """Pattern to name."""

    def alias(self, pattern: str, name: str) -> None:
        """Let names stand for another."""

    def unalias(self, pattern: str) -> None:
        """No longer."""

    def remove(self, name: str, in_use: Iterable[str], force: bool) -> None:
        """Take an image away. ``in_use`` are references that endpoints run."""


def of(settings: Settings) -> Desk:
    """By the engine that the settings name. Raises `UsageError` where that is docker and no daemon answers."""
    settled = catalog.settle(settings)
    return DaemonDesk(settled) if settled.engine == "docker" else ProcessDesk(settled)


class ProcessDesk:
    """Process images in the home."""

    def __init__(self, settings: Settings) -> None:
        self._registry = Registry(settings.home)

    def build(self, folder: Path, tag: str, progress: Progress) -> Shown:
        """What was built before is not built again."""
        return self._registry.build(folder, tag, progress)

    def pull(self, name: str, progress: Progress) -> Shown:  # noqa: ARG002  there is nothing to pull
        """There is no registry of process images."""
        raise UsageError(
            f"Process images are built, not pulled: polyport image build DIR --tag {name}. "
            "To pull with Docker or Podman: --engine docker."
        )

    def images(self) -> Sequence[Shown]:
        """All that were built."""
        return self._registry.list()

    def aliases(self) -> dict[str, str]:
        """Pattern to name."""
        return self._registry.aliases()

    def alias(self, pattern: str, name: str) -> None:
        """The image must be there."""
        self._registry.alias(pattern, name)

    def unalias(self, pattern: str) -> None:
        """No longer."""
        self._registry.unalias(pattern)

    def remove(self, name: str, in_use: Iterable[str], force: bool) -> None:
        """The tag, and what only it needed."""
        self._registry.remove(name, in_use=in_use, force=force)


class DaemonDesk:
    """Images of Docker or Podman."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._aliases = Aliases(Places(settings.home))

    def build(self, folder: Path, tag: str, progress: Progress) -> Shown:
        """With the daemon's build."""
        from polyport.images.daemon import builds  # noqa: PLC0415  an extra

        base = self._settings.base_image
        return self._do(lambda library: builds.build(library, base, folder, tag, progress))

    def pull(self, name: str, progress: Progress) -> Shown:
        """Whatever is here."""
        return self._do(lambda library: _pull(library, name, progress))

    def images(self) -> Sequence[Shown]:
        """Those that Polyport built or aliases name."""
        return self._do(lambda library: library.shown())

    def aliases(self) -> dict[str, str]:
        """Pattern to name."""
        return self._aliases.all()

    def alias(self, pattern: str, name: str) -> None:
        """The image is here, or can be pulled."""
        self._do(lambda library: library.alias(pattern, name))

    def unalias(self, pattern: str) -> None:
        """No longer."""
        self._aliases.remove(pattern)

    def remove(self, name: str, in_use: Iterable[str], force: bool) -> None:
        """The name, and the image with its last one."""
        self._do(lambda library: library.remove(name, in_use=in_use, force=force))

    def _do(self, what: Callable[["Library"], Awaitable[T]]) -> T:
        from polyport.server import daemon_images  # noqa: PLC0415  an extra

        return daemon_images.use(self._settings, what)


async def _pull(library: "Library", name: str, progress: Progress) -> Shown:
    found = await library.pull(library.aliases.target(name) or name, progress)
    await library.check_architecture(found)
    return found
