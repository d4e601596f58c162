"""One fetch for all who wait, nothing read twice, and the layout of data that comes uncompressed."""

import asyncio
import os
import stat
import threading
from pathlib import Path
from typing import Any

import pytest

from polyport.artifacts import cache as cache_module
from polyport.artifacts import local, tree
from polyport.artifacts.cache import Cache
from polyport.domain.instances import ModelSource
from polyport.errors import ArtifactError
from polyport.settings import Settings


def prefix(url: str) -> ModelSource:
    return ModelSource(url, "S3Prefix", "None")


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that were read, in order."""
    seen: list[str] = []
    original = local.Folder.open

    def spy(self: local.Folder, item: Any) -> Any:
        seen.append(item.name)
        return original(self, item)

    monkeypatch.setattr(local.Folder, "open", spy)
    return seen


def test_unchanged_data_is_read_once(member: Any, pack: Any, put: Any, obtain: Any, opened: list[str]) -> None:
    """Rule: size, time and inode tell that a local file is as it was; also to the next process."""
    source = ModelSource(put("m.tar.gz", pack([member("a", b"1")])))
    assert obtain(source) == obtain(source)
    assert opened == ["m.tar.gz"]


def test_changed_data_is_read_again_and_kept_beside(member: Any, pack: Any, put: Any, obtain: Any) -> None:
    """Rule: new content is a new folder; who uses the old one keeps it."""
    old = obtain(ModelSource(put("m.tar.gz", pack([member("a", b"1")]))))
    new = obtain(ModelSource(put("m.tar.gz", pack([member("a", b"22")]))))
    assert ((old / "a").read_bytes(), (new / "a").read_bytes()) == (b"1", b"22")


def test_the_same_content_under_two_names_is_kept_once(member: Any, pack: Any, put: Any, obtain: Any) -> None:
    """Rule: content decides, not the URL."""
    content = pack([member("a", b"1")])
    assert obtain(ModelSource(put("x.tar.gz", content))) == obtain(ModelSource(put("y.tar.gz", content)))


def test_all_who_ask_at_the_same_time_share_one_fetch(
    member: Any, pack: Any, put: Any, settings: Settings, opened: list[str]
) -> None:
    """Rule: ten callers, one read."""
    source = ModelSource(put("m.tar.gz", pack([member("a", b"1")])))

    async def run() -> set[Path]:
        cache = Cache(settings)
        found = await asyncio.gather(*(cache.fetch(source, 20) for _ in range(10)))
        await cache.close()
        return set(found)

    assert len(asyncio.run(run())) == 1
    assert opened == ["m.tar.gz"]


class Gate:
    """Holds the layout of files until it is opened."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        original = cache_module._lay_out

        def lay_out(place: Any, items: Any, into: Any, stop: threading.Event) -> str:
            self.entered.set()
            while not self.open.wait(0.01) and not stop.is_set():
                pass
            return original(place, items, into, stop)

        monkeypatch.setattr(cache_module, "_lay_out", lay_out)


