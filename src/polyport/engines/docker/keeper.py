"""Leads one container towards what is wanted: one task, one step at a time, woken by whatever may matter."""

import asyncio
import contextlib
import io
import logging
import signal
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from polyport.domain.instances import ContainerPhase, ContainerState, Exit
from polyport.engines import backoff, logs
from polyport.engines.docker import asks, steps
from polyport.engines.docker.calls import Away, Calls, Missing, Refused
from polyport.engines.docker.ends import End, Ends
from polyport.engines.docker.network import Network
from polyport.engines.docker.output import Output, parse_time, read_last
from polyport.engines.docker.records import Entry, Life
from polyport.errors import EngineError

#: Seconds between two looks if nothing tells of a change.
LOOK_INTERVAL = 10.0
#: Seconds until the next look when the daemon was away, and when a process has ended but the daemon does not know yet.
_AWAY_PAUSE = 1.0
_NEWS_PAUSE = 0.05
_NEWS_LIMIT = 5.0

log = logging.getLogger(__name__)


class Surroundings:
    """What the containers of one instance share."""

    def __init__(
        self, calls: Calls, network: Network, home: str, instance_id: str, labels: dict[str, str], stop_timeout: float
    ) -> None:
        self.calls = calls
        self.network = network
        self.home = home
        self.instance_id = instance_id
        self.labels = labels
        self.stop_timeout = stop_timeout


