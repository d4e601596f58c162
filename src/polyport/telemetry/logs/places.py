"""Where logs are: ``logs/ACCOUNT/REGION/ENDPOINT/VARIANT/INSTANCE/CONTAINER.log``, then ``CONTAINER.log.1`` ..."""

import re
from pathlib import Path

SUFFIX = ".log"
#: What the engines call the container of a model that has only one; its stream has no part for it.
PRIMARY = "primary"
_PART = re.compile(r"(.+\.log)(?:\.([0-9]{1,6}))?")


def component(label: str) -> str:
    """A label as the name of a folder: labels come from users, and what may not be in a file's name becomes ``_``."""
    return re.sub(r"[^A-Za-z0-9._-]|^\.", "_", label) or "_"


def rotated(path: Path, number: int) -> Path:
    """Where the ``number``-th older part of a log is."""
    return path.with_name(f"{path.name}.{number}")


def part_of(name: str) -> tuple[str, int] | None:
    """The log that a file belongs to, and which part it is (0: the newest); ``None`` for any other file."""
    match = _PART.fullmatch(name)
    return (match[1], int(match[2] or 0)) if match else None
