"""The cache: model data by the digest of its content, each a read-only folder that containers can share.

``home/cache/artifacts/``: ``DIGEST/`` holds model data; ``index/KEY`` says which digest a source had when it was last
read, by size, time or ETag, so that unchanged data is not read again; ``staging/`` is for what is not whole yet.
"""

import asyncio
import fcntl
import hashlib
import os
import re
import tempfile
import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from polyport.artifacts import archives, backend, local, locations, s3, tree, web
from polyport.artifacts.backend import CHUNK, Backend, Item, Reader
from polyport.domain.instances import ModelSource
from polyport.errors import ArtifactError
from polyport.settings import Settings

DIGEST = re.compile(r"[0-9a-f]{64}")
#: Seconds within which what was just fetched is not swept, though nobody has been seen to use it yet.
GRACE = 3600.0
#: Fetches at a time; more wait for their turn.
MAX_FETCHES = 8


class Cache:
    """Fetches model data once, however many ask for it at the same time."""

    def __init__(self, settings: Settings, *, takes_files: bool = True) -> None:
        """``takes_files``: whether ``file://`` may be named."""
        self.settings = settings
        self._takes_files = takes_files
        self.root = settings.home / "cache" / "artifacts"
        self.staging = self.root / "staging"
        self.index = self.root / "index"
        self._flights: dict[ModelSource, _Flight] = {}
        self._client: Any = None
        # Threads of our own: a few long downloads must not keep the loop's shared ones from everybody else, nor from
        # quick looks. No thread starts before it is needed.
        self._fetchers = ThreadPoolExecutor(MAX_FETCHES, "artifacts-fetch")
        self._lookers = ThreadPoolExecutor(MAX_FETCHES, "artifacts-look")
        self._tasks: set[asyncio.Task[Path]] = set()

    async def fetch(self, source: ModelSource, timeout: float) -> Path:
        """The read-only folder with the source's files, to be mounted at ``/opt/ml/model``.

        ``timeout`` in seconds; another caller who waits for the same source has its own. Raises `ArtifactError`.
        """
        flight = self._flights.get(source)
        if flight is None:
            flight = self._flights[source] = _Flight()
            flight.task = asyncio.create_task(self._fly(source, flight.stop))
            flight.task.add_done_callback(_note_outcome)
            self._tasks.add(flight.task)
            flight.task.add_done_callback(self._tasks.discard)
        flight.waiters += 1
        try:
            async with asyncio.timeout(timeout):
                # Shielded: one caller who gives up must not take the work from the others.
                return await asyncio.shield(flight.task)
        except TimeoutError as error:
            raise ArtifactError(
                f"Model data {locations.shown(source.url)}: not there within {timeout:g} seconds"
            ) from error
        finally:
            flight.waiters -= 1
            if not flight.waiters:
                flight.stop.set()
                if self._flights.get(source) is flight:
                    del self._flights[source]

    async def check(self, source: ModelSource, timeout: float = 30.0) -> None:
        """A quick look, for CreateModel: is it there, and is it a gzip file if it should be? Raises `ArtifactError`."""
        try:
            async with asyncio.timeout(timeout):
                await asyncio.get_running_loop().run_in_executor(self._lookers, self._look, source)
        except TimeoutError as error:
            raise ArtifactError(f"Model data {locations.shown(source.url)}: no answer within {timeout:g} s") from error

    async def sweep(self, in_use: Collection[Path], grace: float = GRACE) -> int:
        """Deletes what is not ``in_use`` and was not asked for within ``grace`` seconds, and what crashes left behind.

        Returns how many folders of model data went.
        """
        names = {path.name for path in in_use}
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._lookers, self._sweep, names, time.time() - grace)

    async def close(self) -> None:
        """Gives up what is being fetched; returns once its threads have ended."""
        for flight in self._flights.values():
            flight.stop.set()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._client is not None:
            self._client.close()
        self._fetchers.shutdown(wait=False, cancel_futures=True)
        self._lookers.shutdown(wait=False, cancel_futures=True)

    async def _fly(self, source: ModelSource, stop: threading.Event) -> Path:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._fetchers, self._obtain, source, stop)
        finally:
            stop.set()

    def _obtain(self, source: ModelSource, stop: threading.Event) -> Path:
        with _explained(source):
            place = self._place(source)
            items = _checked(place.find(), source)
            key = self._key(source, items)
            known = self._known(key)
            if known is not None:
                return known
            with self._stage() as folder:
                into = tree.Tree(folder / "tree", tree.Room(folder, self.settings.max_model_bytes))
                fill = _unpack if source.compression == "Gzip" else _lay_out
                digest = fill(place, items, into, stop)
                into.seal()
                return self._keep(into.root, digest, key)

    def _look(self, source: ModelSource) -> None:
        with _explained(source):
            place = self._place(source)
            items = _checked(place.find(), source)
            if source.compression == "Gzip":
                # Only two bytes are read: it may be changing meanwhile, which is for `fetch` to say.
                with place.open(items[0]) as reader:
                    archives.check_magic(reader.read(2))

    def _place(self, source: ModelSource) -> Backend:
        prefix = source.kind == "S3Prefix"
        match locations.parse(source.url):
            case locations.Web(url):
                return web.Page(url, prefix=prefix)
            case locations.File(_) if not self._takes_files:
                raise ArtifactError("file:// model data is turned off here (the setting file_model_data)")
            case locations.File(path):
                real = local.real_path(Path(path))
                if prefix:
                    backend.check_prefix(path)
                self._keep_out_of_home(real)
                if prefix:
                    return local.Folder(real, "", prefix=True)
                backend.last_segment(path)
                return local.Folder(real.parent, real.name, prefix=False)
            case locations.Bucket(bucket, key) if self.settings.s3_endpoint_url:
                return s3.Objects(self._s3(), bucket, key, prefix=prefix)
            case locations.Bucket(bucket, key):
                hint = " (s3:// reads a folder per bucket; the setting s3_endpoint_url names a store instead)"
                return local.Folder(self.settings.buckets / bucket, key, prefix=prefix, hint=hint)

    def _keep_out_of_home(self, path: Path) -> None:
        """Whoever may create models must not read keys and database by naming them as model data."""
        home, buckets = local.real_path(self.settings.home), local.real_path(self.settings.buckets)
        is_inside = path.is_relative_to(home) and not path.is_relative_to(buckets)
        if is_inside or home.is_relative_to(path):
            raise ArtifactError(f"{path} is Polyport's own: of its home only the folder buckets holds model data")

    def _s3(self) -> Any:
        # Two threads may both make one; either serves.
        if self._client is None:
            self._client = s3.make_client(self.settings.s3_endpoint_url, self.settings.region)
        return self._client

    def _key(self, source: ModelSource, items: tuple[Item, ...]) -> str | None:
        """Names a state of the source; ``None`` when its state cannot be told without reading it."""
        if not all(item.version for item in items):
            return None
        objects = [msgspec.structs.astuple(item) for item in items]
        state = (self.settings.s3_endpoint_url, source.url, source.kind, source.compression, objects)
        # `repr`, as names of files need not be valid Unicode.
        return hashlib.sha256(repr(state).encode()).hexdigest()

    def _known(self, key: str | None) -> Path | None:
        if key is None:
            return None
        try:
            digest = (self.index / key).read_text(encoding="ascii")
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        return self._touched(digest) if DIGEST.fullmatch(digest) else None

    def _touched(self, digest: str) -> Path | None:
        """The folder of that digest, if it is there; its time tells the sweep that it was asked for."""
        with _locked(self.root, fcntl.LOCK_SH):
            try:
                os.utime(self.root / digest)
            except FileNotFoundError:
                return None
            return self.root / digest

    @contextmanager
    def _stage(self) -> Iterator[Path]:
        """A folder of our own, gone afterwards. The lock on it ends with this process, however that ends, and tells a
        sweep which folders are without an owner."""
        for folder in (self.staging, self.index):
            folder.mkdir(parents=True, exist_ok=True)
        with _locked(self.staging, fcntl.LOCK_SH):
            folder = Path(tempfile.mkdtemp(dir=self.staging))
            descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            (folder / "tree").mkdir(mode=0o700)
            yield folder
        finally:
            tree.discard(folder)
            os.close(descriptor)

    def _keep(self, made: Path, digest: str, key: str | None) -> Path:
        kept = self.root / digest
        try:
            made.rename(kept)
        except OSError:
            # Another source with the same content was first: a rename does not replace a folder that holds something.
            if not kept.is_dir():
                raise
        kept.chmod(0o555)
        os.utime(kept)
        if key is not None:
            self._write_index(key, digest)
        return kept

    def _write_index(self, key: str, digest: str) -> None:
        descriptor, name = tempfile.mkstemp(dir=self.index)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(digest)
        Path(name).replace(self.index / key)

    def _sweep(self, in_use: Collection[str], before: float) -> int:
        if not self.root.is_dir():
            return 0
        if self.staging.is_dir():
            with _locked(self.staging, fcntl.LOCK_EX):
                for folder in self.staging.iterdir():
                    _discard_orphan(folder)
        kept = [path for path in self.root.iterdir() if DIGEST.fullmatch(path.name) and path.name not in in_use]
        swept = sum(self._drop(path, before) for path in kept)
        for entry in self.index.glob("*"):
            if entry.stat().st_mtime < before and not self._leads_somewhere(entry):
                entry.unlink(missing_ok=True)
        return swept

    def _drop(self, path: Path, before: float) -> bool:
        with self._stage() as folder:
            # Nobody is told of it between the look at its time and the rename: see `_touched`.
            with _locked(self.root, fcntl.LOCK_EX):
                if path.stat().st_mtime >= before:
                    return False
                path.chmod(0o700)
                path.rename(folder / "gone")
            return True

    def _leads_somewhere(self, entry: Path) -> bool:
        digest = entry.read_bytes().decode("ascii", "replace")
        return bool(DIGEST.fullmatch(entry.name) and DIGEST.fullmatch(digest)) and (self.root / digest).is_dir()


