"""Where a home keeps its images, and who may change what."""

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from polyport.images import content


class Places:
    """``home/images/``: ``index.json`` says which name has which content, and what the aliases are; ``content/HEX/``
    holds an image's `image.json`, `requirements.lock` and ``files``; ``venvs/KEY/`` are virtual environments, shared by
    all images with the same lock; ``staging/`` is for what is not whole yet. Everything appears and goes by a rename,
    so a build that fails or is killed leaves nothing half-made.
    """

    def __init__(self, home: Path) -> None:
        self.root = home / "images"
        self.contents = self.root / "content"
        self.venvs = self.root / "venvs"
        self.staging = self.root / "staging"
        self.index = self.root / "index.json"

    def content(self, digest: str) -> Path:
        """The folder of an image."""
        return self.contents / digest.removeprefix("sha256:")

    def prepare(self) -> None:
        """Before a build, with the build lock held: all that is in staging was left by builds that were killed."""
        for path in (self.staging, self.contents, self.venvs):
            path.mkdir(parents=True, exist_ok=True)
        for path in self.staging.iterdir():
            content.discard(path)

    @contextmanager
    def stage(self) -> Iterator[Path]:
        """A folder of one's own, gone afterwards."""
        self.staging.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(dir=self.staging))
        try:
            yield stage
        finally:
            content.discard(stage)

    def throw_away(self, folder: Path) -> None:
        """Renamed before it is deleted: it is either whole or not there."""
        folder.chmod(0o700)
        with self.stage() as stage:
            folder.rename(stage / "gone")

    @contextmanager
    def building(self, waiting: Callable[[], None]) -> Iterator[int]:
        """The lock of builds, and of what deletes: one at a time. Gives the descriptor that holds it. ``waiting`` is
        called when another process has it."""
        descriptor = self._open("build.lock")
        try:
            if not _try_lock(descriptor):
                waiting()
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def clearing(self) -> Iterator[bool]:
        """The same lock, or ``False`` when it is taken."""
        descriptor = self._open("build.lock")
        try:
            yield _try_lock(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """The lock of the index, held for a moment only: names can be given while a build runs."""
        descriptor = self._open("index.lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        self.root.mkdir(parents=True, exist_ok=True)
        return os.open(self.root / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
