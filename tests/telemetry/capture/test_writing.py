"""The spool: written within its bound and the disk's, sealed by age and size, and found again after a crash."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyport.domain.captures import Capture
from polyport.telemetry.capture import records, spool, writing
from polyport.telemetry.capture.records import Call, Entry, Target
from polyport.telemetry.capture.writing import Writer

NOW = 1_700_000_000.0


def target(destination: str = "s3://bucket/a", endpoint: str = "e") -> Target:
    return Target("123456789012", "us-east-1", endpoint, "v", Capture(destination, 100, True, False), int(NOW // 3600))


def calls(count: int, size: int = 1000) -> list[Call]:
    return [Call(Entry(str(number), NOW, input_size=size), [b"x" * size]) for number in range(count)]


def count(*files: Path) -> int:
    return sum(len(list(records.read(file.read_bytes())[1])) for file in files)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "capture"


def test_a_file_is_sealed_when_it_is_old_enough(root: Path) -> None:
    """Not before; and when the clock was put back. What comes afterwards begins another."""
    writer = Writer(root, 30.0, 10**9)
    writer.write({target(): calls(3)}, NOW)
    writer.seal(NOW + 29.9)
    assert spool.ready(root) == []
    writer.seal(NOW + 30)
    assert count(*spool.ready(root)) == 3
    assert writer.is_idle
    writer.write({target(): calls(2)}, NOW + 31)
    writer.seal(NOW - 100)
    assert [count(file) for file in sorted(spool.ready(root))] == [3, 2]


def test_a_file_is_sealed_when_it_is_large_enough(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """None gets larger than twice that, unless one call alone is."""
    monkeypatch.setattr(writing, "MAX_FILE", 10_000)
    writer = Writer(root, 30.0, 10**9)
    assert writer.write({target(): calls(25)}, NOW) == {}
    writer.close(NOW)
    assert count(*spool.ready(root)) == 25
    assert [file.stat().st_size // 10_000 for file in sorted(spool.ready(root))] in ([0, 1], [1, 0])


def test_each_target_has_files_of_its_own(root: Path) -> None:
    """One file becomes one object."""
    writer = Writer(root, 30.0, 10**9)
    writer.write({target(endpoint=name): calls(1) for name in "abc"}, NOW)
    writer.close(NOW)
    assert {records.read(file.read_bytes())[0].endpoint for file in spool.ready(root)} == {"a", "b", "c"}


def test_the_bound_of_the_spool_holds(root: Path) -> None:
    """As many calls as fit are kept, the others counted; once files are sent, there is room again."""
    writer = Writer(root, 30.0, 20_000)
    [lost] = writer.write({target(): calls(50)}, NOW).values()
    assert lost == {writing.SPOOL_FULL: 50 - 9}
    assert spool.measure(root).total <= 10_000
    assert writer.write({target(): calls(5)}, NOW) == {target(): Counter({writing.SPOOL_FULL: 5})}
    writer.close(NOW)
    for file in spool.ready(root):
        file.unlink()
    assert writer.write({target(): calls(5)}, NOW) == {}


def test_a_dead_destination_leaves_room_for_others(root: Path) -> None:
    """Half of the spool at most is one's."""
    writer = Writer(root, 30.0, 20_000)
    writer.write({target("s3://dead"): calls(50)}, NOW)
    assert writer.write({target("s3://alive"): calls(8)}, NOW) == {}