class _Flight:
    """One fetch under way, and how many wait for it."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self.waiters = 0
        self.task: asyncio.Task[Path]


class _Hashing:
    """Passes bytes on, hashes and counts them, and stops when nobody waits for them any more."""

    def __init__(self, reader: Reader, limit: int, stop: threading.Event) -> None:
        self.reader = reader
        self.limit = limit
        self.stop = stop
        self.size = 0
        self.hash = hashlib.sha256()

    def read(self, size: int = CHUNK, /) -> bytes:
        if self.stop.is_set():
            raise ArtifactError("given up")
        data = self.reader.read(size)
        self.size += len(data)
        if self.size > self.limit:
            raise ArtifactError(f"more than {self.limit} bytes (the setting max_model_bytes)")
        self.hash.update(data)
        return data

    def chunks(self) -> Iterator[bytes]:
        while data := self.read(CHUNK):
            yield data


def _unpack(place: Backend, items: tuple[Item, ...], into: tree.Tree, stop: threading.Event) -> str:
    """One archive. Its digest is that of its bytes: no member is read twice."""
    with place.open(items[0]) as reader:
        raw = _Hashing(reader, into.room.max_bytes + CHUNK, stop)
        archives.unpack(raw, into)
        for _ in raw.chunks():
            pass
    return raw.hash.hexdigest()


def _lay_out(place: Backend, items: tuple[Item, ...], into: tree.Tree, stop: threading.Event) -> str:
    """Objects as they are, by the rules for `CompressionType` ``None``. The digest covers names, sizes and contents."""
    total = hashlib.sha256(b"objects\n")
    into.room.check_sum(sum(item.size or 0 for item in items))
    for item in items:
        with tree.naming(item.name):
            if not item.name or item.name.endswith("/"):
                raise ArtifactError("a key that ends in / cannot become a file; delete it, SageMaker refuses it too")
            parts = tuple(item.name.split("/"))
            tree.check_path(parts)
            with place.open(item) as reader:
                raw = _Hashing(reader, into.room.max_bytes, stop)
                into.add_file(parts, raw.chunks(), item.size)
            total.update(msgspec.json.encode((os.fsencode(item.name), raw.size, raw.hash.hexdigest())))
    return total.hexdigest()


def _checked(items: tuple[Item, ...], source: ModelSource) -> tuple[Item, ...]:
    if source.compression == "Gzip" and len(items) != 1:
        raise ArtifactError(
            f"{len(items)} objects are under this prefix; with CompressionType Gzip it must be one archive"
        )
    return items


@contextmanager
def _explained(source: ModelSource) -> Iterator[None]:
    """Every error names the source, without what may be secret in it."""
    prefix = f"Model data {locations.shown(source.url)}: "
    try:
        yield
    except ArtifactError as error:
        raise ArtifactError(prefix + str(error)) from error
    except OSError as error:
        raise ArtifactError(prefix + tree.explain(error)) from error


def _note_outcome(task: asyncio.Task[Path]) -> None:
    """An outcome that nobody waits for any more is no error of the program's."""
    if not task.cancelled():
        task.exception()


@contextmanager
def _locked(folder: Path, how: int) -> Iterator[None]:
    """Held for a few system calls; also between processes."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, how)
        yield
    finally:
        os.close(descriptor)


def _discard_orphan(folder: Path) -> None:
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tree.discard(folder)
    except BlockingIOError:
        return
    finally:
        os.close(descriptor)
