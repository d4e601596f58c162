"""A process that is kept running."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from polyport.errors import UsageError
from polyport.server import processes

log = logging.getLogger(__name__)

#: Exit status of a child that cannot work with these settings: starting it again would not help.
EXIT_USAGE = 78
#: Seconds before a child that died is started again, by how often it died in short order.
RESTART_PAUSES = (0.0, 0.0, 0.1, 0.3, 1.0, 2.0, 5.0)
#: A child that lived for this many seconds has got over its troubles.
STABLE_AFTER = 10.0


class Child:
    """One process that is kept running, unless it is paused."""

    def __init__(self, name: str, command: Callable[[], list[str]], keep_open: tuple[int, ...] = ()) -> None:
        self.name = name
        #: It is started again even when it says that this is of no use: others depend on us.
        self.is_needed = False
        #: Asked at each start.
        self._command = command
        self._keep_open = keep_open
        self._may_run = asyncio.Event()
        self._may_run.set()
        #: There is no process, nor will there be one before the next look at whether it may run.
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        self.process: asyncio.subprocess.Process | None = None

    def __repr__(self) -> str:
        return f"<Child {self}>"

    def __str__(self) -> str:
        return f"{self.name} (process {self.process.pid if self.process else None})"

    async def run(self, stopping: asyncio.Event) -> None:
        """Start it, and again whenever it ends. Raises `UsageError` when it says that this is of no use."""
        deaths = 0
        while not stopping.is_set():
            await asyncio.sleep(RESTART_PAUSES[min(deaths, len(RESTART_PAUSES) - 1)])
            while not self._may_run.is_set():
                await self._may_run.wait()
                deaths = 0
            started = time.monotonic()
            status = await self._live()
            if stopping.is_set():
                return
            if not self._may_run.is_set():
                continue
            if status == EXIT_USAGE and not self.is_needed:
                raise UsageError("")
            log.warning("%s ended with status %d and is started again", self, status)
            deaths = 1 if time.monotonic() - started > STABLE_AFTER else deaths + 1

    async def _live(self) -> int:
        """From its start to its end; the exit status."""
        self._is_idle.clear()
        try:
            # A session of its own: Ctrl-C in the terminal is for the launcher, which stops things in order.
            self.process = await asyncio.create_subprocess_exec(
                *self._command(),
                env={**os.environ, processes.PARENT: str(os.getpid())},
                pass_fds=self._keep_open,
                start_new_session=True,
            )
            if not self._may_run.is_set():
                # Paused while it was being made.
                self.process.kill()
            return await self.process.wait()
        finally:
            self._is_idle.set()

    async def pause(self, patience: float, number: signal.Signals) -> None:
        """End it by that signal, and start it no more until `resume`."""
        self._may_run.clear()
        await self.stop(patience, number)
        await self._is_idle.wait()

    def resume(self) -> None:
        """Start it again."""
        self._may_run.set()

    async def stop(self, patience: float, number: signal.Signals = signal.SIGTERM) -> None:
        """The signal, then SIGKILL after ``patience`` seconds."""
        process = self.process
        if process is None or process.returncode is not None:
            return
        with suppress(ProcessLookupError):
            process.send_signal(number)
            try:
                async with asyncio.timeout(patience):
                    await process.wait()
            except TimeoutError:
                log.warning("%s does not stop and is killed", self.name)
                process.kill()
                await process.wait()


async def stop_all(children: list[Child], patience: float, number: signal.Signals = signal.SIGTERM) -> None:
    """All at the same time."""
    await asyncio.gather(*(child.stop(patience, number) for child in children))
