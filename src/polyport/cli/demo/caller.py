"""A client that never stops calling, and counts."""

import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple, Self

from botocore.exceptions import BotoCoreError, ClientError

from polyport.cli.demo import client

#: Between two calls, in seconds: leaves the machine's cores to the containers that are starting.
PAUSE = 0.002


class Form(NamedTuple):
    """How to call, and what must come back."""

    target: Mapping[str, str]
    rows: client.Rows
    answer: client.Rows


class Caller:
    """One thread, one connection; every call is either right or counted as failed. A context manager."""

    def __init__(self, endpoint: str, form: Form) -> None:
        self._endpoint = endpoint
        self._form = form
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady caller", daemon=True)
        self.calls = 0
        self.slowest = 0.0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def switch(self, form: Form) -> None:
        """Call like this from now on; returns when no call of the old form is under way."""
        self._form = form
        self.make(2)

    def make(self, number: int) -> None:
        """Wait until this many more calls were made, or one has failed."""
        goal = self.calls + number
        while self.calls < goal and not self.failures:
            time.sleep(PAUSE)

    def _run(self) -> None:
        runtime = client.runtime_client()
        while not self._stop.wait(PAUSE):
            self._call(runtime, self._form)

    def _call(self, runtime: Any, form: Form) -> None:
        begun = time.perf_counter()
        try:
            answer = client.invoke(runtime, self._endpoint, form.rows, **form.target)
            if answer != form.answer:
                self.failures.append(f"{dict(form.target)}: answered {answer}, expected {form.answer}")
        except (ClientError, BotoCoreError, ValueError) as error:
            self.failures.append(f"{dict(form.target)}: {error}")
        self.calls += 1
        self.slowest = max(self.slowest, time.perf_counter() - begun)
