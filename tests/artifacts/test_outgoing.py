"""Objects on their way out: into the folder of a bucket, or to a store."""

import errno
import socket
from pathlib import Path

import pytest

from polyport.artifacts.outgoing import Outgoing
from polyport.errors import ArtifactError
from polyport.settings import Settings


@pytest.fixture
def outgoing(settings: Settings) -> Outgoing:
    return Outgoing(settings)


def files(settings: Settings) -> dict[str, bytes]:
    root = settings.buckets
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_an_object_is_a_file_in_the_folder_of_its_bucket(settings: Settings, outgoing: Outgoing) -> None:
    """Folders are made; one of that name is replaced."""
    outgoing.put("bucket", "a/b/c.jsonl", b"first")
    outgoing.put("bucket", "a/b/c.jsonl", b"second")
    assert files(settings) == {"bucket/a/b/c.jsonl": b"second"}


@pytest.mark.parametrize(
    ("bucket", "key"), [("bucket", "../x"), ("bucket", "a//x"), ("bucket", "/x"), ("..", "x"), ("a/b", "x")]
)
def test_no_name_leads_out_of_the_folder(settings: Settings, outgoing: Outgoing, bucket: str, key: str) -> None:
    """Nothing is written, and nothing is made."""
    with pytest.raises(ArtifactError):
        outgoing.put(bucket, key, b"x")
    assert not settings.home.exists() or list(settings.home.rglob("*")) == []


def test_a_bucket_may_be_a_link_and_nothing_in_it_may_lead_out(
    settings: Settings, outgoing: Outgoing, tmp_path: Path
) -> None:
    """A link is the operator's where the bucket itself is one; one within it may be a container's."""
    elsewhere = tmp_path / "disk"
    elsewhere.mkdir()
    settings.buckets.mkdir(parents=True)
    (settings.buckets / "bucket").symlink_to(elsewhere)
    outgoing.put("bucket", "a/x", b"x")
    assert (elsewhere / "a" / "x").read_bytes() == b"x"
    (elsewhere / "out").symlink_to(tmp_path)
    with pytest.raises(ArtifactError, match="is a link that leaves"):
        outgoing.put("bucket", "out/deep/x", b"x")
    assert not (tmp_path / "deep").exists()


def test_a_full_disk_leaves_nothing_behind(
    settings: Settings, outgoing: Outgoing, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half an object would be taken for a whole one."""

    def write(path: Path, data: bytes) -> int:
        path.touch()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write)
    with pytest.raises(ArtifactError, match="cannot be written: No space left on device"):
        outgoing.put("bucket", "a/x", b"x")
    monkeypatch.undo()
    assert files(settings) == {}


def test_a_store_that_is_away_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its address."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    outgoing = Outgoing(Settings(home=tmp_path, s3_endpoint_url=url))
    with pytest.raises(ArtifactError, match=f"the store at {url} took no object"):
        outgoing.put("bucket", "x", b"x")
    outgoing.close()