class Keeper:
    """Of one container. ``on_change`` is called whenever its state, or its life, is another."""

    def __init__(
        self,
        hostname: str,
        surroundings: Surroundings,
        log: logs.Log,
        life: Life,
        on_change: Callable[[], None],
    ) -> None:
        # what it is
        self.hostname = hostname
        self.name = asks.container_name(surroundings.home, surroundings.instance_id, hostname)
        self.life = life
        self.log = log
        self._around = surroundings
        self._calls = surroundings.calls
        self._on_change = on_change
        # what is wanted
        self.entry: Entry | None = None
        self._kill_at: float | None = None
        # what is seen
        self.seen: steps.Seen | None = None
        self.is_done = False
        self._output: Output | None = None
        self._ends: Ends | None = None
        #: The run whose process is known to have ended, and when that was seen.
        self._ended = ""
        self._ended_at = 0.0
        self._end = End()
        # what wakes it
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def want(self, entry: Entry | None) -> None:
        """Another specification, or none any more."""
        self.entry = entry
        if entry is not None and entry.digest != self.life.digest:
            # Nothing of the old one counts any more.
            self.life = Life(digest=entry.digest)
        self.wake()

    def wake(self) -> None:
        """Look again: something may have happened."""
        self._wake.set()

    def start(self) -> None:
        """Begin to lead."""
        self._task = asyncio.create_task(self._lead())

    async def close(self) -> None:
        """Let go; the container goes on."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._unwatch()
        if self._output is not None:
            await self._output.close()
        self.log.close()

    def describe(self) -> ContainerState:
        """As the engine shows it."""
        seen, life = self.seen, self.life
        is_wanted = self.entry is not None and (seen is None or seen.digest == self.entry.digest)
        runs = seen is not None and seen.running and seen.started_at != self._ended
        if runs and (is_wanted or self.entry is None):
            phase = ContainerPhase.RUNNING
        elif self.entry is None:
            phase = ContainerPhase.STOPPED
        else:
            has_ended = life.last_exit is not None or (seen is not None and seen.started_at == self._ended)
            phase = ContainerPhase.BACKOFF if is_wanted and has_ended else ContainerPhase.STARTING
        host, port = self.address()
        return ContainerState(
            hostname=self.hostname,
            phase=phase,
            host=host,
            port=port,
            pid=seen.pid if seen and phase is ContainerPhase.RUNNING else None,
            started_at=parse_time(seen.started_at.encode()) if seen and is_wanted and seen.started_at else None,
            restarts=max(0, life.starts - 1),
            last_exit=life.last_exit,
        )

    def address(self) -> tuple[str, int]:
        """Where a gateway reaches it; empty and 0 while that is not known, or for one that is not wanted."""
        if self.entry is None:
            return "", 0
        if self.entry.port:
            return "127.0.0.1", self.entry.port
        host = self._around.network.address(self.entry.slot)
        return host, asks.PORT if host else 0

    async def look(self) -> None:
        """Asks the daemon how the container is, and takes note. Raises `EngineError`."""
        try:
            shown = await self._calls.ask(f"containers/{self.name}/json")
        except Missing:
            self._see(None)
            return
        labels = (shown.get("Config") or {}).get("Labels") or {}
        if labels.get(asks.LABEL_HOME) != self._around.home:
            raise EngineError(f"There is a container {self.name} that is not this Polyport's.")
        seen = steps.read(shown)
        if seen.digest == self.life.digest and seen.started_at not in ("", self.life.run):
            self.life.run = seen.started_at
            self.life.starts += 1
        self._see(seen)
        if seen.started_at and not seen.running and seen.started_at != self.life.counted:
            await self._note_end(seen)

    async def read_tail(self) -> tuple[str, ...]:
        """The last lines it printed. While it runs the daemon may be ahead of the log."""
        if self.seen is not None and self.seen.running:
            with contextlib.suppress(EngineError, TimeoutError):
                return await read_last(self._calls, self.seen.id, self.log.path)
        return await asyncio.to_thread(logs.read_tail, self.log.path)

    def _see(self, seen: steps.Seen | None) -> None:
        before, self.seen = self.seen, seen
        if seen is None or not seen.running:
            self._kill_at = None
        if seen is None or not seen.running or seen.started_at == self._ended:
            self._unwatch()
        elif before is None or before.started_at != seen.started_at or self._ends is None:
            self._watch(seen)
        if seen is not None and seen.running and self._output is None:
            self._output = Output(self._calls, seen.id, self.log)
        if before != seen:
            self._on_change()

    def _watch(self, seen: steps.Seen) -> None:
        self._unwatch()
        self._end = End()

        def end(how: End) -> None:
            self._ended, self._end = seen.started_at, how
            self._ended_at = time.monotonic()
            self._on_change()
            self.wake()

        if seen.pid is not None:
            self._ends = Ends(seen.pid, seen.id, end)

    def _unwatch(self) -> None:
        if self._ends is not None:
            self._ends.close()
            self._ends = None

    async def _lead(self) -> None:
        while not self.is_done:
            self._wake.clear()
            try:
                again = await self._advance()
            except Away:
                again = time.time() + _AWAY_PAUSE
            except EngineError as error:
                log.warning("container %s: %s", self.name, error)
                again = time.time() + _AWAY_PAUSE
            except Exception:
                log.exception("container %s: a step failed and is tried again", self.name)
                again = time.time() + _AWAY_PAUSE
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, again - time.time())):
                    await self._wake.wait()

    async def _advance(self) -> float:
        """Does all that is due now; when to look again."""
        while True:
            await self.look()
            wanted, now = self.entry, time.time()
            digest = wanted.digest if wanted else None
            step, again = steps.decide(self.seen, digest, self._kill_at, self.life.start_at, now)
            if step == steps.NOTHING:
                return min(again or now + LOOK_INTERVAL, now + self._interval())
            if step == steps.DROP:
                self.is_done = True
                self._on_change()
                return 0.0
            if step in (steps.CREATE, steps.START) and wanted is not None:
                await self._bring_up(step, wanted)
            elif self.seen is not None:
                await self._bring_down(step, self.seen)

    def _interval(self) -> float:
        """A process that has ended is soon shown so; a daemon that was restarted in between may take longer. A process
        that has just begun may be shown before it has a number."""
        if self.seen is not None and self.seen.running and self.seen.pid is None:
            return _NEWS_PAUSE
        if self.seen is None or not self.seen.running or self.seen.started_at != self._ended:
            return LOOK_INTERVAL
        return _NEWS_PAUSE if time.monotonic() < self._ended_at + _NEWS_LIMIT else _AWAY_PAUSE

    async def _bring_down(self, step: str, seen: steps.Seen) -> None:
        if step == steps.TERMINATE:
            await self._signal(seen, signal.SIGTERM)
            self._kill_at = time.time() + self._around.stop_timeout
        elif step == steps.KILL:
            await self._signal(seen, signal.SIGKILL)
            await asyncio.sleep(_NEWS_PAUSE)
        else:
            await self._remove(seen.id)

    async def _signal(self, seen: steps.Seen, number: signal.Signals) -> None:
        # One that ended this moment cannot be signalled: the next look sees that.
        with contextlib.suppress(Missing, Refused):
            await self._calls.order("POST", f"containers/{seen.id}/kill", signal=number.name)

    async def _remove(self, container: str) -> None:
        """With the volumes that its image asked for."""
        if self._output is not None:
            await self._output.finish()
            self._output = None
        with contextlib.suppress(Missing):
            await self._calls.order("DELETE", f"containers/{container}", force="true", v="true")
        self._see(None)

    async def _bring_up(self, step: str, wanted: Entry) -> None:
        """Creates it where there is none, and starts it. What cannot be started is removed, so that the next attempt
        finds nothing half made."""
        try:
            container = await self._create(wanted) if step == steps.CREATE else self.name
            await self._calls.order("POST", f"containers/{container}/start")
        except Away:
            raise
        except EngineError as error:
            self._note_failure(steps.why_not_started(str(error)))
            with contextlib.suppress(Missing):
                await self._calls.order("DELETE", f"containers/{self.name}", force="true", v="true")

    async def _create(self, wanted: Entry) -> str:
        for mount in wanted.config["HostConfig"]["Mounts"]:
            if not Path(mount["Source"]).is_dir():
                raise EngineError(f"The model data in {mount['Source']} is gone.")
        network = self._around.network
        await network.ensure()
        config = asks.at_address(wanted.config, network.name, network.address(wanted.slot))
        labels = {asks.LABEL_HOSTNAME: self.hostname, asks.LABEL_DIGEST: wanted.digest}
        body = {**config, "Labels": {**self._around.labels, **labels}}
        try:
            answer = await self._calls.order("POST", "containers/create", body, name=self.name)
        except Missing as error:
            raise EngineError(f"image not found: {wanted.config['Image']} is not at the daemon: {error}") from error
        container: str = answer["Id"]
        if not any(mount["Target"] == "/opt/ml/model" for mount in wanted.config["HostConfig"]["Mounts"]):
            # Code lists it before it looks. What the image has there stays.
            await self._calls.order("PUT", f"containers/{container}/archive", _model_folder(), path="/")
        return container

    def _note_failure(self, reason: str) -> None:
        """It could not be started at all."""
        now = time.time()
        self.life.starts += 1
        self.log.note(reason)
        self._plan_restart(Exit(at=now, reason=reason), 0.0, now)

    async def _note_end(self, seen: steps.Seen) -> None:
        """Its main process ended; what it printed is in its log before anybody is told."""
        if self._output is None:  # it ended before it was seen to run
            self._output = Output(self._calls, seen.id, self.log)
        await self._output.finish()
        self._output = None
        last = steps.read_exit(seen, self._end if seen.started_at == self._ended else End())
        self.log.note(_describe(last))
        if seen.digest != self.life.digest:
            return  # of an earlier specification: it counts no more
        self.life.counted = seen.started_at
        self._plan_restart(last, steps.ran_for(seen), last.at)

    def _plan_restart(self, last: Exit, ran_for: float, at: float) -> None:
        self.life.last_exit = last
        self.life.ends, pause = backoff.plan_restart(self.life.ends, ran_for)
        self.life.start_at = at + pause
        self._on_change()


def _describe(last: Exit) -> str:
    detail = f" ({last.reason})" if last.reason else ""
    if last.signal is not None:
        return f"ended by {signal.Signals(last.signal).name}{detail}"
    return f"exited with code {last.code}{detail}"


def _model_folder() -> bytes:
    """An archive with the empty folder ``/opt/ml/model``."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name in ("opt", "opt/ml", "opt/ml/model"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            tar.addfile(entry)
    return archive.getvalue()
