"""Unpacks gzip-compressed tar archives that may be broken or hostile.

`tarfile` reads the headers and nothing else: its own extraction follows links that earlier members made, and its reader
asks for whatever sizes a header claims. So it reads through `Guard`, and what it reports goes through `tree`.
"""

import gzip
import re
import tarfile
import zlib
from collections.abc import Iterator
from typing import IO, Any, cast

from polyport.artifacts import tree
from polyport.artifacts.backend import CHUNK, Reader
from polyport.artifacts.tree import Parts, Tree
from polyport.errors import ArtifactError

MAGIC = b"\x1f\x8b"
MAX_MEMBERS = 250_000
#: Bytes of headers that one member may have: a longest name and link several times over. tarfile reads extended headers
#: recursively and whole; this bounds its memory and its stack.
MAX_HEADER = 32 * 1024
#: Bytes after the end marker: padding up to tar's largest usual record.
MAX_PADDING = 16 * 1024**2
#: A name holds at most 255 bytes, so this is no header of ours; tarfile searches digits in quadratic time.
MANY_DIGITS = re.compile(rb"[0-9]{300}")
MALFORMED = (
    tarfile.TarError,
    zlib.error,
    gzip.BadGzipFile,
    EOFError,
    ValueError,
    LookupError,
    OverflowError,
    RecursionError,
)
REGULAR = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}


class Guard:
    """What tarfile reads from: forwards only, little at a time, no further than ``limit`` bytes."""

    def __init__(self, plain: Reader, limit: int) -> None:
        self.plain = plain
        self.limit = limit
        self.position = 0
        self.allowance = MAX_HEADER
        self.last = b""

    def begin_header(self) -> None:
        """From here on a new member's headers are read."""
        self.allowance = MAX_HEADER

    def read(self, size: int = -1) -> bytes:
        """Header bytes."""
        if not 0 <= size <= self.allowance:
            raise ArtifactError(f"a header of more than {MAX_HEADER} bytes")
        self.last = self._advance(size)
        self.allowance -= len(self.last)
        if MANY_DIGITS.search(self.last):
            raise ArtifactError("a malformed header")
        return self.last

    def tell(self) -> int:
        """Bytes read so far."""
        return self.position

    def seek(self, offset: int, _whence: int = 0) -> int:
        """Forwards, by reading. A negative size in a header would send tarfile backwards, for ever."""
        if offset < self.position:
            raise ArtifactError("a malformed header: the next member begins before this one")
        while self.position < offset and self._advance(min(CHUNK, offset - self.position)):
            pass
        return self.position

    def content(self, size: int) -> Iterator[bytes]:
        """The ``size`` bytes that follow. Raises when the archive ends within them."""
        while size:
            chunk = self._advance(min(CHUNK, size))
            if not chunk:
                raise ArtifactError("the archive ends within this file; it is truncated")
            size -= len(chunk)
            yield chunk

    def finish(self) -> None:
        """After the last member: the end marker, padding, and the checksum, which gzip compares at its very end.

        tarfile takes a damaged header in the middle for the end; a real end is a block of zeros, or nothing at all.
        """
        if self.last and (len(self.last) != tarfile.BLOCKSIZE or any(self.last)):
            raise ArtifactError("the archive is damaged: a header in the middle cannot be read")
        end = self.position + MAX_PADDING
        while self._advance(CHUNK):
            if self.position > end:
                raise ArtifactError(f"more than {MAX_PADDING} bytes follow the end of the archive")

    def _advance(self, size: int) -> bytes:
        data = self.plain.read(size)
        self.position += len(data)
        if self.position > self.limit:
            raise ArtifactError(f"it unpacks to more than {self.limit} bytes")
        return data


