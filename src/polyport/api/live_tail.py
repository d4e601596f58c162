"""StartLiveTail: what containers print from now on, in a stream of events."""

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import Any

from polyport.api import log_events, log_groups
from polyport.api.context import Context
from polyport.errors import ApiError
from polyport.telemetry.logs import parts, search
from polyport.telemetry.logs.filters import Matches
from polyport.telemetry.logs.records import Event, Span

#: Sessions at the same time.
MOST_SESSIONS = 15
#: Seconds that a session may last, as on AWS, and seconds between two updates.
SESSION = 3 * 3600.0
PAUSE = 1.0
#: Events in one update.
MOST_EVENTS = 500

Update = tuple[str, dict[str, Any]]
"""The name of an event of the stream, and its members."""


async def start_live_tail(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Begins a session. Nothing is sampled: where there are more events than fit in one update, more updates come."""
    if context.logs.sessions >= MOST_SESSIONS:
        raise ApiError("LimitExceededException", f"There are {MOST_SESSIONS} Live Tail sessions already.")
    if "logStreamNames" in request and "logStreamNamePrefixes" in request:
        raise log_groups.invalid("logStreamNames and logStreamNamePrefixes cannot be given together.")
    if len(request["logGroupIdentifiers"]) > 1 and {"logStreamNames", "logStreamNamePrefixes"} & request.keys():
        raise log_groups.invalid("Streams can be chosen in a single log group only.")
    matches = log_events.compile_filter(request.get("logEventFilterPattern", ""))
    found = [await log_groups.find(context, {"logGroupIdentifier": name}) for name in request["logGroupIdentifiers"]]
    session = _Session(context, request, dict(found), matches)
    await asyncio.to_thread(session.go_to_end)
    return {"responseStream": session.updates()}


class _Session:
    """How far one client is."""

    def __init__(
        self, context: Context, request: dict[str, Any], groups: Mapping[str, Path], matches: Matches | None
    ) -> None:
        self._context = context
        self._request = request
        self._groups = groups
        self._matches = matches
        self._positions: dict[str, search.Positions] = {}

    def go_to_end(self) -> None:
        """What was printed before is no news."""
        for group in self._groups:
            self._positions[group] = {}
            for name, path in self._streams(group).items():
                with parts.Log(path) as log:
                    self._positions[group][name] = log.end

    async def updates(self) -> AsyncGenerator[Update, None]:
        """Until the time is over, the server stops, or nobody listens any more."""
        self._context.logs.sessions += 1
        until = time.monotonic() + SESSION
        try:
            yield "sessionStart", self._start()
            while time.monotonic() < until and not self._context.is_stopping():
                results = await asyncio.to_thread(self._look)
                for at in range(0, max(1, len(results)), MOST_EVENTS):
                    sent = results[at : at + MOST_EVENTS]
                    yield "sessionUpdate", {"sessionMetadata": {"sampled": False}, "sessionResults": sent}
                if len(results) < MOST_EVENTS:
                    await self._pause()
            if not self._context.is_stopping():
                yield "SessionTimeoutException", {"message": "The session has lasted as long as it may."}
        finally:
            self._context.logs.sessions -= 1

    async def _pause(self) -> None:
        until = time.monotonic() + PAUSE
        while time.monotonic() < until and not self._context.is_stopping():  # noqa: ASYNC110  there is no event
            await asyncio.sleep(PAUSE / 10)

    def _start(self) -> dict[str, Any]:
        asked = {name: self._request[name] for name in self._request if name != "logGroupIdentifiers"}
        owner = self._context.owner
        groups = [log_groups.group_arn(owner, group) for group in self._groups]
        return {"sessionId": str(uuid.uuid4()), "logGroupIdentifiers": groups, **asked}

    def _look(self) -> list[dict[str, Any]]:
        settled = int((time.time() - log_events.SETTLING) * 1_000_000)
        limits = search.Limits(settled=settled)
        results = []
        for group in self._groups:
            with contextlib.suppress(FileNotFoundError):  # deleted in this moment
                page = search.page(self._streams(group), self._positions[group], Span(), self._matches, limits=limits)
                self._positions[group] |= page.reached
                results += [self._result(group, name, event) for name, event in page.events]
        return results

    def _streams(self, group: str) -> dict[str, Path]:
        streams = self._context.logs.streams(self._groups[group])
        return log_events.choose(
            streams, self._request.get("logStreamNames"), self._request.get("logStreamNamePrefixes")
        )

    def _result(self, group: str, name: str, event: Event) -> dict[str, Any]:
        milliseconds = event.micros // 1000
        return {
            "logStreamName": name,
            "logGroupIdentifier": log_groups.group_arn(self._context.owner, group),
            "message": event.message,
            "timestamp": milliseconds,
            "ingestionTime": milliseconds,
        }
