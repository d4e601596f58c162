"""What the daemon gets for a build: one tar, the same bytes for the same files."""

import io
import re
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from polyport.errors import ImageError

DOCKERFILE = "Dockerfile"
IGNORE = ".dockerignore"


def pack(file: IO[bytes], parts: dict[str, Path], texts: dict[str, str]) -> None:
    """``parts`` maps a name in the tar to a folder or file, ``texts`` to a text."""
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, text in texts.items():
            _add_text(tar, name, text)
        for name, path in parts.items():
            _add(tar, name, path)
    file.seek(0)


def pack_folder(file: IO[bytes], folder: Path) -> None:
    """A folder with a Dockerfile of its own, without what its ``.dockerignore`` names. Raises `ImageError`."""
    rules = _rules(folder)
    with tarfile.open(fileobj=file, mode="w") as tar:
        for path in _below(folder):
            name = path.relative_to(folder).as_posix()
            if name in {DOCKERFILE, IGNORE} or not _is_ignored(name, rules):
                _add_one(tar, name, path)
    file.seek(0)


def _add(tar: tarfile.TarFile, name: str, path: Path) -> None:
    _add_one(tar, name, path)
    if path.is_dir():
        for below in _below(path):
            _add_one(tar, f"{name}/{below.relative_to(path).as_posix()}", below)


def _add_one(tar: tarfile.TarFile, name: str, path: Path) -> None:
    """Times and owners are not content: with them nothing would be found in the daemon's cache."""
    member = tar.gettarinfo(path, name)
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise ImageError(f"{path} is neither a file nor a folder nor a link; an image holds nothing else")
    if member.islnk():
        member.type, member.linkname, member.size = tarfile.REGTYPE, "", path.stat().st_size
    member.mtime = member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
    if member.isreg():
        with path.open("rb") as content:
            tar.addfile(member, content)
    else:
        tar.addfile(member)


def _add_text(tar: tarfile.TarFile, name: str, text: str) -> None:
    data = text.encode()
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _below(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        yield path
        if path.is_dir() and not path.is_symlink():
            yield from _below(path)


Rule = tuple[Callable[[str], object], bool]


def _rules(folder: Path) -> list[Rule]:
    """The lines of ``.dockerignore`` in order: a match, and whether it leaves out or (``!``) takes back in."""
    try:
        lines = (folder / IGNORE).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ImageError(f"{folder / IGNORE} cannot be read: {error}") from error
    rules: list[Rule] = []
    for line in lines:
        text = line.strip()
        if not text or text.startswith("#"):
            continue
        leaves_out = not text.startswith("!")
        pattern = text.lstrip("!").strip().strip("/")
        if pattern and pattern != ".":
            rules.append((re.compile(_expression(pattern)).fullmatch, leaves_out))
    return rules


def _is_ignored(name: str, rules: list[Rule]) -> bool:
    """The last rule that matches the path or a folder above it counts."""
    parts = name.split("/")
    paths = ["/".join(parts[:count]) for count in range(1, len(parts) + 1)]
    ignored = False
    for matches, leaves_out in rules:
        if any(matches(path) for path in paths):
            ignored = leaves_out
    return ignored


def _expression(pattern: str) -> str:
    """``*`` and ``?`` stop at a slash, ``**`` goes through any number of folders."""
    pieces = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern.removeprefix("./"))
    spelt = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(
        spelt.get(piece, piece if re.fullmatch(r"\[[^\]]+\]", piece) else re.escape(piece)) for piece in pieces
    )
