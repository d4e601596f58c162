"""What happened to each instance: a ring of events in memory and on disk, so that a restart of control loses none.

On disk it is ``events.jsonl`` beside the logs of the instance's containers, one event a line; what happened before
there was an instance is in the folder of the variant. Nothing is written while nothing happens. A disk that takes no
more costs events and nothing else.
"""

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from polyport.domain import events
from polyport.domain.endpoints import Endpoint
from polyport.domain.events import Event
from polyport.engines import atomic, names

log = logging.getLogger(__name__)

FILE = "events.jsonl"
#: So many events are kept of an instance: the first ones, which tell how it began, and the latest.
FIRST, LATEST = 20, 180
#: A file is written anew, with these alone, when it has more lines than this.
MOST_LINES = 2 * (FIRST + LATEST)
#: Seconds that those of an instance are kept that is no more.
KEEP = 14 * 24 * 3600.0


class Chronicle:
    """Without a ``home`` it is kept in memory alone."""

    def __init__(self, home: Path | None = None) -> None:
        self._home = home
        self._files: dict[str, Path] = {}
        self._rings: dict[str, list[Event]] = {}
        #: How many lines their files have.
        self._lines: dict[str, int] = {}

    def open(self, instance: str, endpoint: Endpoint, variant: str) -> None:
        """From here on events of this instance are taken."""
        if instance in self._rings:
            return
        self._rings[instance] = []
        if self._home is not None:
            self._files[instance] = path = path_of(self._home, endpoint, variant, instance)
            self._rings[instance] = list(read(path))
            self._lines[instance] = _count(self._rings[instance])

    def note(self, instance: str, *noted: Event) -> None:
        """Keep what is news. Events of an instance that is not open are dropped."""
        ring = self._rings.get(instance)
        if ring is None:
            return
        fresh: list[Event] = []
        for event in noted:
            if events.is_news(ring, event):
                ring.append(event)
                fresh.append(event)
        del ring[FIRST : max(FIRST, len(ring) - LATEST)]
        if fresh and instance in self._files:
            self._write(instance, fresh)

    def note_variant(self, endpoint: Endpoint, variant: str, event: Event) -> None:
        """What happened to a variant that has no instance yet."""
        key = f"{endpoint.id}/{variant}"
        self._rings.pop(key, None)
        if self._home is not None:
            self._files[key] = path_of(self._home, endpoint, variant, "")
            self._rings[key] = list(read(self._files[key]))
            self._lines[key] = _count(self._rings[key])
            self.note(key, event)
        self.close(key)

    def close(self, instance: str) -> None:
        """Nothing more happens to it."""
        self._rings.pop(instance, None)
        self._files.pop(instance, None)
        self._lines.pop(instance, None)

    def known(self, instance: str) -> tuple[Event, ...]:
        """Its events, oldest first."""
        return tuple(self._rings.get(instance, ()))

    def _write(self, instance: str, fresh: list[Event]) -> None:
        path, ring = self._files[instance], self._rings[instance]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if self._lines[instance] + len(fresh) > MOST_LINES:
                atomic.write_atomically(path, _encode(ring))
                self._lines[instance] = len(ring)
                return
            with open(path, "ab", opener=_private) as file:
                file.write(_encode(fresh))
            self._lines[instance] += len(fresh)
        except OSError as error:
            log.warning("%s cannot be written: %s", path, error.strerror)


def read(path: Path) -> Iterator[Event]:
    """The events of a file, oldest first; none if there is no such file. A line that a full disk tore is left out."""
    with contextlib.suppress(OSError):
        found = []
        for line in path.read_bytes().splitlines():
            with contextlib.suppress(msgspec.MsgspecError, UnicodeDecodeError):
                found.append(msgspec.json.decode(line, type=Event))
        del found[FIRST : max(FIRST, len(found) - LATEST)]
        yield from found


def find(home: Path, labels: Mapping[str, str]) -> Iterator[tuple[str, str, Path]]:
    """All that is kept of an endpoint: variant (as in a file's name), instance (empty: before there was one), file."""
    folder = names.log_folder(home, {**labels, "variant": "_"}).parent
    for path in sorted(folder.glob(f"*/{FILE}")):
        yield path.parent.name, "", path
    for path in sorted(folder.glob(f"*/*/{FILE}")):
        yield path.parent.parent.name, path.parent.name, path


def sweep(home: Path, alive: Iterable[str], clock: Callable[[], float] = time.time) -> int:
    """Remove what is older than `KEEP` of instances that are no more, and folders that hold nothing else; returns how
    many. It blocks for some milliseconds."""
    kept, removed = set(alive), 0
    for path in [*home.glob(f"logs/*/*/*/*/{FILE}"), *home.glob(f"logs/*/*/*/*/*/{FILE}")]:
        with contextlib.suppress(OSError):
            if path.parent.name not in kept and clock() - path.stat().st_mtime > KEEP:
                path.unlink()
                removed += 1
                path.parent.rmdir()
    return removed


def path_of(home: Path, endpoint: Endpoint, variant: str, instance: str) -> Path:
    """Where the events of an instance are (empty: those of the variant)."""
    labels = {
        "account": endpoint.owner.account,
        "region": endpoint.owner.region,
        "endpoint": endpoint.name,
        "variant": variant,
    }
    return names.log_folder(home, labels, instance) / FILE


def _count(ring: list[Event]) -> int:
    """How many lines the file has that this was read from; as many as it may have, where more were left out."""
    return len(ring) if len(ring) < FIRST + LATEST else MOST_LINES


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _encode(several: Iterable[Event]) -> bytes:
    return b"".join(msgspec.json.encode(event) + b"\n" for event in several)
