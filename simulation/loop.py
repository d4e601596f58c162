"""An event loop whose time is made up: it jumps to the next thing that is due. Nothing in it waits or is by chance."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, TypeVar

from simulation.network import Network, Server, Transport

T = TypeVar("T")

#: Callbacks in one life, some five times as many as any needs: whoever makes more is going round in circles.
MOST = 20_000


class Stuck(Exception):
    """Nothing is due any more, or the same things are due for ever."""


class Loop(asyncio.AbstractEventLoop):
    """As much of an event loop as asyncio's tasks, streams and time-outs need. ``time`` begins with 0."""

    def __init__(self) -> None:
        self.network = Network(self)
        #: What callbacks and tasks raised that nobody caught.
        self.errors: list[str] = []
        #: Set to end `run` at once.
        self.is_over = False
        self._now = 0.0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        #: Callbacks so far.
        self.done = 0

    def run(self, main: Coroutine[Any, Any, T]) -> T | None:
        """Until ``main`` has ended or the loop `is_over`; then whatever is left is cancelled. Raises `Stuck`."""
        asyncio._set_running_loop(self)
        task = self.create_task(main)
        try:
            while not task.done() and not self.is_over:
                self._turn()
        finally:
            self._cancel_all()
            asyncio._set_running_loop(None)
        return None if task.cancelled() else task.result()

    def _turn(self) -> None:
        """All that is due at the next moment at which anything is."""
        ready = self._ready
        if not ready:
            self._advance()
        while ready and not self.is_over:
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()
            self.done += 1
            if self.done > MOST:
                raise Stuck(f"the same things happen again and again, at second {self._now:.3f}")

    def _advance(self) -> None:
        timers = self._timers
        while timers and timers[0][2].cancelled():
            heapq.heappop(timers)
        if not timers:
            raise Stuck(f"nothing is due any more at second {self._now:.3f}")
        self._now = max(self._now, timers[0][0])
        while timers and timers[0][0] <= self._now:
            self._ready.append(heapq.heappop(timers)[2])

    def _cancel_all(self) -> None:
        self.is_over, self.done = False, 0
        left = asyncio.all_tasks(self)
        for task in left:
            task.cancel()
        for _ in range(100):
            if all(task.done() for task in left):
                return
            self._turn()

    # --- what asyncio calls

    def time(self) -> float:
        """Seconds since the loop was made."""
        return self._now

    def get_debug(self) -> bool:
        """Never."""
        return False

    def is_running(self) -> bool:
        """It is, for whoever asks from within."""
        return True

    def is_closed(self) -> bool:
        """It has nothing to close."""
        return False

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        """At this moment."""
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Of two of one time, the one that was asked for first."""
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, handle))
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """After so many seconds."""
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """It is passed over when it is due."""

    def create_future(self) -> "asyncio.Future[Any]":
        """One of asyncio's own."""
        return asyncio.Future(loop=self)

    def create_task(self, coro: Any, *, name: str | None = None, context: Context | None = None) -> "asyncio.Task[Any]":
        """One of asyncio's own."""
        return asyncio.Task(coro, loop=self, name=name, context=context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """An error that nobody caught."""
        self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    async def create_unix_server(self, protocol_factory: Any, path: Any = None, **_: Any) -> Server:  # type: ignore[override]
        """On the network of this loop."""
        return self.network.listen(str(path), protocol_factory)

    async def create_unix_connection(  # type: ignore[override]
        self, protocol_factory: Any, path: Any = None, **_: Any
    ) -> tuple[Transport, asyncio.BaseProtocol]:
        """On the network of this loop. Raises `ConnectionRefusedError`."""
        return self.network.connect(str(path), protocol_factory)