def unpack(raw: Reader, into: Tree) -> None:
    """Reads ``raw`` to its end and fills ``into``. Raises `ArtifactError` naming the member and the reason; what was
    written until then is the caller's to throw away.

    Refused, never mended: absolute names and ``..``, devices, FIFOs, sparse files, links to outside or through links,
    names too long, one path as two kinds of thing, anything truncated or damaged. Set-user-id bits are dropped.
    """
    limit = into.room.max_bytes + MAX_MEMBERS * tarfile.BLOCKSIZE + MAX_PADDING
    try:
        with gzip.GzipFile(fileobj=cast("IO[bytes]", raw), mode="rb") as plain:
            _check_magic(plain)
            guard = Guard(plain, limit)
            _unpack(guard, into)
            guard.finish()
    except MALFORMED as error:
        raise ArtifactError(f"the archive is damaged or truncated: {str(error) or type(error).__name__}") from error


def check_magic(head: bytes) -> None:
    """Raises unless these first bytes are those of a gzip file."""
    if not head.startswith(MAGIC):
        raise ArtifactError("it is not gzip-compressed; expected a .tar.gz, as `tar -czf model.tar.gz ...` makes it")


def _check_magic(plain: gzip.GzipFile) -> None:
    try:
        head = plain.peek(1)
    except gzip.BadGzipFile:
        check_magic(b"")
    else:
        if not head:
            raise ArtifactError("it is empty")


def _unpack(guard: Guard, into: Tree) -> None:
    hard: list[tuple[Parts, Parts]] = []
    soft: dict[Parts, str] = {}
    for member in _members(guard):
        with tree.naming(member.name):
            parts = _parts(member.name)
            if member.issym():
                if parts in soft:
                    raise ArtifactError("it is there twice")
                soft[parts] = _link_target(member.linkname)
            elif member.islnk():
                hard.append((parts, _parts(member.linkname)))
            else:
                _add(guard, into, member, parts)
    for parts, target in hard:
        with tree.naming(parts):
            into.add_hard_link(parts, target)
    into.add_symlinks(soft)


def _members(guard: Guard) -> Iterator[tarfile.TarInfo]:
    file = cast("IO[bytes]", guard)
    try:
        archive: Any = tarfile.TarFile(fileobj=file, encoding="utf-8", errors="surrogateescape", errorlevel=2)
    except tarfile.ReadError as error:
        raise ArtifactError(f"it is gzip-compressed but holds no tar archive: {error}") from error
    for _ in range(MAX_MEMBERS):
        guard.begin_header()
        member = archive.next()
        if member is None:
            return
        archive.members.clear()  # it would keep them all
        yield member
    raise ArtifactError(f"more than {MAX_MEMBERS} members")


def _add(guard: Guard, into: Tree, member: tarfile.TarInfo, parts: Parts) -> None:
    if member.issparse() or any(key.startswith("GNU.sparse.") for key in member.pax_headers):
        raise ArtifactError("a sparse file; pack without --sparse")
    if member.isdir():
        into.add_folder(parts)
    elif member.type not in REGULAR:
        raise ArtifactError(
            f"{_KINDS.get(member.type, 'a member of an unknown type')}; expected files, folders and links"
        )
    elif not parts:
        raise ArtifactError("a file without a name")
    elif member.size < 0:
        raise ArtifactError("a negative size")
    else:
        guard.seek(member.offset_data)
        into.add_file(parts, guard.content(member.size), member.size, executable=bool(member.mode & 0o100))


_KINDS = {tarfile.CHRTYPE: "a character device", tarfile.BLKTYPE: "a block device", tarfile.FIFOTYPE: "a FIFO"}


def _parts(name: str) -> Parts:
    """``./a//b/`` is ``a/b``, as for every program; what leaves the folder is refused."""
    if name.startswith("/"):
        raise ArtifactError("an absolute name")
    parts = tuple(part for part in name.split("/") if part not in {"", "."})
    tree.check_path(parts)
    return parts


def _link_target(target: str) -> str:
    if len(target) > tree.MAX_PATH:
        raise ArtifactError(f"a link to a path of more than {tree.MAX_PATH} bytes")
    return target
