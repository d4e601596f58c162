"""Backups: what cannot be made again of a home, in one file.

In it are the database, the key file that its secrets are encrypted with, `polyport.toml`, and the files of TLS that lie
in the home. Images and model data are not: they are large, and are built, pulled or copied again. Nor are logs, caches
and instances.

The file is a compressed tar archive. Its first member, ``manifest.json``, has the size and the SHA-256 of all others.
"""

import hashlib
import io
import os
import secrets
import shutil
import tarfile
import tempfile
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO

import msgspec

import polyport
from polyport.access import vault
from polyport.errors import StoreError, UsageError
from polyport.server import home as homes
from polyport.settings import FILE_NAME, Settings
from polyport.store import copies

DATABASE = "polyport.db"
MANIFEST = "manifest.json"
#: Of the archive; a program refuses what it does not know.
FORMAT = 1
#: What SQLite keeps beside a database. It belongs to the one that is replaced.
BESIDE = ("-wal", "-shm", "-journal")
MAX_MANIFEST = 1024 * 1024
_CHUNK = 1024 * 1024


class Entry(msgspec.Struct, frozen=True):
    """One file. ``mode`` is that of the file system."""

    size: int
    sha256: str
    mode: int = 0o600


class Manifest(msgspec.Struct, frozen=True):
    """What is in a backup. ``files`` is by path below the home."""

    format: int
    polyport: str
    revision: str | None
    endpoints: int
    #: Epoch seconds.
    made_at: float
    files: dict[str, Entry]


class Restored(msgspec.Struct, frozen=True):
    """What a restore did. ``replaced`` is the folder with what was there before, if anything was."""

    manifest: Manifest
    replaced: Path | None


