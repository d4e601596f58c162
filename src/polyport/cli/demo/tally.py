"""Clients that never stop calling, and count who answered."""

import threading
from collections import Counter
from typing import Any, Self

from botocore.exceptions import BotoCoreError, ClientError

from polyport.cli.demo import client

#: Clients, and seconds between two calls of one: enough to see shares, and it leaves the machine's cores to others.
CLIENTS, PAUSE = 2, 0.005


class Tally:
    """Some threads, one connection each; every answer counts for the version that gave it. A context manager."""

    def __init__(self, endpoint: str) -> None:
        self._endpoint = endpoint
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, name="client", daemon=True) for _ in range(CLIENTS)]
        self._answers: Counter[str] = Counter()
        self.calls = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def take(self) -> Counter[str]:
        """The answers since the last time, by version."""
        with self._lock:
            answers, self._answers = self._answers, Counter()
        return answers

    def _run(self) -> None:
        runtime = client.runtime_client()
        while not self._stop.wait(PAUSE):
            self._call(runtime)

    def _call(self, runtime: Any) -> None:
        try:
            version = client.ask_version(runtime, self._endpoint)
        except (ClientError, BotoCoreError) as error:
            with self._lock:
                self.calls += 1
                self.failures.append(str(error))
            return
        with self._lock:
            self.calls += 1
            self._answers[version] += 1
