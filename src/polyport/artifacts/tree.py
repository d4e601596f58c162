"""A folder being filled with names that strangers chose."""

import errno
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path

from polyport.errors import ArtifactError

MAX_NAME = 255
MAX_PATH = 1024
MAX_DEPTH = 100
#: Bytes that stay free on the disk, for the database and the logs.
RESERVE = 256 * 1024**2
#: Bytes written between two looks at the free space.
LOOK_EVERY = 64 * 1024**2

Parts = tuple[str, ...]


def check_part(part: str) -> None:
    """SageMaker's rules for a file or folder name; raises `ArtifactError`."""
    if not part.strip():
        raise ArtifactError("an empty name")
    if "\0" in part:
        raise ArtifactError(f"a NUL in the name {part!r}")
    if part in {".", ".."}:
        raise ArtifactError(f"the name {part!r}")
    if len(os.fsencode(part)) > MAX_NAME:
        raise ArtifactError(f"a name of more than {MAX_NAME} bytes: {part[:40]!r}...")


def check_path(parts: Sequence[str]) -> None:
    """The rules for a whole path, part by part and together."""
    for part in parts:
        check_part(part)
    if len(parts) > MAX_DEPTH:
        raise ArtifactError(f"more than {MAX_DEPTH} folders deep")
    if len(os.fsencode("/".join(parts))) > MAX_PATH:
        raise ArtifactError(f"a path of more than {MAX_PATH} bytes")


class Room:
    """How much may still be written below ``folder``: a bound on the sum, and the disk's free space."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder = folder
        self.max_bytes = max_bytes
        self.taken = 0
        self.looked_at = 0
        self.look(0)

    def take(self, size: int) -> None:
        """Before ``size`` bytes are written. Raises when there is no room."""
        self.taken += size
        self.check_sum(0)
        if self.taken - self.looked_at >= LOOK_EVERY:
            self.look(0)

    def check_sum(self, coming: int) -> None:
        """Would ``coming`` further bytes pass the bound?"""
        if self.taken + coming > self.max_bytes:
            raise ArtifactError(f"more than {self.max_bytes} bytes (the setting max_model_bytes)")

    def look(self, coming: int) -> None:
        """Is there free space for ``coming`` further bytes?"""
        self.looked_at = self.taken
        free = shutil.disk_usage(self.folder).free
        if coming + RESERVE > free:
            raise ArtifactError(f"the disk of {self.folder} is too full: {free} bytes are free")


class Kind(Enum):
    """What is at a path."""

    FOLDER = auto()
    FILE = auto()
    LINK = auto()


class Tree:
    """Fills ``root``, an empty folder of our own. Files and folders first, then hard links, then, all at once, symbolic
    links: until then there is no link that a path could go through, so none has to be looked for on the disk.
    """

    def __init__(self, root: Path, room: Room) -> None:
        self.root = root
        self.room = room
        self.kinds: dict[Parts, Kind] = {(): Kind.FOLDER}

    def add_folder(self, parts: Parts) -> None:
        """With its parents; being there already is fine."""
        for depth in range(1, len(parts) + 1):
            path = parts[:depth]
            kind = self.kinds.get(path)
            if kind is None:
                self._path(path).mkdir(mode=0o700)
                self.kinds[path] = Kind.FOLDER
            elif kind is not Kind.FOLDER:
                raise ArtifactError(f"{'/'.join(path)!r} is there twice, as a folder and as something else")

    def add_file(self, parts: Parts, chunks: Iterable[bytes], size: int | None, *, executable: bool = False) -> None:
        """A file of a known or unknown ``size``. A later one of the same name replaces the earlier, as tar has it."""
        self.add_folder(parts[:-1])
        if self.kinds.get(parts, Kind.FILE) is not Kind.FILE:
            raise ArtifactError("it is there twice, as a file and as something else")
        self.room.check_sum(size or 0)
        self.room.look(size or 0)
        path = self._path(parts)
        if parts in self.kinds:
            path.unlink()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        with os.fdopen(os.open(path, flags, 0o600), "wb", buffering=0) as file:
            self.kinds[parts] = Kind.FILE
            for chunk in chunks:
                self.room.take(len(chunk))
                _write(file.fileno(), chunk)
            os.fchmod(file.fileno(), 0o555 if executable else 0o444)

    def add_hard_link(self, parts: Parts, target: Parts) -> None:
        """A second name for a file of this tree."""
        if self.kinds.get(target) is not Kind.FILE:
            raise ArtifactError(f"a hard link to {'/'.join(target)!r}, which is not a file of this archive")
        self.add_folder(parts[:-1])
        self._claim(parts, Kind.FILE)
        os.link(self._path(target), self._path(parts), follow_symlinks=False)

    def add_symlinks(self, links: dict[Parts, str]) -> None:
        """All of them, checked against each other before the first is made. Nothing may be added afterwards."""
        for parts in links:
            with naming(parts):
                self.add_folder(parts[:-1])
                self._claim(parts, Kind.LINK)
        for parts, target in links.items():
            with naming(parts):
                self._check_target(parts, target)
        for parts, target in links.items():
            self._path(parts).symlink_to(target)

    def seal(self) -> None:
        """Folders become read-only, the deepest first; files have been since they were written. ``root`` itself is left
        to the caller, who still has to move it."""
        for parts in sorted(self.kinds, key=len, reverse=True):
            if parts and self.kinds[parts] is Kind.FOLDER:
                self._path(parts).chmod(0o555)

    def _path(self, parts: Parts) -> Path:
        return self.root.joinpath(*parts)

    def _claim(self, parts: Parts, kind: Kind) -> None:
        if parts in self.kinds:
            raise ArtifactError("it is there twice")
        self.kinds[parts] = kind

    def _check_target(self, parts: Parts, target: str) -> None:
        """Follows the target step by step, on paper. It may be missing, or be a link that is checked itself, but no
        step may go above the root or on from a link: where that leads is not what the text says."""
        if not target or target.startswith("/") or "\0" in target:
            raise ArtifactError(f"a link to {target!r}, which is not a relative path")
        here = parts[:-1]
        for step in target.split("/"):
            if step in {"", "."}:
                continue
            if self.kinds.get(here) is Kind.LINK:
                raise ArtifactError(f"a link to {target!r}, which goes through the link {'/'.join(here)!r}")
            if step == ".." and not here:
                raise ArtifactError(f"a link to {target!r}, which leaves the archive")
            here = here[:-1] if step == ".." else (*here, step)
        if here:
            check_path(here)


def discard(folder: Path) -> None:
    """Deletes a tree, read-only or not. What cannot be deleted stays; a later sweep tries again."""
    if not folder.is_dir():
        return
    folder.chmod(0o700)
    for path, names, _ in os.walk(folder):
        for name in names:
            below = Path(path) / name
            if not below.is_symlink():
                below.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def naming(parts: Parts | str) -> Iterator[None]:
    """Puts the member's name before the reason."""
    try:
        yield
    except ArtifactError as error:
        name = parts if isinstance(parts, str) else "/".join(parts)
        raise ArtifactError(f"{_brief(name)!r}: {error}") from error


def explain(error: OSError) -> str:
    """An operating system's error in words, the full disk first of all."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return "the disk is full"
    return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"


def _brief(name: str) -> str:
    return name if len(name) <= 200 else f"{name[:200]}..."


def _write(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
