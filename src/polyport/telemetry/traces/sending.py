"""Sends spans without making anybody wait: they are gathered and, once a second, handed to a thread.

What a collector does not take in time is lost and counted; a dead one costs memory for so many spans and nothing else.
"""

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from polyport.telemetry.traces.spans import Span

log = logging.getLogger(__name__)

#: Spans that wait to be sent; what comes beyond is lost.
MAX_SPANS = 8192
#: Spans in one message.
PIECE = 512
#: Seconds that the last spans may take when the process ends.
PATIENCE = 3.0
#: Seconds in which an attempt that is broken off says so.
BREAK_OFF = 0.5
#: Seconds between two lines of the log about spans that were lost.
REPORT_INTERVAL = 60.0


class Exporter(Protocol):
    """The way to a collector."""

    def send(self, spans: list[Span]) -> str:
        """Returns why it failed; empty: it did not. Takes its time; called in a thread."""

    def close(self) -> None:
        """Break off what is under way, and send nothing more."""


class Sender:
    """Keeps spans until they are sent. All but `_send` is for one thread, the event loop's."""

    def __init__(self, exporter: Exporter, clock: Callable[[], float] = monotonic) -> None:
        self._exporter = exporter
        self._clock = clock
        self._spans: list[Span] = []
        self._thread: threading.Thread | None = None
        # Spans that were lost: for want of room, and (written by the thread) because the collector did not take them.
        self._missed = 0
        self._failed = 0
        self._reason = ""
        self._told = 0
        self._next_report = 0.0

    @property
    def lost(self) -> int:
        """Spans that were not sent."""
        return self._missed + self._failed

    def add(self, spans: list[Span]) -> None:
        """Keep them until the next `flush`, if there is room."""
        if len(self._spans) + len(spans) <= MAX_SPANS:
            self._spans += spans
        else:
            self._missed += len(spans)

    def flush(self) -> None:
        """Begin to send what there is, unless the last time is not over."""
        if self._spans and not self._is_sending():
            spans, self._spans = self._spans, []
            # A daemon: a collector that hangs must not keep the process from ending.
            self._thread = threading.Thread(target=self._send, args=(spans,), daemon=True, name="traces")
            self._thread.start()
        if self.lost > self._told and self._clock() >= self._next_report:
            self._next_report = self._clock() + REPORT_INTERVAL
            self._report()

    def close(self) -> None:
        """Send the last ones, within `PATIENCE`."""
        until = monotonic() + PATIENCE
        self._wait(until)
        if not self._is_sending():
            self.flush()
            self._wait(until)
        # What waits here, or for its second attempt, never will be sent.
        self._exporter.close()
        self._wait(monotonic() + BREAK_OFF)
        self._missed += len(self._spans)
        self._spans = []
        if self._is_sending():
            log.warning("the last spans were not taken within %g s", PATIENCE)
        if self.lost > self._told:
            self._report()

    def _is_sending(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _wait(self, until: float) -> None:
        if self._thread is not None:
            self._thread.join(max(0.0, until - monotonic()))

    def _report(self) -> None:
        lost, self._told = self.lost - self._told, self.lost
        log.warning("%d spans were lost: %s", lost, self._reason or "the collector is too slow")

    # In the thread

    def _send(self, spans: list[Span]) -> None:
        for at in range(0, len(spans), PIECE):
            piece = spans[at : at + PIECE]
            try:
                reason = self._exporter.send(piece)
            except Exception as error:  # noqa: BLE001  whatever it is, calls go on
                reason = f"{type(error).__name__}: {error}"
            if reason:
                self._failed += len(piece)
                self._reason = reason
