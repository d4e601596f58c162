"""What every place that model data comes from can do."""

from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from polyport.errors import ArtifactError

#: Bytes moved at a time.
CHUNK = 1024 * 1024
#: The most objects that one model may consist of.
MAX_OBJECTS = 250_000


class Item(msgspec.Struct, frozen=True):
    """One object. ``name`` is its path below the model folder; ``address`` is for its backend alone."""

    name: str
    address: str
    #: Bytes; ``None`` when the other side does not say.
    size: int | None = None
    #: Changes whenever the content does; ``None`` when that cannot be told without reading it.
    version: str | None = None


class Reader(Protocol):
    """The part of a binary file that reading an object needs."""

    def read(self, size: int, /) -> bytes:
        """At most ``size`` bytes; none at the end."""


class Backend(Protocol):
    """Finds and reads objects; blocking, called in threads. Raises `ArtifactError` without the URL, which the caller
    adds."""

    def find(self) -> tuple[Item, ...]:
        """The objects of the source: one, or those of a prefix sorted by name. Raises when there are none."""

    def open(self, item: Item) -> AbstractContextManager[Reader]:
        """The object's bytes. Raises, at the latest on leaving, when it is no longer the version that was found."""


def last_segment(key: str) -> str:
    """The file name that a single object gets. Raises for a key that ends in ``/`` or is empty."""
    name = key.rpartition("/")[2]
    if not name:
        raise ArtifactError("the URL names a folder; expected one object (S3DataType S3Prefix takes folders)")
    return name


def check_prefix(key: str) -> None:
    """A prefix ends in ``/``, so that ``model/1/`` never means ``model/10/`` too; the empty one is the whole bucket."""
    if key and not key.endswith("/"):
        raise ArtifactError("with S3DataType S3Prefix the URL must end in /")


def check_count(count: int) -> None:
    """Raises when there are none, or too many."""
    if not count:
        raise ArtifactError("there is no object under this prefix")
    if count > MAX_OBJECTS:
        raise ArtifactError(f"more than {MAX_OBJECTS} objects are under this prefix")
