"""All logs of a home: groups ``/aws/sagemaker/Endpoints/NAME`` and their streams ``VARIANT/INSTANCE/CONTAINER``."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from polyport.domain.names import Owner
from polyport.telemetry.logs import places
from polyport.telemetry.logs.parts import Index, Log

PREFIX = "/aws/sagemaker/Endpoints/"
#: What is kept about a group, in its folder. No variant has such a name: theirs have no dots.
ABOUT = "group.json"


class About(msgspec.Struct, frozen=True):
    """What is known of a group besides its files."""

    #: Epoch seconds; 0: as old as its first event.
    created_at: float = 0.0
    retention_days: int | None = None


class Group(NamedTuple):
    """One log group. ``created_at`` in epoch seconds, ``size`` in bytes of the files."""

    name: str
    folder: Path
    created_at: float
    size: int
    retention_days: int | None


class Shelf:
    """The folder with all logs. Everything here looks at the disk: to be called in a thread."""

    def __init__(self, root: Path, retention_days: int = 0) -> None:
        """``retention_days``: for groups without a retention of their own; 0: for ever."""
        self.root = root
        self.index = Index()
        self.retention_days = retention_days
        #: Live Tail sessions.
        self.sessions = 0

    def names(self, owner: Owner) -> list[str]:
        """Of all groups, sorted."""
        return sorted(PREFIX + entry.name for entry in _folders(self._region(owner)))

    def folder(self, owner: Owner, name: str) -> Path | None:
        """Of a group; ``None`` when there is none of that name."""
        endpoint = name.removeprefix(PREFIX)
        if not name.startswith(PREFIX) or places.component(endpoint) != endpoint:
            return None
        found = self._region(owner) / endpoint
        return found if found.is_dir() else None

    def group(self, owner: Owner, name: str) -> Group | None:
        """One group; ``None`` when there is none of that name."""
        folder = self.folder(owner, name)
        if folder is None:
            return None
        about = read_about(folder)
        logs = list(logs_of(folder))
        size = sum(status.st_size for path in logs for status in _statuses(path))
        created = about.created_at or min((start for path in logs if (start := _begun(path))), default=0.0)
        created = created or folder.stat().st_mtime
        return Group(name, folder, created, size, about.retention_days)

    def streams(self, folder: Path) -> dict[str, Path]:
        """The newest files of a group's logs by the names of their streams, sorted."""
        found = {}
        for path in logs_of(folder):
            instance = path.parent
            name = f"{instance.parent.name}/{instance.name}"
            alone = path.name == places.PRIMARY + places.SUFFIX and len(_names(instance)) == 1
            found[name if alone else f"{name}/{path.name.removesuffix(places.SUFFIX)}"] = path
        return dict(sorted(found.items()))

    def oldest(self, folder: Path, now: float) -> int:
        """What is older, in microseconds, has expired in this group."""
        days = read_about(folder).retention_days or self.retention_days
        return int((now - days * 86_400) * 1_000_000) if days else 0

    def retain(self, folder: Path, days: int | None) -> None:
        """Sets how long the group's events are kept, in days; ``None``: as long as the setting says."""
        write_about(folder, msgspec.structs.replace(read_about(folder), retention_days=days))

    def delete(self, folder: Path) -> None:
        """All files of a group, and its folders. Whoever writes on begins new files."""
        with contextlib.suppress(FileNotFoundError):
            (folder / ABOUT).unlink()
        for instance in _instances(folder):
            for entry in list(os.scandir(instance)):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(entry.path)  # noqa: PTH108  what scandir gave
        drop_empty(folder)
        with contextlib.suppress(OSError):
            folder.rmdir()

    def _region(self, owner: Owner) -> Path:
        return self.root / places.component(owner.account) / places.component(owner.region)


def nowhere() -> Shelf:
    """One without a group."""
    return Shelf(Path(os.devnull))


def read_about(folder: Path) -> About:
    """What is kept about a group; a damaged file counts as none."""
    try:
        return msgspec.json.decode((folder / ABOUT).read_bytes(), type=About)
    except (OSError, msgspec.DecodeError):
        return About()


def write_about(folder: Path, about: About) -> None:
    """Keeps it, whatever happens meanwhile."""
    new = folder / (ABOUT + ".new")
    new.write_bytes(msgspec.json.encode(about))
    new.replace(folder / ABOUT)


def drop_empty(folder: Path) -> None:
    """Folders of instances and variants that hold nothing any more."""
    for instance in list(_instances(folder)):
        with contextlib.suppress(OSError):
            instance.rmdir()
    for variant in list(_folders(folder)):
        with contextlib.suppress(OSError):
            Path(variant.path).rmdir()


def groups(root: Path) -> Iterator[Path]:
    """The folders of all groups of all owners."""
    for account in _folders(root):
        for region in _folders(Path(account.path)):
            for endpoint in _folders(Path(region.path)):
                yield Path(endpoint.path)


def files(folder: Path) -> Iterator[tuple[Path, os.stat_result, int]]:
    """All files of a group's logs with which part each is (0: the one that is written to)."""
    for instance in _instances(folder):
        for entry in os.scandir(instance):
            part = places.part_of(entry.name)
            with contextlib.suppress(OSError):
                if part is not None:
                    yield Path(entry.path), entry.stat(), part[1]


def begun(path: Path) -> tuple[float, float] | None:
    """The times of the first and of the last event of a log, in epoch seconds; ``None`` when it has none."""
    with Log(path) as log:
        last = next(log.backward(), None)
        return (log.start.file / 1_000_000, last.micros / 1_000_000) if last is not None else None


def _begun(path: Path) -> float:
    with Log(path) as log:
        return log.start.file / 1_000_000


def _statuses(path: Path) -> Iterator[os.stat_result]:
    for entry in os.scandir(path.parent):
        part = places.part_of(entry.name)
        if part is not None and part[0] == path.name:
            with contextlib.suppress(OSError):
                yield entry.stat()


def logs_of(folder: Path) -> Iterator[Path]:
    """The newest files of a group's logs."""
    for instance in _instances(folder):
        for name in _names(instance):
            yield instance / name


def _names(instance: Path) -> set[str]:
    with contextlib.suppress(OSError):
        return {part[0] for entry in os.scandir(instance) if (part := places.part_of(entry.name))}
    return set()


def _instances(folder: Path) -> Iterator[Path]:
    for variant in _folders(folder):
        for instance in _folders(Path(variant.path)):
            yield Path(instance.path)


def _folders(path: Path) -> list["os.DirEntry[str]"]:
    """Of a folder that may be gone."""
    with contextlib.suppress(OSError):
        return [entry for entry in os.scandir(path) if entry.is_dir(follow_symlinks=False)]
    return []
