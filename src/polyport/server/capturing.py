"""Sends what gateway workers have captured: spool files become objects in a store or in the folder of a bucket.

In a thread of its own, one file after the other. A file is removed once it is sent; it always becomes the same object,
so one that is sent again after a crash is not there twice.
"""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from polyport.artifacts.outgoing import Outgoing
from polyport.domain.captures import Captures
from polyport.errors import ArtifactError
from polyport.telemetry.capture import records, spool
from polyport.telemetry.capture.records import Target
from polyport.telemetry.capture.sums import Sums
from polyport.telemetry.metrics.families import Samples

log = logging.getLogger(__name__)

#: Seconds between two looks for files that are ready.
INTERVAL = 1.0
#: Seconds until a destination is tried again, by how often it failed in a row.
PAUSES = (1.0, 2.0, 5.0, 15.0, 30.0, 60.0, 120.0)
#: Seconds for which a destination that fails is waited for; older files are dropped.
KEPT_FOR = 24 * 3600.0
#: Seconds that the last files may take when control ends. What is left is sent by the next one.
PATIENCE = 5.0
#: Why a call that was kept is dropped by control.
NOT_TAKEN = "store"


class Failing:
    """A destination that did not take what it was sent."""

    def __init__(self) -> None:
        self.times = 0
        self.until = 0.0


class Sender:
    """Kept by control. ``clock`` gives epoch seconds."""

    def __init__(self, home: Path, outgoing: Outgoing, clock: Callable[[], float] = time.time) -> None:
        self._root = home / spool.FOLDER
        self._outgoing = outgoing
        self._clock = clock
        self._failing: dict[str, Failing] = {}
        self._stopping = threading.Event()
        # A daemon: a store that says nothing must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="captures", daemon=True)
        self._lock = threading.Lock()
        self.sums = Sums()
        self.objects = 0
        self.failures = 0
        self.waiting = 0
        self._is_unable = False
        self._told_of_key = False

    def start(self) -> None:
        """Begin; what was left from before is sent first."""
        self._thread.start()

    def close(self) -> None:
        """Send what is ready, if that is quick."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(PATIENCE)
        if not self._thread.is_alive():
            self._outgoing.close()

    def take(self, sums: Captures) -> None:
        """What became of captures in a worker."""
        with self._lock:
            self.sums.take(sums)

    def samples(self) -> dict[str, Samples]:
        """For ``GET /metrics``; nothing before the first capture."""
        with self._lock:
            if not self.sums.kept and not self.sums.dropped:
                return {}
            return {
                "polyport_captured_calls_total": dict(self.sums.kept.items()),
                "polyport_capture_drops_total": dict(self.sums.dropped),
                "polyport_capture_objects_total": {(): self.objects},
                "polyport_capture_send_failures_total": {(): self.failures},
                "polyport_capture_spool_bytes": {(): self.waiting},
            }

    # In the thread

    def _run(self) -> None:
        while not self._stopping.wait(INTERVAL):
            self.send()
        self.send()

    def send(self) -> None:
        """Whatever is ready and whose destination is not to be left alone for now."""
        try:
            spool.adopt(self._root)
            for file in spool.ready(self._root):
                self._send(file)
            self.waiting = spool.measure(self._root).total
            self._is_unable = False
        except OSError as error:
            if not self._is_unable:
                self._is_unable = True
                log.warning("captured calls cannot be read: %s", error)
        except Exception:
            log.exception("captured calls could not be sent")

    def _send(self, file: Path) -> None:
        named = spool.parse_name(file.name)
        assert named is not None, "only such files are ready"
        label, began, identity = named
        failing, now = self._failing.get(label), self._clock()
        if failing is not None and now < failing.until:
            return
        try:
            target, lines = records.read(file.read_bytes())
        except ValueError:
            # Its writer was killed before the first call was in it.
            file.unlink(missing_ok=True)
            return
        data = list(lines)
        try:
            if data:
                self._put(target, began, identity, b"".join(data))
        except ArtifactError as error:
            self._fail(label, target, now, error)
            if now - began > KEPT_FOR:
                self._drop(file, target, len(data))
            return
        file.unlink(missing_ok=True)
        if self._failing.pop(label, None) is not None:
            log.info("captured calls go to %s again", target.capture.destination)

    def _put(self, target: Target, began: float, identity: str, data: bytes) -> None:
        capture = target.capture
        bucket, key = records.key(target, began, identity)
        if capture.kms_key and not self._outgoing.is_store and not self._told_of_key:
            self._told_of_key = True
            log.info("DataCaptureConfig.KmsKeyId has no effect in bucket folders: captured calls are plain files")
        self._outgoing.put(bucket, key, data, capture.kms_key)
        self.objects += 1

    def _fail(self, label: str, target: Target, now: float, error: ArtifactError) -> None:
        self.failures += 1
        failing = self._failing.setdefault(label, Failing())
        pause = PAUSES[min(failing.times, len(PAUSES) - 1)]
        failing.times += 1
        failing.until = now + pause
        if failing.times == 1 or failing.times % 30 == 0:
            log.warning("captured calls wait for %s: %s", target.capture.destination, error)

    def _drop(self, file: Path, target: Target, count: int) -> None:
        log.warning("%d captured calls for %s are dropped: too old", count, target.capture.destination)
        file.unlink(missing_ok=True)
        with self._lock:
            self.sums.drop((target.account, target.region, target.endpoint, target.variant), NOT_TAKEN, count)
