"""An image from a folder: from its `image.toml`, or from a Dockerfile of its own, which goes first."""

import asyncio
import hashlib
import json
import os
import re
import tempfile
from collections import deque
from collections.abc import Mapping
from contextlib import aclosing
from pathlib import Path
from typing import IO, Any

import msgspec
from aiodocker.exceptions import DockerError

from polyport.errors import ImageError
from polyport.images import content, manifest, references
from polyport.images.daemon import context, faults, probe, recipe, streams, wheels
from polyport.images.daemon.library import Library
from polyport.images.daemon.probe import Target
from polyport.images.daemon.values import BUILT_LABEL, DaemonImage
from polyport.images.environments import SHOWN_LINES, Uv
from polyport.images.manifest import Manifest
from polyport.images.records import Progress, Step

#: Where the bar stands when the base image is here, when the packages are, and when the daemon begins.
BASE, PACKED = 0.2, 0.6


class Order(msgspec.Struct, frozen=True):
    """What the daemon is asked to build, besides the files."""

    labels: dict[str, str]
    arguments: dict[str, str] = {}


async def build(
    library: Library, base_image: str, folder: Path, tag: str, progress: Progress = lambda _: None
) -> DaemonImage:
    """Makes the folder an image named ``tag``. Raises `ImageError` with the build's own last lines; the tag is then
    what it was before. Versions that the tag's earlier build resolved stay as long as they fit the requirements."""
    reference = references.parse(tag)
    if reference.digest:
        raise ImageError(f"{tag!r}: a tag is NAME or NAME:TAG; the digest comes from the content")
    folder = folder.absolute()
    with tempfile.TemporaryFile() as file:
        if (folder / context.DOCKERFILE).is_file():
            progress(Step("Packing", BASE))
            await asyncio.to_thread(context.pack_folder, file, folder)
            order = Order({BUILT_LABEL: context.DOCKERFILE})
        else:
            order = await _from_manifest(library, base_image, folder, reference.tagged, file, progress)
        await _run(library, order, file, reference.tagged, progress)
    found = await library.inspect(reference.tagged)
    if found is None:
        raise ImageError(f"{tag} was built, but the daemon does not have it.")
    progress(Step("Done", 1.0))
    return found


async def _from_manifest(
    library: Library, base_image: str, folder: Path, tag: str, file: IO[bytes], progress: Progress
) -> Order:
    found = manifest.read(folder)
    base = await library.resolve(base_image, _part(progress, 0.0, BASE))
    target = None
    if found.requirements is not None:
        progress(Step("Asking the base image for its Python", BASE))
        target = await probe.ask(await library.client(), base.reference)
    maker = _Maker(library, folder, found, base, _part(progress, BASE, PACKED))
    return await asyncio.to_thread(maker.make, target, tag, file)


class _Maker:
    """Puts the order together: copies, locks, downloads, packs. Blocking; runs in a thread."""

    def __init__(self, library: Library, folder: Path, found: Manifest, base: DaemonImage, progress: Progress) -> None:
        self._places = library.places
        self._folder = folder
        self._manifest = found
        self._base = base
        self._progress = progress

    def make(self, target: Target | None, tag: str, file: IO[bytes]) -> Order:
        """The files go to ``file``."""
        waiting = Step("Waiting for another build", 0.0)
        with self._places.building(lambda: self._progress(waiting)) as held:
            self._places.prepare()
            with self._places.stage() as stage:
                return self._pack(stage, target, tag, held, file)

    def _pack(self, stage: Path, target: Target | None, tag: str, held: int, file: IO[bytes]) -> Order:
        self._progress(Step("Copying", 0.05))
        program = stage / "program"
        content.copy(self._folder, program)
        parts, pip = {"program": program}, ""
        if target is not None and self._manifest.requirements is not None:
            uv = Uv(os.environ, lambda line: self._progress(Step("Fetching packages", 0.3, line)), held)
            self._progress(Step("Fetching packages", 0.1))
            lock = self._places.root / "locks" / hashlib.sha256(tag.encode()).hexdigest()
            previous = lock.read_text(encoding="utf-8") if lock.is_file() else ""
            made = wheels.collect(uv, program, self._manifest.requirements, target, stage / "packages", previous)
            lock.parent.mkdir(exist_ok=True)
            lock.write_text(made.text, encoding="utf-8")
            parts["packages"], pip = stage / "packages", wheels.installer(stage / "packages" / "wheels")
        self._progress(Step("Packing", 0.9))
        text = recipe.write(self._manifest, self._base, pip)
        context.pack(file, parts, {context.DOCKERFILE: text.text})
        # Podman adds these in an order that differs each time, so that nothing would be found in its cache: no more of
        # them than must be.
        labels = {name: value for name, value in self._manifest.labels.items() if not recipe.is_plain(name)}
        return Order({**labels, BUILT_LABEL: manifest.FILE_NAME}, text.arguments)


class _Follower:
    """Reads what the daemon says of a build: how far it is, and the last lines, should it fail."""

    def __init__(self, progress: Progress) -> None:
        self.tail: deque[str] = deque(maxlen=SHOWN_LINES)
        self._progress = progress
        self._fraction = 0.0

    def take(self, item: Mapping[str, Any]) -> None:
        """``Step 2/5 : RUN ...`` (Docker), ``[1/2] STEP 2/5: RUN ...`` (Podman), and all that the steps print."""
        text = str(item.get("stream") or item.get("status") or "").strip()
        if not text:
            return
        self.tail.extend(text.splitlines())
        step = re.match(r"(?:\[(\d+)/(\d+)\] )?step (\d+)/(\d+)", text, re.IGNORECASE)
        if step:
            stage, stages = int(step[1] or 1), int(step[2] or 1)
            done = (stage - 1 + (int(step[3]) - 1) / int(step[4])) / stages
            self._fraction = max(self._fraction, min(done, 1.0))
        self._progress(Step("Building", self._fraction, text.splitlines()[-1]))


async def _run(library: Library, order: Order, file: IO[bytes], tag: str, progress: Progress) -> None:
    client = await library.client()
    follower = _Follower(_part(progress, PACKED, 1.0))
    params = {"t": tag, "rm": "1", "forcerm": "1", "labels": json.dumps(order.labels)}
    params["buildargs"] = json.dumps(order.arguments)
    try:
        async with aclosing(
            streams.post(client, "build", params, {"Content-Type": "application/x-tar"}, file)
        ) as lines:
            async for item in lines:
                follower.take(item)
    except DockerError as error:
        if error.status == faults.NO_DAEMON or faults.classify(error.message) == "disk full":
            raise faults.daemon(error) from error
        words = "\n".join(dict.fromkeys([*follower.tail, error.message.strip()]))
        raise ImageError(f"The image {tag} could not be built:\n{words}") from error


def _part(progress: Progress, first: float, last: float) -> Progress:
    """The same progress, as a part of a larger one."""
    return lambda step: progress(Step(step.name, first + (last - first) * step.fraction, step.detail))
