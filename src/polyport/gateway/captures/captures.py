"""All captures of a worker: which calls are captured, what is held of them, and when it is written.

Calls that are over wait in memory, within bounds; a thread writes them into the spool once a second, or sooner when
much has come. Neither a slow disk nor a full one is noticed by a caller.
"""

from __future__ import annotations

import logging
import secrets
import threading
from collections import Counter
from pathlib import Path
from time import time
from typing import TYPE_CHECKING

from polyport.domain import captures
from polyport.gateway.captures.witness import Witness
from polyport.telemetry.capture.records import Call, Target
from polyport.telemetry.capture.writing import DISK, Dropped, Writer

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyport.domain.captures import Capture
    from polyport.gateway.clients.exchange import Client
    from polyport.gateway.clients.request import Request
    from polyport.gateway.containers.routes import Endpoint
    from polyport.gateway.options import Options

log = logging.getLogger(__name__)

#: Sweeps (one a second) between two lines of the log about calls that could not be captured.
REPORT_SWEEPS = 60
#: Seconds that the last captures may take to be written when the worker ends.
PATIENCE = 5.0
#: A second is not waited for once this part of the room is taken.
WRITE_FROM = 4

Key = tuple[str, str, str, str]
"""Account, region, endpoint and variant."""


class Tally:
    """What has become of one variant's captures since the worker began. ``told``: how many drops the log knows of."""

    __slots__ = ("dropped", "kept", "told")

    def __init__(self) -> None:
        self.kept = 0
        self.dropped: Counter[str] = Counter()
        self.told = 0


class Batch:
    """What is being written, and what came of it. ``size``: bytes of the room that it takes."""

    __slots__ = ("calls", "dropped", "is_over", "size", "thread")

    def __init__(self, calls: dict[Target, list[Call]], size: int) -> None:
        self.calls = calls
        self.size = size
        self.dropped: Dropped = {}
        self.is_over = False
        self.thread: threading.Thread | None = None


class Captures:
    """``draw`` gives chances from 0 to 1; ``tell`` passes sums on to control."""

    def __init__(
        self, options: Options, draw: Callable[[], float], tell: Callable[[captures.Captures], object] = lambda _: None
    ) -> None:
        self._draw = draw
        self._tell = tell
        self._writer = Writer(Path(options.capture_folder), options.capture_interval, options.capture_spool_bytes)
        self._is_on = bool(options.capture_folder)
        self._most = options.capture_max_bytes
        self.most_of_call = options.capture_max_call_bytes
        #: Bytes that are held, of calls under way and of those that wait to be written.
        self.held = 0
        self._waiting: dict[Target, list[Call]] = {}
        self._waiting_size = 0
        self._batch: Batch | None = None
        self._run = secrets.token_hex(8)
        self.tallies: dict[Key, Tally] = {}
        #: What control knows, by how many calls that are.
        self._told: dict[Key, int] = {}
        self._sweeps = 0
        self._trouble = ""

    # For calls

    def watch(
        self, client: Client, request: Request, endpoint: Endpoint, variant: str, capture: Capture
    ) -> Witness | None:
        """What looks on at a call whose lot it is to be captured; ``None``: it is not."""
        if self._draw() * 100 >= capture.percentage or not self._is_on:
            return None
        key = (endpoint.account, endpoint.region, endpoint.name, variant)
        tally = self.tallies.get(key)
        if tally is None:
            tally = self.tallies[key] = Tally()
        return Witness(self, client, request, capture, key, tally)

    def take(self, size: int) -> bool:
        """So many bytes of the room. Says whether they are there; if not, nothing changes."""
        if self.held + size > self._most:
            return False
        self.held += size
        return True

    def give_back(self, size: int) -> None:
        """What was taken and is not needed."""
        self.held -= size

    def offer(self, key: Key, capture: Capture, call: Call, size: int) -> None:
        """A call is over, and its caller has the answer. ``size``: what it holds of the room."""
        target = Target(*key, capture, int(call.entry.at // 3600))
        self._waiting.setdefault(target, []).append(call)
        self._waiting_size += size
        if self._waiting_size * WRITE_FROM > self._most:
            self.flush()

    # For the gateway

    def sweep(self) -> None:
        """Once a second."""
        self.flush()
        self._sweeps += 1
        if self._sweeps >= REPORT_SWEEPS:
            self._sweeps = 0
            self._report()
        self._tell_news()

    def repeat(self) -> None:
        """There is a new connection to control: say again what it may not have heard."""
        self._told.clear()
        self._tell_news()

    def flush(self) -> None:
        """Begin to write what waits, unless the last time is not over."""
        if self._batch is not None:
            if self._batch.thread is not None and self._batch.thread.is_alive():
                return
            self._settle(self._batch)
        if self._waiting or not self._writer.is_idle:
            batch = self._batch = Batch(self._waiting, self._waiting_size)
            self._waiting, self._waiting_size = {}, 0
            # A daemon: a disk that hangs must not keep the process from ending.
            thread = threading.Thread(target=self._write, args=(batch,), daemon=True)
            try:
                thread.start()
                batch.thread = thread
            except RuntimeError as error:
                # There can be no more threads: what was to be written is lost.
                self._trouble = str(error)

    def close(self) -> None:
        """The worker ends: write the last, and let all of it be sent."""
        if self._wait() and self._waiting:
            self.flush()
        if self._wait():
            self._writer.close(time())
        self._report()

    # Steps

    def _wait(self) -> bool:
        """Whether what is being written came to its end."""
        batch = self._batch
        if batch is None:
            return True
        if batch.thread is not None:
            batch.thread.join(PATIENCE)
            if batch.thread.is_alive():
                return False
        self._settle(batch)
        return True

    def _write(self, batch: Batch) -> None:
        """In a thread."""
        now = time()
        try:
            batch.dropped = self._writer.write(batch.calls, now)
            self._writer.seal(now)
            batch.is_over = True
        except Exception:
            log.exception("captured calls could not be written")

    def _settle(self, batch: Batch) -> None:
        self._batch = None
        self.held -= batch.size
        for target, calls in batch.calls.items():
            tally = self.tallies[target.account, target.region, target.endpoint, target.variant]
            lost = batch.dropped.get(target, Counter()) if batch.is_over else Counter({DISK: len(calls)})
            tally.kept += len(calls) - lost.total()
            tally.dropped += lost
        self._trouble = self._writer.trouble or self._trouble

    def _tell_news(self) -> None:
        now = {key: tally.kept + tally.dropped.total() for key, tally in self.tallies.items()}
        news = [key for key, count in now.items() if count != self._told.get(key, 0)]
        if news:
            self._told = now
            sums = (captures.Captured(*key, self.tallies[key].kept, dict(self.tallies[key].dropped)) for key in news)
            self._tell(captures.Captures(self._run, tuple(sums)))

    def _report(self) -> None:
        trouble, self._trouble = f" ({self._trouble})" if self._trouble else "", ""
        for (_, region, endpoint, variant), tally in self.tallies.items():
            news, tally.told = tally.dropped.total() - tally.told, tally.dropped.total()
            if news:
                reasons = ", ".join(f"{reason}: {count}" for reason, count in tally.dropped.most_common())
                log.warning(
                    "endpoint %s in %s, variant %s: %d calls captured, %d not (%s)%s",
                    *(endpoint, region, variant, tally.kept, tally.told, reasons, trouble),
                )
