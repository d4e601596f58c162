"""A client that keeps calling, for tests in which no call may fail."""

import threading
import time
from collections.abc import Callable
from typing import Any, Self


class SteadyCaller:
    """Calls without pause from some threads until the block ends, and keeps what came back."""

    def __init__(self, call: Callable[[], Any], threads: int = 2) -> None:
        self._call = call
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(threads)]
        self.answers: list[Any] = []
        self.failures: list[tuple[float, Exception]] = []

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                self.answers.append(self._call())
            except Exception as error:  # noqa: BLE001  whatever a client can see counts
                self.failures.append((time.time(), error))

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
