"""The values of the images room, and how they are kept: JSON that is written whole or not at all."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from polyport.errors import ImageError
from polyport.images import interpreters, references

FILE_NAME = "image.json"
BIND_LABEL = "com.amazonaws.sagemaker.capabilities.accept-bind-to-port"

T = TypeVar("T")


class Step(msgspec.Struct, frozen=True):
    """How far a build is: what it does, the fraction done (0 to 1), and the latest line that uv printed, if any."""

    name: str
    fraction: float
    detail: str = ""


Progress = Callable[[Step], None]


class ProcessImage(msgspec.Struct, frozen=True):
    """An image as engines need it. ``command`` is the whole argument vector; ``environment`` has the image's own Python
    first in ``PATH``; relative paths in ``command`` are meant from ``folder``. ``size`` is in bytes, with the virtual
    environment, which others may share; ``created_at`` in epoch seconds."""

    name: str
    digest: str
    folder: Path
    venv: Path
    command: tuple[str, ...]
    environment: dict[str, str]
    labels: dict[str, str]
    created_at: float
    size: int

    @property
    def reference(self) -> str:
        """``repository@sha256:...``: exactly this content, whatever the tag will mean later. `resolve` takes it."""
        name = self.name.partition("@")[0]
        return f"{name if references.pinned(self.name) else references.parse(name).repository}@{self.digest}"

    @property
    def paths(self) -> tuple[Path, ...]:
        """What its programs read besides ``folder``: the environment, and the Python that it was made from."""
        return (self.venv, *interpreters.find(self.venv / "bin" / "python"))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What works here and would not on AWS."""
        if self.labels.get(BIND_LABEL) == "true":
            return ()
        consequence = "SageMaker would refuse it in an endpoint with several containers."
        return (f"{self.name} has no label {BIND_LABEL}=true: {consequence}",)


class Record(msgspec.Struct, frozen=True):
    """`image.json`. ``venv`` is the name of its folder."""

    digest: str
    entrypoint: tuple[str, ...]
    environment: dict[str, str]
    labels: dict[str, str]
    venv: str
    created_at: float
    size: int


class Index(msgspec.Struct):
    """`index.json`: tag to digest, pattern to name."""

    tags: dict[str, str] = {}
    aliases: dict[str, str] = {}


def write(path: Path, value: msgspec.Struct) -> None:
    """All of it or nothing, also when the power goes."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(value), indent=2))
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def read(path: Path, kind: type[T]) -> T | None:
    """``None`` when there is no such file. Raises `ImageError` naming a file that is damaged."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"{path} is damaged: {error}") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