def test_one_who_gives_up_does_not_take_the_work_from_the_others(
    put: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: a time-out or a cancellation of one waiter leaves the fetch to the rest."""
    source = prefix(put("m/a", b"1").removesuffix("a"))
    gate = Gate(monkeypatch)

    async def run() -> Path:
        cache = Cache(settings)
        patient = asyncio.create_task(cache.fetch(source, 20))
        cancelled = asyncio.create_task(cache.fetch(source, 20))
        with pytest.raises(ArtifactError, match=r"Model data s3://models/m/: not there within 0.05 seconds"):
            await cache.fetch(source, 0.05)
        cancelled.cancel()
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        gate.open.set()
        found = await patient
        await cache.close()
        return found

    assert (asyncio.run(run()) / "a").read_bytes() == b"1"


def test_when_the_last_one_gives_up_the_work_ends_and_leaves_nothing(
    put: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, leftovers: Any
) -> None:
    """Rule: nobody waits, nobody works; a later caller starts anew."""
    source = prefix(put("m/a", b"1").removesuffix("a"))
    gate = Gate(monkeypatch)

    async def run() -> Path:
        cache = Cache(settings)
        with pytest.raises(ArtifactError, match="not there within"):
            await cache.fetch(source, 0.05)
        await asyncio.gather(*cache._tasks, return_exceptions=True)
        assert leftovers() == []
        gate.open.set()
        found = await cache.fetch(source, 20)
        await cache.close()
        return found

    assert (asyncio.run(run()) / "a").read_bytes() == b"1"


def test_closing_ends_what_is_under_way(
    put: Any, settings: Settings, monkeypatch: pytest.MonkeyPatch, leftovers: Any
) -> None:
    """Rule: a server that stops does not wait for a download."""
    source = prefix(put("m/a", b"1").removesuffix("a"))
    gate = Gate(monkeypatch)

    async def run() -> None:
        cache = Cache(settings)
        waiter = asyncio.create_task(cache.fetch(source, 20))
        await asyncio.to_thread(gate.entered.wait, 10)
        await cache.close()
        with pytest.raises(ArtifactError, match="given up"):
            await waiter

    asyncio.run(run())
    assert leftovers() == []


def test_a_prefix_is_laid_out_without_the_prefix(put: Any, obtain: Any) -> None:
    """Rule: `S3Prefix` strips the prefix and keeps the rest as the path; `model/1/` is not `model/10/`."""
    for key in ("model/1/weights/a.bin", "model/1/b.txt", "model/10/c"):
        put(key, key.encode())
    folder = obtain(prefix("s3://models/model/1/"))
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert files == {"weights/a.bin": b"model/1/weights/a.bin", "b.txt": b"model/1/b.txt"}
    assert stat.S_IMODE((folder / "weights").stat().st_mode) == 0o555


def test_a_single_object_keeps_its_last_segment_as_name(put: Any, obtain: Any) -> None:
    """Rule: `S3Object` uncompressed is one file, not unpacked, whatever it is called."""
    folder = obtain(ModelSource(put("deep/down/model.tar.gz", b"anything"), "S3Object", "None"))
    assert [path.name for path in folder.iterdir()] == ["model.tar.gz"]


def test_a_compressed_prefix_is_its_one_archive(member: Any, pack: Any, put: Any, obtain: Any) -> None:
    """Rule: `S3Prefix` with `Gzip` stands for the only object under the prefix; two are refused."""
    put("p/m.tar.gz", pack([member("a", b"1")]))
    source = ModelSource("s3://models/p/", "S3Prefix", "Gzip")
    assert (obtain(source) / "a").read_bytes() == b"1"
    put("p/n.tar.gz", b"")
    with pytest.raises(ArtifactError, match="2 objects are under this prefix"):
        obtain(source)


WRONG = {
    "s3://models/none.tar.gz": "there is no file .*none.tar.gz .*s3_endpoint_url",
    "s3://nowhere/x.tar.gz": "there is no folder .*buckets/nowhere .*s3_endpoint_url",
    "s3://models/folder": "is a folder",
    "s3://models/folder/": "names a folder",
    "s3://models": "names a folder",
    "s3://models/../../secret": "the name '..'",
    "s3://models/folder/../folder/a": "the name '..'",
    "s3://models//etc/passwd": "an empty name",
    "s3://../x": "'..' is not a bucket name",
    "s3:///x": "'' is not a bucket name",
    "s3://models/out": "leaves",
    "s3://models/loop": "Too many levels",
    "s3://models/pipe": "not a regular file",
    "ftp://host/x": "expected s3://BUCKET/KEY, https://... or file:///ABSOLUTE/PATH",
    "models/x": "expected s3://",
    "file://host/x": "expected file:///ABSOLUTE/PATH",
    "file:///nowhere/at/all": "there is no folder",
    "http://example.com/m.tar.gz": "use https:// for example.com",
    "https://": "names no host",
    "https://host:port/x": "not a valid URL",
}


@pytest.mark.parametrize(("url", "reason"), WRONG.items())
def test_a_wrong_url_says_what_is_wrong(
    url: str, reason: str, put: Any, obtain: Any, settings: Settings, tmp_path: Path, leftovers: Any
) -> None:
    """Rule: missing, misspelt or leaving the bucket's folder: the error names the URL and why, for both verbs."""
    put("folder/a", b"1")
    bucket = settings.buckets / "models"
    (tmp_path / "secret").write_bytes(b"secret")
    (bucket / "out").symlink_to(tmp_path / "secret")
    (bucket / "loop").symlink_to("loop")
    os.mkfifo(bucket / "pipe")
    for kind in ("Gzip", "None"):
        with pytest.raises(ArtifactError, match=reason) as refusal:
            obtain(ModelSource(url, "S3Object", kind))
        assert str(refusal.value).startswith(f"Model data {url}: ")
    with pytest.raises(ArtifactError, match=reason):
        asyncio.run(Cache(settings).check(ModelSource(url)))
    assert leftovers() == []


WRONG_PREFIX = {
    "s3://models/folder": "must end in /",
    "s3://models/none/": "there is no folder",
    "s3://models/nothing/": "no object under this prefix",
    "s3://models/linked/": "leaves",
    "s3://models/links/": "is a link to a folder",
    "s3://models/blank/": "an empty name",
    "https://127.0.0.1/x/": "needs an s3://",
    "file:///tmp": "must end in /",
}


@pytest.mark.parametrize(("url", "reason"), WRONG_PREFIX.items())
def test_a_wrong_prefix_says_what_is_wrong(
    url: str, reason: str, put: Any, obtain: Any, settings: Settings, tmp_path: Path, leftovers: Any
) -> None:
    """Rule: a prefix ends in a slash, holds something, and stays inside its bucket."""
    put("folder/a", b"1")
    put("blank/ ", b"1")
    (settings.buckets / "models" / "nothing").mkdir()
    (settings.buckets / "models" / "links").mkdir()
    (settings.buckets / "models" / "linked").symlink_to(tmp_path)
    (settings.buckets / "models" / "links" / "l").symlink_to("../folder")
    with pytest.raises(ArtifactError, match=reason):
        obtain(prefix(url))
    assert leftovers() == []


def test_files_are_no_model_data_where_that_is_turned_off(settings: Settings, tmp_path: Path) -> None:
    """Whoever may create models would read whatever the server can; buckets are still read."""
    (tmp_path / "notes.tar.gz").write_bytes(b"\x1f\x8b secret")
    (settings.buckets / "models").mkdir(parents=True, exist_ok=True)
    (settings.buckets / "models" / "m.tar.gz").write_bytes(b"\x1f\x8b")

    async def body() -> None:
        cache = Cache(settings, takes_files=False)
        with pytest.raises(ArtifactError, match="the setting file_model_data"):
            await cache.check(ModelSource(f"file://{tmp_path}/notes.tar.gz"))
        await cache.check(ModelSource("s3://models/m.tar.gz"))
        await cache.close()

    asyncio.run(body())


@pytest.mark.parametrize("start", ["home", "link"])
@pytest.mark.parametrize(
    "path",
    ["secret.key", "buckets/../secret.key", "run/x", "buckets/models/link", "", "run/", "buckets/../", "../"],
)
def test_nothing_of_the_home_but_buckets_is_model_data(
    settings: Settings, obtain: Any, put: Any, tmp_path: Path, start: str, path: str
) -> None:
    """Who may create models would else read the key file: not by a link either, nor by a folder around it."""
    put("one", b"fine")
    assert obtain(ModelSource(f"file://{settings.buckets}/models/one", compression="None"))
    (settings.home / "run").mkdir()
    for name in ("secret.key", "run/x"):
        (settings.home / name).write_text("secret")
    (settings.buckets / "models" / "link").symlink_to(settings.home / "secret.key")
    (tmp_path / "link").symlink_to(settings.home)
    url = f"file://{tmp_path}/{start}/{path}"
    kind = "S3Prefix" if url.endswith("/") else "S3Object"
    with pytest.raises(ArtifactError, match="is Polyport's own: of its home only the folder buckets holds model data"):
        obtain(ModelSource(url, kind=kind, compression="None"))


def test_a_bucket_may_be_a_link_to_a_folder_elsewhere(settings: Settings, tmp_path: Path, obtain: Any) -> None:
    """Rule: the owner of the home may put a bucket where the disk is; only keys cannot leave it."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "a").write_bytes(b"1")
    settings.buckets.mkdir(parents=True)
    (settings.buckets / "big").symlink_to(tmp_path / "disk")
    assert (obtain(prefix("s3://big/")) / "a").read_bytes() == b"1"


def test_a_check_reads_no_more_than_the_head(member: Any, pack: Any, put: Any, settings: Settings) -> None:
    """Rule: CreateModel learns at once that an archive is missing or none, without reading it."""
    cache = Cache(settings)
    asyncio.run(cache.check(ModelSource(put("good.tar.gz", pack([member("a")])))))
    with pytest.raises(ArtifactError, match="not gzip-compressed"):
        asyncio.run(cache.check(ModelSource(put("bad.tar.gz", b"PK\3\4"))))


def test_a_file_that_changes_while_it_is_read_is_refused(put: Any, settings: Settings) -> None:
    """Rule: half of the old and half of the new is no model."""
    put("m/a", b"1")
    place = local.Folder(settings.buckets / "models", "m/a", prefix=False)
    (item,) = place.find()
    reading = place.open(item)
    assert reading.__enter__().read(1) == b"1"
    put("m/a", b"22")
    with pytest.raises(ArtifactError, match="'a' changed while it was read"):
        reading.__exit__(None, None, None)


def test_a_sweep_drops_what_nobody_uses(put: Any, obtain: Any, settings: Settings) -> None:
    """Rule: data in use stays, and so does what was asked for lately; all else goes, its index entry too."""
    used, unused = obtain(prefix(put("u/a", b"1")[:-1])), obtain(prefix(put("v/a", b"2")[:-1]))
    cache = Cache(settings)
    assert asyncio.run(cache.sweep({used})) == 0
    assert asyncio.run(cache.sweep({used}, grace=-5)) == 1
    assert used.is_dir()
    assert not unused.exists()
    assert len(list(cache.index.iterdir())) == 1
    assert (obtain(prefix("s3://models/v/")) / "a").read_bytes() == b"2"


def test_a_sweep_clears_what_a_crash_left_but_not_what_is_being_made(settings: Settings) -> None:
    """Rule: the lock on a staging folder ends with its process; without one it is rubbish."""
    cache = Cache(settings)
    with cache._stage() as mine:
        orphan = cache.staging / "orphan"
        (orphan / "tree").mkdir(parents=True)
        (orphan / "tree").chmod(0o555)
        asyncio.run(cache.sweep(()))
        assert mine.is_dir()
        assert not orphan.exists()
    assert list(cache.staging.iterdir()) == []


def test_a_damaged_index_means_reading_again(put: Any, obtain: Any, settings: Settings) -> None:
    """Rule: the index is a hint; without it data is fetched once more."""
    source = prefix(put("u/a", b"1")[:-1])
    folder = obtain(source)
    (entry,) = (settings.home / "cache" / "artifacts" / "index").iterdir()
    entry.write_bytes(b"\xff\0../../..")
    assert obtain(source) == folder
    tree.discard(folder)
    assert (obtain(source) / "a").read_bytes() == b"1"
