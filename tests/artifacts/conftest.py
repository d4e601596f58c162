"""Archives made member by member, and a cache in a fresh home."""

import asyncio
import gzip
import io
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from polyport.artifacts.cache import Cache
from polyport.domain.instances import ModelSource
from polyport.settings import Settings

Member = tuple[tarfile.TarInfo, bytes]


def _member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644
) -> Member:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode, info.size = kind, target, mode, len(content)
    return info, content


def _pack(members: Iterable[Member]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for info, content in members:
            archive.addfile(info, io.BytesIO(content))
    return gzip.compress(plain.getvalue(), 1)


@pytest.fixture(scope="session")
def member() -> Callable[..., Member]:
    """Makes one member of an archive: name, content, type, link target, mode."""
    return _member


@pytest.fixture(scope="session")
def pack() -> Callable[[Iterable[Member]], bytes]:
    """Members to the bytes of a .tar.gz."""
    return _pack


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """A home of its own; room for one million bytes of model data."""
    return Settings(home=tmp_path / "home", max_model_bytes=1_000_000)


@pytest.fixture
def obtain(settings: Settings) -> Callable[..., Path]:
    """Fetches one source with a cache of its own, waiting at most 20 seconds."""

    def fetch(source: ModelSource, settings: Settings = settings) -> Path:
        async def run() -> Path:
            cache = Cache(settings)
            try:
                return await cache.fetch(source, 20)
            finally:
                await cache.close()

        return asyncio.run(run())

    return fetch


@pytest.fixture
def leftovers(settings: Settings) -> Callable[[], list[str]]:
    """What the cache holds: nothing, after a refusal."""

    def look() -> list[str]:
        root = settings.home / "cache" / "artifacts"
        return (
            [str(Path(folder) / name) for folder, _, files in os.walk(root) for name in files]
            + [str(path) for path in root.glob("*") if path.name not in {"staging", "index"}]
            + [str(path) for path in root.glob("staging/*")]
        )

    return look


@pytest.fixture
def put(settings: Settings) -> Callable[[str, bytes], str]:
    """Writes an object into the bucket folder ``models``; gives its URL."""

    def write(key: str, content: bytes) -> str:
        path = settings.buckets / "models" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return f"s3://models/{key}"

    return write
