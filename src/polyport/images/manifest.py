"""`image.toml`: what a process image is."""

import re
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta

from polyport.errors import ImageError

FILE_NAME = "image.toml"

#: No NUL: neither arguments nor environments can hold one.
Text = Annotated[str, Meta(pattern=r"^[^\x00]*\Z")]
Word = Annotated[str, Meta(min_length=1, pattern=r"^[^\x00]+\Z")]
Variable = Annotated[str, Meta(pattern=r"^[a-zA-Z_][a-zA-Z0-9_]*\Z")]

EXPECTED = {
    "entrypoint": "a list of one or more non-empty strings",
    "requirements": "the path of a requirements file inside the folder",
    "environment": "a table of strings, each name of letters, digits and underscores",
    "labels": "a table of strings",
}


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The keys of `image.toml`."""

    entrypoint: Annotated[tuple[Word, ...], Meta(min_length=1)]
    requirements: Word | None = None
    environment: dict[Variable, Text] = {}
    labels: dict[Word, Text] = {}


def read(folder: Path) -> Manifest:
    """Raises `ImageError` naming the file, the key and what is expected."""
    path = folder / FILE_NAME
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=Manifest)
    except FileNotFoundError as error:
        raise ImageError(f"{folder} has no {FILE_NAME}, so it is not the folder of an image") from error
    except msgspec.ValidationError as error:
        raise ImageError(_explain(path, str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ImageError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise ImageError(f"{path} cannot be read: {error.strerror}") from error
    if found.requirements is not None:
        _check_requirements(path, folder, found.requirements)
    return found


def _check_requirements(path: Path, folder: Path, name: str) -> None:
    file = folder / name
    if Path(name).is_absolute() or not file.resolve().is_relative_to(folder.resolve()):
        raise ImageError(f"{path}: requirements: expected {EXPECTED['requirements']}, got {name!r}, which is outside")
    if not file.is_file():
        raise ImageError(f"{path}: requirements: there is no file {file}")


def _explain(path: Path, message: str) -> str:
    """msgspec says what and, after ``at``, where: ``Expected `str`, got `int` - at `$.labels[...]```."""
    problem, _, where = message.partition(" - at ")
    key = re.search(r"\$\.(\w+)", where)
    if key and key[1] in EXPECTED:
        return f"{path}: {key[1]}: expected {EXPECTED[key[1]]}; {problem}"
    known = "; ".join(f"{name}: {what}" for name, what in EXPECTED.items())
    return f"{path}: {problem}. Known keys are {known}"
