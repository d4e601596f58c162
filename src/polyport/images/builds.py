"""One build in its staging folder: copy, lock, install, compile, hash; then everything to its place."""

import os
import time
from pathlib import Path

from polyport.errors import ImageError
from polyport.images import content, environments, records
from polyport.images.environments import Lock, Uv
from polyport.images.manifest import Manifest
from polyport.images.places import Places
from polyport.images.records import Progress, Record, Step

#: Where the bar stands when all packages are fetched; the rest is linking them and, which takes longest, bytecode.
FETCHED = 0.55
#: By the first word of uv's lines, while it installs.
MILESTONES = {"Prepared": FETCHED, "Installed": 0.6, "Bytecode": 0.88}


class Build:
    """``held`` is the descriptor of the build lock, ``stage`` a folder that the caller clears away."""

    def __init__(
        self, places: Places, stage: Path, folder: Path, manifest: Manifest, progress: Progress, held: int
    ) -> None:
        self.places = places
        self.stage = stage
        self.files = stage / "files"
        self.folder = folder
        self.manifest = manifest
        self.progress = progress
        self.uv = Uv(os.environ, self._hear, held)
        self.step = Step("Copying", 0.05)
        #: How much of the bar one package is worth, while packages are fetched.
        self.share = 0.0

    def run(self, previous: str) -> str:
        """Returns the digest. ``previous`` is the lock of an earlier build, or empty."""
        self._begin("Copying", 0.05)
        content.copy(self.folder, self.files)
        lock = self._lock(previous)
        venv = self._environment(lock)
        digest = content.digest(self.files, *environments.machine(), lock.text)
        if not self._is_here(digest):
            self._keep(digest, lock, venv)
        return digest

    def _lock(self, previous: str) -> Lock:
        if self.manifest.requirements is None:
            return Lock()
        self._begin("Resolving requirements", 0.1)
        return self.uv.compile(self.files, self.manifest.requirements, self.stage / "requirements.lock", previous)

    def _environment(self, lock: Lock) -> Path:
        venv = self.places.venvs / environments.key(lock)
        if environments.is_usable(venv):
            return venv
        if venv.is_dir():
            self.places.throw_away(venv)  # the Python that it points at is gone
        self._begin("Installing packages", 0.2, (FETCHED - 0.2) / max(1, lock.count))
        made = self.stage / "venv"
        self.uv.install(lock, made, self.files, self.stage / "install.txt")
        content.seal_folders(made)
        made.rename(venv)
        return venv

    def _is_here(self, digest: str) -> bool:
        """An image that is here stays as it is: engines may be running it. One that is damaged is made again."""
        kept = self.places.content(digest)
        if not kept.is_dir():
            return False
        try:
            if records.read(kept / records.FILE_NAME, Record) is not None:
                return True
        except ImageError:
            pass
        self.places.throw_away(kept)
        return False

    def _keep(self, digest: str, lock: Lock, venv: Path) -> None:
        self._begin("Compiling", 0.9)
        environments.compile_bytecode(venv, self.files)
        whole = self.stage / "image"
        whole.mkdir()
        (whole / "requirements.lock").write_text(lock.text, encoding="utf-8")
        size = content.size(self.files) + content.size(venv)
        made = self.manifest
        record = Record(digest, made.entrypoint, made.environment, made.labels, venv.name, time.time(), size)
        records.write(whole / records.FILE_NAME, record)
        self.files.rename(whole / "files")
        content.seal(whole / "files")
        whole.rename(self.places.content(digest))

    def _begin(self, name: str, fraction: float, share: float = 0.0) -> None:
        self.step, self.share = Step(name, fraction), share
        self.progress(self.step)

    def _hear(self, line: str) -> None:
        """uv's lines move the bar: it says of each package when it is there, and of all when a phase is over."""
        word = line.split(maxsplit=1)[0] if line.strip() else ""
        fraction = self.step.fraction
        if self.share and word in {"Downloaded", "Built"}:
            fraction = max(fraction, min(FETCHED, fraction + self.share))
        elif self.share:
            fraction = max(fraction, MILESTONES.get(word, 0.0))
        self.step = Step(self.step.name, fraction, line)
        self.progress(self.step)
