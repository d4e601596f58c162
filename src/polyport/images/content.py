"""The files of an image: copied once, hashed, and never changed again."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from polyport.errors import ImageError

#: Nobody means these to be part of an image.
LEFT_OUT = {".venv", "__pycache__", ".git"}


def copy(folder: Path, into: Path) -> None:
    """Copies the folder's files into ``into``, a folder that is not there yet. Times are kept: bytecode goes by them.

    Raises `ImageError` for links that leave the folder, and for anything but files, folders and links.
    """
    into.mkdir()
    _copy(folder, into, folder.resolve())


def digest(folder: Path, *further: str) -> str:
    """``sha256:...`` of all names, kinds and contents, and of ``further`` texts; times and owners do not count."""
    total = hashlib.sha256()
    for text in further:
        total.update(_framed(text.encode()))
    for path in sorted(_walk(folder), key=os.fsencode):
        total.update(_framed(os.fsencode(path.relative_to(folder))))
        total.update(_framed(_describe(path)))
    return f"sha256:{total.hexdigest()}"


def size(folder: Path) -> int:
    """Bytes of all files below."""
    return sum(path.lstat().st_size for path in _walk(folder) if not path.is_dir() or path.is_symlink())


def seal(folder: Path) -> None:
    """Takes the right to write from everybody: what shares an image must not change it for the others. Anybody may
    read: containers may run as other users than the one who builds."""
    for path in [folder, *_walk(folder)]:
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            path.chmod((mode & ~0o222) | (0o555 if mode & stat.S_IXUSR else 0o444))


def seal_folders(folder: Path) -> None:
    """The same for the folders below, but not ``folder`` itself, which is still to be moved. Files stay as they are:
    they may be hard links into uv's cache, which is the user's."""
    for path in _walk(folder):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o555)


def discard(folder: Path) -> None:
    """Deletes a folder, sealed or not."""
    if not folder.is_dir():
        return
    for path, _, _ in os.walk(folder):
        Path(path).chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _copy(folder: Path, into: Path, root: Path) -> None:
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        path, target = Path(entry.path), into / entry.name
        if entry.name in LEFT_OUT:
            continue
        if entry.is_symlink():
            _check_link(path, root)
            target.symlink_to(path.readlink())
        elif entry.is_dir():
            target.mkdir()
            _copy(path, target, root)
        elif entry.is_file():
            shutil.copy2(path, target)
        else:
            raise ImageError(f"{path} is neither a file nor a folder nor a link; an image holds nothing else")


def _check_link(path: Path, root: Path) -> None:
    target = path.readlink()
    if target.is_absolute() or not Path(os.path.realpath(path)).is_relative_to(root):
        raise ImageError(f"{path} is a link to {target}, which leaves the folder; an image holds all that it needs")


def _walk(folder: Path) -> Iterator[Path]:
    for path, folders, files in os.walk(folder):
        yield from (Path(path) / name for name in [*folders, *files])


def _describe(path: Path) -> bytes:
    if path.is_symlink():
        return b"link " + os.fsencode(path.readlink())
    if path.is_dir():
        return b"folder"
    kind = b"program " if path.stat().st_mode & stat.S_IXUSR else b"file "
    with path.open("rb") as file:
        return kind + hashlib.file_digest(file, "sha256").digest()


def _framed(data: bytes) -> bytes:
    """With its length before it: two neighbours can never be taken for two others."""
    return len(data).to_bytes(8, "big") + data
