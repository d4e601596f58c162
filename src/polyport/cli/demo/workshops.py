"""Where the demo's images are made, its models trained, and its model servers timed: as processes or in containers."""

import asyncio
import io
import tarfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from polyport.cli.demo import startup, training
from polyport.cli.demo.training import Trained
from polyport.errors import UsageError
from polyport.images.records import Progress
from polyport.images.registry import ProcessImage, Registry
from polyport.settings import Settings

if TYPE_CHECKING:
    from aiodocker import Docker

    from polyport.images.daemon.library import Library

T = TypeVar("T")

#: What the demo's images are built on unless the setting `base_image` says otherwise: LightGBM needs a system library
#: (libgomp.so.1) that the slim ones lack.
BASE_IMAGE = "python:3.11"


def tag(name: str) -> str:
    """What the image of an example is called."""
    return f"polyport-demo/{name}:latest"


class Workshop(Protocol):
    """One way to do it. ``allowance`` is what InService may take on top of the containers' own start-up, in seconds."""

    allowance: float

    def build(self, name: str, folder: Path, progress: Progress, alias: str) -> None:
        """The image of an example, under its tag and an alias."""

    def train(self, name: str, out: Path, first: Trained | None = None) -> Trained:
        """Run the image's ``train.py``; ``first`` is the model whose output this one learns from."""

    def measure(self, models: Sequence[Trained]) -> float:
        """Seconds from the start of all model servers, together, to the last first 200 on /ping; a median."""


class ProcessWorkshop:
    """Process images in a home."""

    allowance = 0.5

    def __init__(self, home: Path) -> None:
        self._registry = Registry(home)
        self._images: dict[str, ProcessImage] = {}

    def build(self, name: str, folder: Path, progress: Progress, alias: str) -> None:
        """Made once; the next run finds it."""
        self._images[name] = self._registry.build(folder, tag(name), progress)
        self._registry.alias(alias, tag(name))

    def train(self, name: str, out: Path, first: Trained | None = None) -> Trained:
        """With the Python of the image."""
        return training.train(name, self._images[name], out, first)

    def measure(self, models: Sequence[Trained]) -> float:
        """As plain processes."""
        return startup.measure([(self._images[model.name], model) for model in models])


class DaemonWorkshop:
    """Images of Docker or Podman. ``settings`` are settled: their engine is docker."""

    allowance = 1.5

    def __init__(self, settings: Settings) -> None:
        default = settings.base_image == Settings().base_image
        self._settings = msgspec.structs.replace(settings, base_image=BASE_IMAGE) if default else settings

    def build(self, name: str, folder: Path, progress: Progress, alias: str) -> None:
        """With the daemon's build, which keeps what does not change."""
        from polyport.images.daemon import builds  # noqa: PLC0415  an extra

        async def make(library: "Library") -> None:
            await builds.build(library, self._settings.base_image, folder, tag(name), progress)
            await library.alias(alias, tag(name))

        self._do(make)

    def train(self, name: str, out: Path, first: Trained | None = None) -> Trained:
        """In a container, whose files are copied: the daemon may be on another machine."""
        self._do(lambda library: _train(library, name, out, first))
        return training.finish(name, out)

    def measure(self, models: Sequence[Trained]) -> float:
        """In containers, with a published port each."""
        return median(self._do(lambda library: _measure(library, models)) for _ in range(startup.ROUNDS))

    def _do(self, what: Callable[["Library"], Awaitable[T]]) -> T:
        from polyport.server import daemon_images  # noqa: PLC0415  an extra

        return daemon_images.use(self._settings, what)


async def _train(library: "Library", name: str, out: Path, first: Trained | None) -> None:
    client = await library.client()
    words = ["python", "train.py", "/tmp/out", *(["/tmp/first"] if first else [])]  # noqa: S108  the container's own
    container: Any = await client.containers.create({"Image": tag(name), "Entrypoint": words, "Cmd": []})
    try:
        if first:
            await container.put_archive("/tmp", _packed(first.folder, "first"))  # noqa: S108
        await container.start()
        status = (await container.wait())["StatusCode"]
        if status != 0:
            raise UsageError(training.explain(name, "".join(await container.log(stderr=True, stdout=True))))
        archive: tarfile.TarFile = await container.get_archive("/tmp/out")  # noqa: S108
        archive.extractall(out.parent, filter="data")
        (out.parent / "out").rename(out)
    finally:
        await container.delete(force=True)


async def _measure(library: "Library", models: Sequence[Trained]) -> float:
    client = await library.client()
    containers = [await _create(client, model) for model in models]
    try:
        begun = time.perf_counter()
        await asyncio.gather(*(container.start() for container in containers))
        ports = [await _published(container) for container in containers]
        while ports := [port for port in ports if not await asyncio.to_thread(startup.answers, port)]:
            if time.perf_counter() - begun > startup.PATIENCE:
                raise UsageError(f"A model server did not answer /ping within {startup.PATIENCE:.0f} s.")
            await asyncio.sleep(startup.POLL_INTERVAL)
        return time.perf_counter() - begun
    finally:
        await asyncio.gather(*(container.delete(force=True) for container in containers))


async def _create(client: "Docker", model: Trained) -> Any:
    """With the model where SageMaker puts it."""
    bindings = {"8080/tcp": [{"HostIp": "127.0.0.1", "HostPort": ""}]}
    config: dict[str, Any] = {
        "Image": tag(model.name),
        "Cmd": ["serve"],
        "ExposedPorts": {"8080/tcp": {}},
        "HostConfig": {"PortBindings": bindings},
    }
    container: Any = await client.containers.create(config)
    await container.put_archive("/", _packed(model.folder / "model", "opt/ml/model"))
    return container


async def _published(container: Any) -> int:
    shown = await container.show()
    return int(shown["NetworkSettings"]["Ports"]["8080/tcp"][0]["HostPort"])


def _packed(folder: Path, name: str) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        tar.add(folder, name)
    return file.getvalue()
