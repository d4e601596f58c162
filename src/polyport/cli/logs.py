"""`polyport logs`: what the containers of an endpoint print, from the files of the home; no server has to run."""

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from polyport import settings
from polyport.cli.access.desk import Account, Home
from polyport.domain.names import Owner
from polyport.errors import UsageError
from polyport.telemetry.logs import filters, places, search, shelf
from polyport.telemetry.logs.blocks import Block, Blocks
from polyport.telemetry.logs.filters import Matches
from polyport.telemetry.logs.records import Event, Span
from polyport.telemetry.logs.shelf import Shelf

#: Seconds between two looks, and for which lines wait for earlier ones of other containers.
_PAUSE = 0.25
_SETTLING = 0.25
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGE = re.compile(r"([0-9]{1,9})([smhdw])")

Region = Annotated[
    str | None, typer.Option(help="The region.", show_default=f"the setting region: {settings.default('region')}")
]


def logs(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The endpoint.")],
    container: Annotated[
        str | None, typer.Option("--container", "-c", help="Of this container alone.", metavar="C")
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is printed from now on.")] = False,
    since: Annotated[
        str | None,
        typer.Option(help="From then on: an age such as 30s, 10m, 2h, 1d, 1w, or a time in ISO 8601.", metavar="TIME"),
    ] = None,
    pattern: Annotated[
        str, typer.Option("--filter", help="Lines that match this pattern of CloudWatch Logs.", metavar="PATTERN")
    ] = "",
    account: Account = None,
    region: Region = None,
    home: Home = None,
) -> None:
    """Show what the containers of an endpoint print, all of it by time; the lines of a traceback stay together."""
    loaded = settings.load({"home": home} if home else {}, os.environ)
    owner = Owner(account or loaded.account_id, region or loaded.region)
    reading = _Reading(Shelf(loaded.home / "logs"), owner, name, container)
    reading.span = Span(_since(since, time.time()) if since else 0)
    reading.matches = _filter(pattern)
    if not follow:
        reading.expect()
    for block in reading.blocks(follow=follow):
        _print(block)


class _Reading:
    """How far the logs of one endpoint are read."""

    def __init__(self, of: Shelf, owner: Owner, endpoint: str, container: str | None) -> None:
        self.span = Span()
        self.matches: Matches | None = None
        self._shelf = of
        self._owner = owner
        self._endpoint = endpoint
        self._container = container
        self._positions: search.Positions = {}

    def expect(self) -> None:
        """Raises `UsageError` when there is nothing to read."""
        if self._logs():
            return
        whose = f"endpoint {self._endpoint} of account {self._owner.account} in {self._owner.region}"
        if self._container and self._logs(every=True):
            names = sorted({_container(path) for path in self._logs(every=True).values()})
            raise UsageError(f"There is no container {self._container} in {whose}. There are: {', '.join(names)}.")
        raise UsageError(f"There are no logs of {whose}. See polyport endpoints list.")

    def blocks(self, *, follow: bool) -> Iterator[Block]:
        """All there are; with ``follow``, for ever."""
        blocks = Blocks()
        while True:
            now = time.time()
            for stream, event in self._events(int((now - _SETTLING) * 1_000_000) if follow else None):
                yield from blocks.add(stream, event)
            if not follow:
                yield from blocks.flush()
                return
            yield from blocks.expire(int((now - _SETTLING) * 1_000_000))
            time.sleep(_PAUSE)

    def _events(self, settled: int | None) -> Iterator[tuple[str, Event]]:
        limits = search.Limits(settled=settled) if settled is not None else search.USUAL
        while True:
            # Logs may appear meanwhile, which are read from their beginning.
            page = search.page(
                self._logs(), self._positions, self.span, self.matches, limits=limits, index=self._shelf.index
            )
            self._positions = page.reached
            yield from page.events
            if page.next is None:
                return

    def _logs(self, *, every: bool = False) -> dict[str, Path]:
        folder = self._shelf.folder(self._owner, shelf.PREFIX + self._endpoint)
        streams = self._shelf.streams(folder) if folder else {}
        return {name: path for name, path in streams.items() if every or self._container in (None, _container(path))}


def _container(path: Path) -> str:
    return path.name.removesuffix(places.SUFFIX)


def _filter(pattern: str) -> Matches | None:
    try:
        return filters.compile_filter(pattern)
    except filters.PatternError as error:
        raise UsageError(f"--filter {pattern}: {error}.") from error


def _since(text: str, now: float) -> int:
    """Microseconds since the epoch. Raises `UsageError`."""
    if age := _AGE.fullmatch(text):
        return int((now - int(age[1]) * _UNITS[age[2]]) * 1_000_000)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(f"--since {text}: give an age such as 30s, 10m, 2h or 1d, or a time in ISO 8601.") from error
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1_000_000)


def _print(block: Block) -> None:
    """The first line with its time and stream, the others as the container printed them."""
    first, *others = block.events
    at = datetime.fromtimestamp(first.micros / 1_000_000, UTC).isoformat(timespec="milliseconds")
    lines = [f"{at.removesuffix('+00:00')}Z {block.stream} {first.message}", *(event.message for event in others)]
    typer.echo("\n".join(lines))
