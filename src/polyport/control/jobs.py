"""Work in the background: at most one task for each key, none forgotten, no error lost."""

import asyncio
import logging
from collections.abc import Coroutine, Hashable
from typing import Any

log = logging.getLogger(__name__)


class Jobs:
    """The tasks that a part of control has started and must end."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._closed = False

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, key: object) -> bool:
        return key in self._tasks

    def start(self, key: Hashable, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` unless work with that key is still running."""
        if self._closed or key in self._tasks:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks[key] = task

        def done(task: asyncio.Task[None]) -> None:
            del self._tasks[key]
            if not task.cancelled() and (error := task.exception()):
                log.error("background work failed: %s", error, exc_info=error)

        task.add_done_callback(done)

    def cancel(self, key: Hashable) -> None:
        """End work that is no longer needed."""
        if task := self._tasks.get(key):
            task.cancel()

    async def close(self) -> None:
        """End all work; none is started any more. May be called twice."""
        self._closed = True
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
