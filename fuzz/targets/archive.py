"""An archive made of chosen members, or broken bytes, unpacked beside things that nobody may touch.

Nothing but an `ArtifactError` is raised; nothing outside the folder is created, changed or reachable through a link;
there are no devices and no set-id bits; the bound on sizes holds; and nothing is left once it is thrown away.
"""

import gzip
import io
import os
import stat
import tarfile
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from fuzz.choices import Choices, pack
from fuzz.findings import require
from fuzz.target import Target
from polyport.artifacts import archives, tree
from polyport.artifacts.tree import Room, Tree
from polyport.errors import ArtifactError

#: Bytes that one archive may unpack to, and members.
ROOM = 40_000
MEMBERS = 64
BLOCK = tarfile.BLOCKSIZE
RECIPE, TAR, GZIP = range(3)
KINDS = (
    *(tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.AREGTYPE, tarfile.CHRTYPE),
    *(tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, b"V", b"x"),
)
MODES = (0o644, 0o755, 0o4755, 0o2755, 0o1777, 0)
SIZES = (0, 1, 511, 512, 513, 20_000, 50_000)
FORMATS = (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT)
SECRET = b"of the neighbour"
SEPARATOR = b";"


class Place(NamedTuple):
    """Where an archive is unpacked (``into``), and beside it what is not its."""

    root: Path
    into: Path
    neighbour: Path


def check(data: bytes) -> None:
    """A recipe of members, a tar, or a gzip stream."""
    choices = Choices(data)
    packed = _packed(choices)
    with _place() as place, mock.patch.multiple(archives, MAX_MEMBERS=MEMBERS), mock.patch.object(tree, "RESERVE", 0):
        before = _look(place.root)
        room = Room(place.into, ROOM)
        is_refused = False
        try:
            into = Tree(place.into, room)
            archives.unpack(io.BytesIO(packed), into)
            into.seal()
        except ArtifactError as error:
            is_refused = True
            require(str(error) and len(str(error)) < 5000, "refused without a word, or with too many")
        _check_outside(before, place)
        _check_inside(place)
        if not is_refused:
            require(packed.startswith(b"\x1f\x8b"), "taken, and no gzip")
        tree.discard(place.into)
        require(not os.path.lexists(place.into), f"left behind: {list(place.into.rglob('*'))}")
        _check_outside(before, place)


@contextmanager
def _place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="polyport-fuzz-") as folder:
        root = Path(folder)
        into, neighbour = root / "a" / "into", root / "a" / "neighbour"
        into.mkdir(parents=True)
        neighbour.mkdir()
        (neighbour / "secret").write_bytes(SECRET)
        (root / "a" / "link").symlink_to("neighbour")
        yield Place(root, into, neighbour)


def _look(root: Path) -> dict[str, tuple[int, int, int, bytes]]:
    """Everything below but what was unpacked: mode, links, time of the last change, content."""
    found = {}
    for folder, names, files in os.walk(root):
        names[:] = [name for name in names if name != "into"]
        for name in (*names, *files):
            path = os.path.join(folder, name)  # noqa: PTH118  # called for every input
            about = os.lstat(path)
            content = Path(path).read_bytes() if stat.S_ISREG(about.st_mode) else b""
            # A folder has as many links as folders in it.
            found[path] = about.st_mode, about.st_nlink if content else 0, about.st_mtime_ns if content else 0, content
    return found


def _check_outside(before: dict[str, tuple[int, int, int, bytes]], place: Place) -> None:
    after = _look(place.root)
    require(after == before, f"outside of its folder: {before.items() ^ after.items()}")


def _check_inside(place: Place) -> None:
    size = count = 0
    for folder, names, files in os.walk(place.into):
        for name in (*names, *files):
            path = Path(folder) / name
            about = path.lstat()
            kind = about.st_mode
            require(stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind), f"{path} is of mode {kind:o}")
            if stat.S_ISLNK(kind):
                _check_link(path, place)
                continue
            require(not kind & (stat.S_ISUID | stat.S_ISGID | stat.S_IWGRP | stat.S_IWOTH), f"{path} has mode {kind:o}")
            if stat.S_ISREG(kind):
                size += about.st_size // about.st_nlink
                require(SECRET not in path.read_bytes(), f"{path} has what is the neighbour's")
            count += 1
    require(size <= ROOM, f"unpacks to {size} bytes")
    # Each member may bring folders that it is in.
    require(count <= MEMBERS * (tree.MAX_DEPTH + 1), f"{count} files and folders")


def _check_link(path: Path, place: Place) -> None:
    """Where the system says it leads, if anywhere."""
    try:
        leads = Path(os.path.realpath(path))
    except OSError:
        return
    require(leads == place.into.resolve() or leads.is_relative_to(place.into.resolve()), f"{path} leads to {leads}")