def backup(settings: Settings, target: Path) -> Manifest:
    """Write a backup of the home, whether a server runs on it or not. Mode 0600; whole or not at all.

    Raises `UsageError`, `StoreError`.
    """
    if target.exists():
        # Another backup may be replaced; whatever else there is was surely not meant.
        read_manifest(target)
    draft = target.with_name(f".{target.name}.{secrets.token_hex(8)}")
    try:
        with tempfile.TemporaryDirectory(prefix="polyport-backup-", dir=target.parent) as scratch:
            database = Path(scratch) / DATABASE
            found = copies.copy(settings.home / DATABASE, database)
            sources = {DATABASE: database, **_small_files(settings)}
            manifest = Manifest(
                format=FORMAT,
                polyport=polyport.__version__,
                revision=found.revision,
                endpoints=found.endpoints,
                made_at=round(time.time(), 3),
                files={name: _entry(path) for name, path in sources.items()},
            )
            _write(draft, manifest, sources)
        draft.replace(target)
        _sync(target.parent)
    except OSError as error:
        raise UsageError(f"The backup {target} cannot be written: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def read_manifest(source: Path) -> Manifest:
    """What a backup says of itself; its files are not looked at. Raises `UsageError`."""
    with _reading(source) as archive:
        return _manifest(source, archive)


def verify(source: Path) -> Manifest:
    """Read the whole archive and compare every file with its checksum. Raises `UsageError`."""
    with _reading(source) as archive:
        manifest = _manifest(source, archive)
        _check_names(source, manifest)
        seen = {}
        for member, content in _members(archive):
            seen[member.name] = (member.size, _digest(content))
    if seen != {name: (entry.size, entry.sha256) for name, entry in manifest.files.items()}:
        raise UsageError(f"{source} is damaged: its files are not those that were backed up. Use another backup.")
    if manifest.revision is not None and copies.is_newer(manifest.revision):
        raise UsageError(
            f"{source} was made by a newer Polyport ({manifest.polyport}, revision {manifest.revision}). "
            "Restore it with that version."
        )
    return manifest


def restore(settings: Settings, source: Path, *, force: bool = False) -> Restored:
    """Put the files of a backup into the home. What was there before is kept beside them.

    Everything is checked before anything of the home is touched. Raises `UsageError`: the archive is not sound, a
    server runs on the home, or (without ``force``) the home holds something already.
    """
    manifest = verify(source)
    home = settings.home
    there = _present(home, manifest)
    if there and not force:
        raise UsageError(
            f"The home {home} is not empty: it has {', '.join(there)}. To replace them, keeping what was there in a "
            f"folder beside it: polyport restore {source} --force."
        )
    homes.prepare(settings, unfinished=True)
    with homes.lock(settings):
        staging = home / homes.UNFINISHED_RESTORE
        try:
            _unpack(source, manifest, staging)
            # From here on a start is refused until all of it is in its place.
            replaced = _set_aside(home, manifest)
            _put(staging, home, manifest)
        except OSError as error:
            raise UsageError(f"{source} could not be restored: {error.strerror or error}.") from error
        shutil.rmtree(staging)
    return Restored(manifest, replaced)


def _small_files(settings: Settings) -> dict[str, Path]:
    named = [
        vault.FILE_NAME,
        FILE_NAME,
        settings.tls_cert,
        settings.tls_key,
        settings.tls_client_ca,
        settings.alarm_actions,
    ]
    found = {}
    for name in filter(None, named):
        path = settings.home / name
        # A certificate that lies elsewhere is somebody else's to back up.
        if path.is_file() and _is_inside(name):
            found[PurePosixPath(name).as_posix()] = path
    return found


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and bool(path.parts)


def _digest(content: IO[bytes]) -> str:
    digest = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def _entry(path: Path) -> Entry:
    with path.open("rb") as file:
        digest = _digest(file)
        found = os.fstat(file.fileno())
    return Entry(found.st_size, digest, found.st_mode & 0o777 if path.name != DATABASE else 0o600)


def _write(draft: Path, manifest: Manifest, sources: dict[str, Path]) -> None:
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
            body = msgspec.json.format(msgspec.json.encode(manifest))
            archive.addfile(_header(MANIFEST, len(body), 0o600, manifest), io.BytesIO(body))
            for name, entry in manifest.files.items():
                with sources[name].open("rb") as content:
                    archive.addfile(_header(name, entry.size, entry.mode, manifest), content)
        file.flush()
        os.fsync(file.fileno())


def _header(name: str, size: int, mode: int, manifest: Manifest) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode, header.mtime = size, mode, int(manifest.made_at)
    return header


@contextmanager
def _reading(source: Path) -> Iterator[tarfile.TarFile]:
    """Raises `UsageError` for whatever is no readable archive."""
    try:
        with tarfile.open(source, mode="r:gz") as archive:
            yield archive
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {source}.") from error
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise UsageError(f"{source} is no backup of Polyport, or is damaged: {error}.") from error


def _manifest(source: Path, archive: tarfile.TarFile) -> Manifest:
    first = archive.next()
    content = archive.extractfile(first) if first is not None and first.name == MANIFEST else None
    try:
        if content is None:
            raise ValueError("it has no manifest")
        facts = msgspec.json.decode(content.read(MAX_MANIFEST), type=Manifest)
    except (ValueError, UnicodeDecodeError) as error:
        raise UsageError(f"{source} is no backup of Polyport, or is damaged: {error}.") from error
    if facts.format != FORMAT:
        raise UsageError(f"{source} is of format {facts.format}, made by Polyport {facts.polyport}: use that version.")
    return facts


def _check_names(source: Path, manifest: Manifest) -> None:
    """An archive may come from anywhere: its files go into the home and nowhere else."""
    strange = [name for name in manifest.files if not _is_inside(name)]
    if strange or DATABASE not in manifest.files:
        raise UsageError(f"{source} is no backup of Polyport: {', '.join(strange) or 'it has no database'}.")


def _members(archive: tarfile.TarFile) -> Iterator[tuple[tarfile.TarInfo, IO[bytes]]]:
    while (member := archive.next()) is not None:
        content = archive.extractfile(member) if member.isreg() else None
        # What is no plain file counts as an empty one, which no checksum of the manifest fits.
        yield member, content or io.BytesIO()


def _unpack(source: Path, manifest: Manifest, staging: Path) -> None:
    if staging.exists():
        shutil.rmtree(staging)
    draft = staging.with_name(f"{staging.name}.{secrets.token_hex(4)}")
    try:
        draft.mkdir(mode=0o700)
        with _reading(source) as archive:
            _manifest(source, archive)
            for member, content in _members(archive):
                _unpack_one(draft / member.name, content, manifest.files[member.name].mode)
        try:
            copies.check(draft / DATABASE)
        except StoreError as error:
            raise UsageError(f"{source} cannot be used: {error} Use another backup.") from error
        draft.rename(staging)
    finally:
        if draft.exists():
            shutil.rmtree(draft)


def _unpack_one(target: Path, content: IO[bytes], mode: int) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode & 0o777)
    with os.fdopen(descriptor, "wb") as file:
        shutil.copyfileobj(content, file, _CHUNK)
        file.flush()
        os.fsync(file.fileno())


def _present(home: Path, manifest: Manifest) -> list[str]:
    """The files of the home that a restore would replace, and what belongs to them."""
    names = dict.fromkeys([DATABASE, vault.FILE_NAME, *(DATABASE + end for end in BESIDE), *manifest.files])
    return [name for name in names if (home / name).exists()]


def _set_aside(home: Path, manifest: Manifest) -> Path | None:
    there = _present(home, manifest)
    if not there:
        return None
    folder = home / f"replaced-{time.strftime('%Y%m%dT%H%M%S', time.gmtime())}-{secrets.token_hex(2)}"
    folder.mkdir(mode=0o700)
    for name in there:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).rename(folder / name)
    return folder


def _put(staging: Path, home: Path, manifest: Manifest) -> None:
    for name in manifest.files:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (staging / name).rename(home / name)
    _sync(home)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
