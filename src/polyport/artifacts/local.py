"""Objects that are files on this machine: a folder per bucket, or ``file://``."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from polyport.artifacts import backend, tree
from polyport.artifacts.backend import Item, Reader
from polyport.errors import ArtifactError

#: A file written less than this many seconds ago may be written again within the same tick of the file system's clock.
UNSETTLED = 0.1


class Folder:
    """The files below ``root`` as objects; ``key`` is relative to it. Nothing outside ``root`` is ever read, whatever
    keys and links say; ``root`` itself may be a link. ``hint`` ends the message about a missing object."""

    def __init__(self, root: Path, key: str, *, prefix: bool, hint: str = "") -> None:
        self.root = root
        self.key = key
        self.prefix = prefix
        self.hint = hint

    def find(self) -> tuple[Item, ...]:
        """See `Backend.find`."""
        if not self.root.is_dir():
            raise ArtifactError(f"there is no folder {self.root}{self.hint}")
        if not self.prefix:
            return (self._item(backend.last_segment(self.key), self.root / self._relative(self.key)),)
        backend.check_prefix(self.key)
        base = self.root / self._relative(self.key.removesuffix("/")) if self.key else self.root
        if not self._inside(base).is_dir():
            raise ArtifactError(f"there is no folder {base}{self.hint}")
        items = sorted(self._walk(base), key=lambda item: item.name)
        backend.check_count(len(items))
        return tuple(items)

    @contextmanager
    def open(self, item: Item) -> Iterator[Reader]:
        """See `Backend.open`."""
        with Path(item.address).open("rb", buffering=0) as file:
            before = _version(os.fstat(file.fileno()))
            yield file
            if _version(os.fstat(file.fileno())) != before or before != (item.version or before):
                raise ArtifactError(f"{item.name!r} changed while it was read")

    def _relative(self, key: str) -> str:
        for part in key.split("/"):
            tree.check_part(part)
        return key

    def _inside(self, path: Path) -> Path:
        real = real_path(path)
        if not real.is_relative_to(real_path(self.root)):
            raise ArtifactError(f"{path} is a link that leaves {self.root}")
        return real

    def _walk(self, base: Path) -> Iterator[Item]:
        for folder, names, files in os.walk(base, onerror=_raise):
            for name in names:
                if (Path(folder) / name).is_symlink():
                    raise ArtifactError(
                        f"{Path(folder) / name} is a link to a folder; links to files are followed only"
                    )
            for name in files:
                path = Path(folder) / name
                yield self._item(str(path.relative_to(base)), path)

    def _item(self, name: str, path: Path) -> Item:
        real = self._inside(path)
        try:
            found = real.stat()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise ArtifactError(f"there is no file {path}{self.hint}") from error
        if stat.S_ISDIR(found.st_mode):
            raise ArtifactError(f"{path} is a folder; expected a file (S3DataType S3Prefix takes folders)")
        if not stat.S_ISREG(found.st_mode):
            raise ArtifactError(f"{path} is not a regular file")
        settled = time.time() - found.st_mtime > UNSETTLED
        return Item(name, str(real), found.st_size, _version(found) if settled else None)


def real_path(path: Path) -> Path:
    """With all links followed; it may be missing. Not `Path.resolve`, which raises RuntimeError for a loop of links."""
    return Path(os.path.realpath(path))


def _raise(error: OSError) -> None:
    """`os.walk` would leave out what it cannot read."""
    raise error


def _version(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}-{found.st_dev}-{found.st_ino}"