def _packed(choices: Choices) -> bytes:
    way, form, damage = choices.below(3), choices.below(len(FORMATS)), choices.below(4)
    if way == GZIP:
        return choices.payload
    if way == TAR:
        return gzip.compress(choices.payload, 1, mtime=0)
    plain = bytearray(_tar(choices.payload, FORMATS[form]))
    # Changes within the headers; half of them with the checksum made right again.
    for _ in range(damage):
        at = (choices.below(256) * 256 + choices.below(256)) % len(plain)
        plain[at] = choices.below(256)
        if damage % 2:
            _mend(plain, at - at % BLOCK)
    packed = gzip.compress(bytes(plain), 1, mtime=0)
    return packed if choices.below(8) != 7 else packed[: choices.below(256) * len(packed) // 256]


def _mend(plain: bytearray, start: int) -> None:
    """A header's checksum."""
    block = plain[start : start + BLOCK]
    if block[257:262] == b"ustar":
        block[148:156] = b" " * 8
        plain[start + 148 : start + 156] = b"%06o\0 " % sum(block)


def _tar(recipe: bytes, form: int) -> bytes:
    """Members, one a line: a byte each that chooses kind, mode and size; name; target of a link; extended header."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=form, errors="surrogateescape", encoding="utf-8") as archive:
        for line in recipe.split(b"\n")[: MEMBERS + 8]:
            head, rest = line[:3].ljust(3, b"0"), line[3:]
            name, _, rest = rest.partition(SEPARATOR)
            target, _, extended = rest.partition(SEPARATOR)
            info = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            info.type = KINDS[head[0] % len(KINDS)]
            info.mode = MODES[head[1] % len(MODES)]
            size = SIZES[head[2] % len(SIZES)] if info.type in (tarfile.REGTYPE, tarfile.AREGTYPE) else 0
            info.size = size
            info.linkname = target.decode("utf-8", "surrogateescape")
            key, is_pair, value = extended.partition(b"=")
            if is_pair and form == tarfile.PAX_FORMAT:
                info.pax_headers = {key.decode("utf-8", "replace"): value.decode("utf-8", "replace")}
            try:
                archive.addfile(info, io.BytesIO(b"c" * size))
            except (ValueError, UnicodeError, OverflowError):
                # This format has no place for such a name.
                continue
    return plain.getvalue()


def _line(kind: int, name: str, target: str = "", extended: str = "", mode: int = 0, size: int = 1) -> bytes:
    return bytes([48 + kind, 48 + mode, 49 + size]) + f"{name};{target};{extended}".encode()


def _seeds() -> list[bytes]:
    file, folder, soft, hard, device = 0, 1, 2, 3, 5
    recipes = [
        [_line(file, "model/weights.bin", size=4), _line(folder, "empty"), _line(soft, "latest", "model/weights.bin")],
        [_line(file, "a", mode=2), _line(hard, "b", "a"), _line(soft, "c/d", "../a")],
        [_line(soft, "l", "../neighbour"), _line(file, "l/secret")],
        [_line(soft, "l", "."), _line(soft, "l/m", ".."), _line(file, "l/m/x")],
        [_line(file, "../neighbour/secret"), _line(file, "/tmp/polyport-fuzz-x")],  # noqa: S108  # must not be made
        [_line(hard, "h", "../neighbour/secret"), _line(device, "tty"), _line(7, "pipe")],
        [_line(file, "a", extended="path=../x"), _line(soft, "b", extended="linkpath=/etc/passwd")],
        [_line(file, "a", extended="size=99999"), _line(file, "b", extended="GNU.sparse.map=0,1"), _line(9, "s")],
        [_line(file, f"f{number}", size=5) for number in range(4)],
        [_line(file, "n" * 120), _line(file, "d/" * 60 + "x"), _line(file, "\u00e4" * 60)],
        [_line(file, "a"), _line(file, "a"), _line(file, "a/b"), _line(folder, "a")],
    ]
    made = [
        pack(b"\n".join(recipe), RECIPE, form, damage, 0, 100, 7)
        for recipe in recipes
        for form in range(3)
        for damage in range(3)
    ]
    tars = [_tar(b"\n".join(recipe), tarfile.PAX_FORMAT)[: 4 * BLOCK] + bytes(2 * BLOCK) for recipe in recipes[:3]]
    made += [pack(one, TAR) for one in tars] + [pack(gzip.compress(one, 1, mtime=0), GZIP) for one in tars]
    return [*made, pack(zlib.compress(tars[0]), GZIP), pack(b"", GZIP)]


TOKENS = (
    *(
        b"\n",
        b";",
        b"/",
        b"..",
        b"../",
        b".",
        b"./",
        b"//",
        b"\0",
        b" ",
        b"=",
        b"path=",
        b"linkpath=",
        b"size=",
        b"-1",
        b"0",
    ),
    *(
        b"GNU.sparse.map=",
        b"GNU.sparse.realsize=",
        b"hdrcharset=BINARY",
        b"mtime=nan",
        b"uid=9",
        b"a",
        b"a/b",
        b"neighbour/secret",
    ),
    *(
        b"../neighbour",
        b"../../a/link",
        b"/etc/passwd",
        b"ustar\x0000",
        b"ustar  \0",
        b"\x80\0\0\0",
        b"\xff" * 12,
        b"\0" * 512,
    ),
    *(b"\x1f\x8b", b"000", b"111", b"211", b"311", b"7777777"),
)
TARGET = Target("archive", check, _seeds, TOKENS, longest=8192)
