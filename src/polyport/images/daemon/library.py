"""The images of one daemon, as Polyport uses them: found by name, pulled when they are missing, listed, removed."""

import asyncio
import logging
import os
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import msgspec
from aiodocker.exceptions import DockerError

from polyport.errors import ImageError, UsageError
from polyport.images import references
from polyport.images.aliases import Aliases
from polyport.images.daemon import faults, values
from polyport.images.daemon.keychain import Keychain
from polyport.images.daemon.pulls import Connect, Pulls
from polyport.images.daemon.values import DaemonImage
from polyport.images.places import Places
from polyport.images.records import Progress
from polyport.settings import Settings

if TYPE_CHECKING:
    from aiodocker import Docker

log = logging.getLogger(__name__)

#: Seconds that the daemon may take for a look at an image.
LOOK_TIMEOUT = 30.0


class Unseen(msgspec.Struct, frozen=True):
    """An image that is not here yet; what it is like is found out by the pull."""

    warnings: tuple[str, ...] = ()


class Library:
    """``connect`` gives the client, and is asked when it is first needed; whoever gave it closes it. It may raise."""

    def __init__(self, connect: Connect, settings: Settings, keychain: Keychain | None = None) -> None:
        self._settings = settings
        self._connect = connect
        self._architecture = ""
        self.places = Places(settings.home)
        self.aliases = Aliases(self.places)
        self.pulls = Pulls(
            self.client,
            keychain or Keychain(os.environ),
            settings.image_pull_timeout,
            settings.image_platform,
        )
        self._client: Docker | None = None
        self._connecting = asyncio.Lock()

    async def client(self) -> "Docker":
        """The one client. Raises `ImageError` when there is no daemon."""
        async with self._connecting:
            if self._client is None:
                try:
                    self._client = await self._connect()
                except UsageError as error:
                    raise faults.DaemonAway(str(error)) from error
            return self._client

    async def close(self) -> None:
        """End the pulls that are under way."""
        await self.pulls.close()

    async def check(self, name: str) -> DaemonImage | Unseen:
        """A quick look that pulls nothing. Raises `ImageError` for a name that no image can have, and, where nothing
        may be pulled, for one that is not here. What a daemon that is away has is found out later."""
        try:
            target, here = await self._look(name)
            if here is not None:
                return here
            references.parse(target)
            if self._settings.image_pull == "never":
                raise faults.unknown(name, await self._known())
        except faults.DaemonAway as error:
            references.parse(self.aliases.target(name) or name)
            log.warning("image %s: %s", name, error)
        return Unseen()

    async def resolve(self, name: str, progress: Progress = lambda _: None) -> DaemonImage:
        """The image that the name stands for now, on this machine: by its own name, else by an alias; pulled as the
        setting `image_pull` says. Raises `ImageError`."""
        target, here = await self._look(name)
        pinned = references.pinned(target) is not None
        fresh = self._settings.image_pull == "always" and not pinned and not (here and here.is_built_here)
        if here is None and self._settings.image_pull == "never":
            raise faults.unknown(name, await self._known())
        if here is None or fresh:
            here = await self.pull(target, progress)
        await self.check_architecture(here)
        return here

    async def pull(self, name: str, progress: Progress = lambda _: None) -> DaemonImage:
        """From its registry, whatever is here. Raises `ImageError`."""
        references.parse(name)
        await self.pulls.pull(name, progress)
        found = await self.inspect(name)
        if found is None:
            raise ImageError(f'Image "{name}" was pulled, but the daemon does not have it; it went away meanwhile?')
        return found

    async def ensure(self, reference: str) -> None:
        """Have the image of an earlier `resolve` here, pulled again if it went. Raises `ImageError`."""
        if await self.inspect(reference) is None:
            if references.pinned(reference) is None or self._settings.image_pull == "never":
                raise ImageError(f'Image "{reference}" is no longer on this machine; update the endpoint.')
            await self.pull(reference)

    def describe_pull(self, name: str) -> str:
        """What to tell of a pull that is under way for a name; empty when there is none."""
        target = self.aliases.target(name)
        return self.pulls.describe(name) or (self.pulls.describe(target) if target else "")

    async def shown(self) -> tuple[DaemonImage, ...]:
        """Those that `polyport image build` made and those that aliases name, each by each of its names."""
        listed = await self._ask(lambda client: client.images.list())
        wanted = {self._spelt(target) for target in self.aliases.all().values()}
        found = {}
        for entry in listed:
            built = values.BUILT_LABEL in (entry.get("Labels") or {})
            for name in values.names(entry):
                if built or self._spelt(name) in wanted:
                    found[name] = await self.inspect(name)
        return tuple(image for _, image in sorted(found.items()) if image)

    async def remove(self, name: str, *, in_use: Iterable[str] = (), force: bool = False) -> None:
        """Take the name away, and the image with its last name. Only what `shown` gives.

        ``in_use`` are references that endpoints run. Raises `ImageError` when it is unknown, not one of ours, the
        target of an alias, or in use; ``force`` removes its aliases too, but nothing that is in use.
        """
        image = await self.inspect(name)
        pointing = [
            pattern for pattern, target in self.aliases.all().items() if self._spelt(target) == self._spelt(name)
        ]
        if image is None:
            raise ImageError(f"There is no image {name!r} on this machine.")
        if not image.is_built_here and not pointing:
            raise ImageError(f"{name} was not built by Polyport and has no alias: docker rmi {name} removes it.")
        if pointing and not force:
            raise ImageError(f"{name} is what {', '.join(map(repr, pointing))} stands for; remove the alias first.")
        if {image.id, *image.digests} & set(in_use):
            raise ImageError(f"{name} is used by an endpoint.")
        try:
            await self._ask(lambda client: client.images.delete(name))
        except DockerError as error:
            raise ImageError(f"{name} cannot be removed: {error.message}") from error
        for pattern in pointing:
            self.aliases.remove(pattern)

    async def alias(self, pattern: str, name: str) -> None:
        """Let all names that match ``pattern`` stand for ``name``, which is here or can be pulled."""
        await self.check(name)
        self.aliases.put(pattern, name)

    async def _look(self, name: str) -> tuple[str, DaemonImage | None]:
        """What the name stands for, and the image if it is here: its own name first, then an alias."""
        here = await self.inspect(name)
        if here is not None:
            return name, here
        target = self.aliases.target(name)
        return (name, None) if target is None else (target, await self.inspect(target))

    async def inspect(self, name: str) -> DaemonImage | None:
        """The image of exactly that name, id or digest, if it is here. Raises `ImageError`."""
        # A name that no image has would become part of the path: `../x`, `a?b`.
        if not _is_askable(name):
            return None
        try:
            return DaemonImage.from_inspect(name, await self._ask(lambda client: client.images.inspect(name)))
        except DockerError as error:
            if error.status == 404:
                return None
            raise faults.daemon(error) from error

    async def _ask(self, question: Callable[["Docker"], Any]) -> Any:
        client = await self.client()
        try:
            async with asyncio.timeout(LOOK_TIMEOUT):
                return await question(client)
        except TimeoutError as error:
            raise ImageError(f"Docker or Podman did not answer within {LOOK_TIMEOUT:g} s.") from error
        except DockerError as error:
            if error.status == faults.NO_DAEMON:
                raise faults.daemon(error) from error
            raise

    async def _known(self) -> list[str]:
        return sorted({*values.known_names(await self._ask(lambda client: client.images.list())), *self.aliases.all()})

    async def check_architecture(self, image: DaemonImage) -> None:
        """Raises `ImageError` for an image of another architecture than the daemon's, or than `image_platform`."""
        wanted = self._settings.image_platform or f"linux/{await self._daemon_architecture()}"
        its = image.platform
        if image.architecture and its.split("/")[:2] != wanted.split("/")[:2]:
            raise faults.wrong_architecture(image.name, its, wanted)

    async def _daemon_architecture(self) -> str:
        if not self._architecture:
            version = await self._ask(lambda client: client.version())
            self._architecture = values.normal(str(version.get("Arch") or ""))
        return self._architecture

    @staticmethod
    def _spelt(name: str) -> str:
        """One spelling of a name, to compare."""
        try:
            found = references.parse(name)
        except ImageError:
            return name
        return f"{found.full}@{found.digest}" if found.digest else f"{found.full}:{found.tag}"


def _is_askable(name: str) -> bool:
    if name.startswith("sha256:"):
        return name.removeprefix("sha256:").isalnum()
    try:
        references.parse(name)
    except ImageError:
        return False
    return True
