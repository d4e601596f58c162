"""GetLogEvents, FilterLogEvents: what containers printed."""

import asyncio
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from polyport.api import log_groups
from polyport.api.context import Context
from polyport.api.log_groups import invalid
from polyport.errors import ApiError
from polyport.telemetry.logs import filters, parts, search
from polyport.telemetry.logs.filters import Matches
from polyport.telemetry.logs.records import Event, Position, Span

#: What AWS lists at a time.
MOST_EVENTS = 10_000
MOST_BYTES = 1024 * 1024
#: Seconds after which no engine is expected to write lines of a time: until then a listing of several streams waits,
#: as it is for clients that go on from the last time they saw.
SETTLING = 0.5
_TOKEN = re.compile(r"([fb])/([0-9]{1,20})/([0-9]{1,20})")
#: Long past every time in microseconds.
_EVER = 2**63


async def get_log_events(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The events of one stream in the order they were printed; the last ones unless told otherwise."""
    _, folder = await log_groups.find(context, request)
    token = _TOKEN.fullmatch(request["nextToken"]) if "nextToken" in request else None
    if "nextToken" in request and token is None:
        raise invalid("The specified nextToken is invalid.")
    backward = token[1] == "b" if token else not request.get("startFromHead", False)
    position = Position(int(token[2]), int(token[3])) if token else None
    span = _span(context, request, folder, inclusive=False)
    limits = search.Limits(request.get("limit", MOST_EVENTS), MOST_BYTES)

    def look() -> tuple[list[Event], Position, Position]:
        path = context.logs.streams(folder).get(request["logStreamName"])
        if path is None:
            raise ApiError("ResourceNotFoundException", "The specified log stream does not exist.")
        with parts.Log(path, context.logs.index) as log:
            return search.lines(log, position, span, limits=limits, backward=backward)

    events, first, last = await asyncio.to_thread(look)
    return {
        "events": [_event(event) for event in events],
        "nextForwardToken": f"f/{last.file}/{last.offset}",
        "nextBackwardToken": f"b/{first.file}/{first.offset}",
    }


async def filter_log_events(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The events of several streams, by time. A page may be empty and have a successor all the same."""
    _, folder = await log_groups.find(context, request)
    if not request.get("startFromHead", True):
        raise invalid("startFromHead false is not supported: Polyport lists the earliest events first.")
    wanted, prefix = request.get("logStreamNames"), request.get("logStreamNamePrefix")
    if wanted and prefix:
        raise invalid("logStreamNames and logStreamNamePrefix cannot be given together.")
    matches = compile_filter(request.get("filterPattern", ""))
    positions = _positions(context, request)
    span = _span(context, request, folder, inclusive=True)
    settled = int((context.clock() - SETTLING) * 1_000_000)
    limits = search.Limits(request.get("limit", MOST_EVENTS), MOST_BYTES, settled)

    def look() -> search.Page:
        streams = choose(context.logs.streams(folder), wanted, [prefix] if prefix else None)
        missing = set(wanted or ()) - streams.keys()
        if missing:
            raise ApiError("ResourceNotFoundException", "The specified log stream does not exist.")
        return search.page(streams, positions, span, matches, limits=limits, index=context.logs.index)

    page = await asyncio.to_thread(look)
    answer: dict[str, Any] = {"events": _listed(page.events), "searchedLogStreams": []}
    if page.next is not None:
        answer["nextToken"] = log_groups.make_token(context, "FilterLogEvents", request, page.next)
    return answer


def compile_filter(pattern: str) -> Matches | None:
    """What tells which messages are meant. Raises `ApiError`."""
    try:
        return filters.compile_filter(pattern)
    except filters.PatternError as error:
        raise invalid(f"Invalid filter pattern: {error}.") from error


def choose(streams: Mapping[str, Path], names: list[str] | None, prefixes: list[str] | None) -> dict[str, Path]:
    """Those of the names, or of the prefixes; all without either."""
    if names:
        return {name: path for name, path in streams.items() if name in names}
    if prefixes:
        return {name: path for name, path in streams.items() if name.startswith(tuple(prefixes))}
    return dict(streams)


def _positions(context: Context, request: dict[str, Any]) -> search.Positions:
    if "nextToken" not in request:
        return {}
    found = log_groups.read_token(context, "FilterLogEvents", request)
    try:
        return msgspec.convert(found, dict[str, Position])
    except msgspec.ValidationError as error:
        raise invalid("The specified nextToken is invalid.") from error


def _span(context: Context, request: dict[str, Any], folder: Path, *, inclusive: bool) -> Span:
    """The times that are asked for, as far as they have not expired. ``inclusive``: the end is within."""
    end = request["endTime"] + inclusive if "endTime" in request else None
    if end is not None and request.get("startTime", 0) >= end:
        raise invalid("endTime must be after startTime.")
    oldest = context.logs.oldest(folder, context.clock())
    return Span(max(request.get("startTime", 0) * 1000, oldest), end * 1000 if end is not None else _EVER)


def _event(event: Event) -> dict[str, Any]:
    milliseconds = event.micros // 1000
    return {"timestamp": milliseconds, "message": event.message, "ingestionTime": milliseconds}


def _listed(events: list[tuple[str, Event]]) -> list[dict[str, Any]]:
    marks = {name: _mark(name) for name in {name for name, _ in events}}
    return [{"logStreamName": name, **_event(event), "eventId": event_id(marks[name], event)} for name, event in events]


def event_id(mark: int, event: Event) -> str:
    """56 digits, the same ones whenever the event is listed, and no other's."""
    return f"{event.micros:017d}{mark:020d}{(event.file + event.offset) % 10**19:019d}"


def _mark(stream: str) -> int:
    return int.from_bytes(hashlib.blake2b(stream.encode(), digest_size=8).digest(), "big")
