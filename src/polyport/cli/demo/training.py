"""Trains the two models, each with the Python of its own image, and packs them as SageMaker wants them."""

import gzip
import io
import json
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

import msgspec

from polyport.cli.demo.client import Rows
from polyport.errors import UsageError
from polyport.images.registry import ProcessImage


class Call(msgspec.Struct, frozen=True):
    """Rows to send, and what the model answered in the process that trained it."""

    rows: Rows
    answer: Rows


class Trained(msgspec.Struct, frozen=True):
    """A model after training: ``folder`` holds ``model/`` and ``model.tar.gz``."""

    name: str
    folder: Path
    calls: tuple[Call, ...]
    versions: dict[str, str]

    @property
    def archive(self) -> Path:
        """What goes into the bucket."""
        return self.folder / "model.tar.gz"


def train(name: str, image: ProcessImage, out: Path, first: Trained | None = None) -> Trained:
    """Run the image's ``train.py``; ``first`` is the model whose output this one learns from. Raises `UsageError`."""
    script = [str(image.folder / "train.py"), str(out), *([str(first.folder)] if first else [])]
    result = subprocess.run(
        [python(image), *script],
        env=image.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise UsageError(explain(name, result.stderr))
    return finish(name, out)


def finish(name: str, out: Path) -> Trained:
    """Read and pack what ``train.py`` left in the folder ``out``."""
    trained = Trained(
        name,
        out,
        msgspec.json.decode((out / "calls.json").read_bytes(), type=tuple[Call, ...]),
        json.loads((out / "versions.json").read_text(encoding="utf-8")),
    )
    pack(out / "model", trained.archive)
    return trained


def python(image: ProcessImage) -> str:
    """The image's own interpreter."""
    return str(image.venv / "bin" / "python")


def explain(name: str, stderr: str) -> str:
    """Why training ended badly, for the user. A library that pip cannot install is named with its remedy."""
    last = stderr.strip().splitlines()[-1:] or ["it printed nothing"]
    if "libgomp.so.1" in stderr:
        return (
            f"The image {name} needs the system library libgomp.so.1, which comes with gcc. "
            "Install it (Debian, Ubuntu: apt-get install libgomp1; Fedora: dnf install libgomp) and run the demo again."
        )
    return f"Training in the image {name} failed: {last[0]}"


def pack(folder: Path, archive: Path) -> None:
    """``model.tar.gz``, the same bytes every time for the same files."""
    with (
        archive.open("wb") as file,
        gzip.GzipFile("", "wb", fileobj=file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w") as tar,
    ):
        for path in sorted(folder.iterdir()):
            member = tarfile.TarInfo(path.name)
            data = path.read_bytes()
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def conflicts(models: Mapping[str, Trained]) -> str:
    """The libraries that the models have in different versions: ``numpy 1.26.4 and 2.3.5``."""
    versions = [model.versions for model in models.values()]
    shared = set.intersection(*(set(each) for each in versions))
    found = {library: [each[library] for each in versions] for library in sorted(shared)}
    return "; ".join(f"{library} {' and '.join(each)}" for library, each in found.items() if len(set(each)) > 1)