def test_what_was_there_before_counts(root: Path) -> None:
    """Other workers' files too."""
    Writer(root, 30.0, 20_000).write({target(): calls(9)}, NOW)
    [lost] = Writer(root, 30.0, 20_000).write({target(): calls(3)}, NOW).values()
    assert lost.total() == 3


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if (
        os.geteuid()
        or not shutil.which("mount")
        or subprocess.run(command, check=False, capture_output=True).returncode
    ):
        pytest.skip("no file system of limited size can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_disk_that_is_nearly_full_gets_no_captures(small_disk: Path) -> None:
    """A part of it stays free for others. What was written is whole; with room again, captures go on."""
    root = small_disk / "capture"
    writer = Writer(root, 30.0, 10**9)
    lost = sum(
        (writer.write({target(): calls(10, 10_000)}, NOW).get(target(), Counter()) for _ in range(20)), Counter()
    )
    assert lost.keys() == {writing.DISK}
    assert writer.trouble == "the disk is nearly full"
    found = os.statvfs(small_disk)
    assert found.f_bavail >= found.f_blocks // writing.RESERVED_PART
    writer.seal(NOW, everything=True)
    kept = spool.ready(root)
    assert count(*kept) == 200 - lost.total()
    kept[0].unlink()
    assert writer.write({target(): calls(10, 10_000)}, NOW) == {}
    writer.close(NOW)


def test_a_disk_that_fills_in_the_middle_loses_that_batch_alone(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others write too, and no look at the free space is a promise."""
    monkeypatch.setattr(Writer, "_expect_room", lambda *_: None)
    root = small_disk / "capture"
    writer = Writer(root, 30.0, 10**9)
    assert writer.write({target(): calls(3)}, NOW) == {}
    before = os.statvfs(small_disk).f_bavail
    [lost] = writer.write({target(): calls(200, 10_000)}, NOW).values()
    assert lost == {writing.DISK: 200}
    assert writer.trouble == "No space left on device"
    assert os.statvfs(small_disk).f_bavail == before, "what was not whole is given back"
    assert writer.write({target(): calls(4)}, NOW) == {}
    writer.close(NOW)
    assert sorted(count(file) for file in spool.ready(root)) == [3, 4]


def test_a_folder_that_somebody_removes_is_made_again(root: Path) -> None:
    """What was in it is lost, and what was to be written at that moment."""
    writer = Writer(root, 30.0, 10**9)
    writer.write({target(): calls(1)}, NOW)
    shutil.rmtree(root)
    assert writer.write({target(): calls(2)}, NOW) == {target(): Counter({writing.DISK: 2})}
    assert writer.write({target(): calls(3)}, NOW) == {}
    writer.close(NOW)
    assert count(*spool.ready(root)) == 3


def test_what_a_living_worker_writes_is_let_alone(root: Path) -> None:
    """It holds the lock of its folder."""
    writer = Writer(root, 30.0, 10**9)
    writer.write({target(): calls(1)}, NOW)
    assert spool.adopt(root) == 0
    writer.close(NOW)
    assert spool.adopt(root) == 0
    assert count(*spool.ready(root)) == 1


def test_what_a_killed_worker_left_is_ready(root: Path) -> None:
    """The kernel lets go of its lock; its folder goes."""
    program = (
        "import os, sys; from pathlib import Path; from telemetry_writing import Writer, calls, target, NOW;"
        "writer = Writer(Path(sys.argv[1]), 30.0, 10**9); writer.write({target(): calls(4)}, NOW);"
        "os.kill(os.getpid(), 9)"
    )
    loader = (
        "import importlib.util, sys; spec = importlib.util.spec_from_file_location('telemetry_writing', sys.argv[2]);"
        "module = importlib.util.module_from_spec(spec); sys.modules['telemetry_writing'] = module;"
        "spec.loader.exec_module(module);"
    )
    done = subprocess.run([sys.executable, "-c", loader + program, str(root), __file__], check=False, timeout=60)
    assert done.returncode == -9
    assert spool.ready(root) == []
    assert spool.adopt(root) == 1
    assert count(*spool.ready(root)) == 4
    assert [folder.name for folder in root.iterdir()] == ["ready"]


def test_a_folder_whose_worker_was_killed_in_removing_it_goes(root: Path) -> None:
    """It has no lock any more, and nothing in it."""
    (root / "worker-1-aaaa").mkdir(parents=True)
    assert spool.adopt(root) == 0
    assert list(root.iterdir()) == []


def test_names_tell_the_age_and_the_destination() -> None:
    """And nothing else is a spool file."""
    name = spool.name_of(spool.label_of("s3://bucket/a"), NOW, "0b7bfd33-c8a7-4adf-a09a-98fd0af79974")
    assert spool.parse_name(name) == (spool.label_of("s3://bucket/a"), NOW, "0b7bfd33-c8a7-4adf-a09a-98fd0af79974")
    assert spool.parse_name("lock") is None
