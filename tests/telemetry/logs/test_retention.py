"""What of the logs goes: too old, or too much."""

import os
from pathlib import Path

from polyport.domain.names import Owner
from polyport.engines import logs
from polyport.telemetry.logs import retention, shelf
from polyport.telemetry.logs.retention import File
from polyport.telemetry.logs.shelf import Shelf
from telemetry.logs.written import events, log_of, record, write

BEGIN = 1_700_000_000.0
DAY = 86_400.0
OWNER = Owner("123456789012", "us-east-1")
GROUP = shelf.PREFIX + "demo"


def file(name: str, size: int, modified: float, *, expires: float = 0.0, is_newest: bool = False) -> File:
    return File(Path(name), size, modified, expires, is_newest)


def names(files: list[File]) -> list[str]:
    return [str(each.path) for each in files]


def test_what_is_too_old_goes() -> None:
    """Rule: by its last line; what has no age limit stays."""
    files = [file("old", 1, 0, expires=10), file("young", 1, 5, expires=15), file("kept", 1, 0)]
    assert names(retention.expired(files, 10, 0)) == ["old"]


def test_what_is_too_much_goes_oldest_first() -> None:
    """Rule: until the rest fits; a file that lines may go to stays for an hour after the last one."""
    now = 10_000.0
    files = [
        file("c", 40, now - 100),
        file("a", 40, now - 5000, is_newest=True),
        file("written", 40, now - 3000, is_newest=True),
        file("b", 40, now - 4000),
    ]
    assert names(retention.expired(files, now, 160)) == []
    assert names(retention.expired(files, now, 120)) == ["a"]
    assert names(retention.expired(files, now, 100)) == ["a", "b"]
    assert names(retention.expired(files, now, 1)) == ["a", "b", "c"]


def aged(path: Path, at: float) -> Path:
    os.utime(path, (at, at))
    return path


def test_old_files_are_removed_with_their_empty_folders(tmp_path: Path) -> None:
    """Rule: a policy of the group goes before the setting; the group stays, and stays as old as it is."""
    old = log_of(tmp_path)
    write(old, (BEGIN, "old"))
    young = log_of(tmp_path, instance="i-2")
    write(young, (BEGIN + 2 * DAY, "young"))
    aged(old, BEGIN)
    aged(young, BEGIN + 2 * DAY)
    held = Shelf(tmp_path / "logs", retention_days=5)
    assert retention.enforce(held, BEGIN + 4 * DAY, 0) == 0
    folder = held.folder(OWNER, GROUP)
    assert folder is not None
    held.retain(folder, 3)
    assert retention.enforce(held, BEGIN + 4 * DAY, 0) == 1
    assert not old.parent.exists()
    assert [event.text for event in events(young)] == ["young"]
    assert retention.enforce(held, BEGIN + 9 * DAY, 0) == 1
    group = held.group(OWNER, GROUP)
    assert group is not None
    assert (group.created_at, group.size, group.retention_days) == (BEGIN, 0, 3)


def test_a_silent_container_prints_on_after_its_file_was_removed(tmp_path: Path) -> None:
    """Rule: nothing is printed into a file that nobody can read."""
    path = log_of(tmp_path)
    log = logs.Log(path, 1 << 20, 5)
    log.append([record(BEGIN, "old")])
    aged(path, BEGIN)
    assert retention.enforce(Shelf(tmp_path / "logs", 1), BEGIN + 2 * DAY, 0) == 1
    log.append([record(BEGIN + 2 * DAY, "new")])
    log.close()
    assert [event.text for event in events(path)] == ["new"]
