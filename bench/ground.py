"""What all systems stand on: a working folder, the model containers, free ports, and programs that are surely ended."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.cases import MODELS

#: Seconds for a program to begin to listen, and to end.
START, STOP = 60.0, 20.0


class Unavailable(Exception):
    """A system cannot be had on this machine; the text is the reason, for the report."""


class Program:
    """A process that is started, waited for and ended; what it prints goes to a file in ``folder``."""

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        grace: float = STOP,
    ) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        self._grace = grace
        with self._log.open("wb") as log:
            # A group of its own: what a system leaves behind is ended with it.
            self._process = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def output(self) -> str:
        """What it has printed."""
        return self._log.read_text(errors="replace")

    def wait_for_port(self, port: int, deadline: float = START) -> None:
        """Raises `Unavailable`, with its last words, when it ends or does not listen in time."""
        until = time.monotonic() + deadline
        while not is_listening(port):
            self.check()
            if time.monotonic() > until:
                raise Unavailable(f"{self.name} does not listen after {deadline:.0f} s: {self._last_words()}")
            time.sleep(0.05)

    def check(self) -> None:
        """Raises `Unavailable` when it has ended."""
        if (status := self._process.poll()) is not None:
            raise Unavailable(f"{self.name} ended with status {status}: {self._last_words()}")

    def stop(self) -> None:
        """SIGTERM, then SIGKILL to the whole group. May be repeated."""
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(self._grace)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def _last_words(self) -> str:
        return " | ".join(self.output().strip().splitlines()[-3:])[-600:] or "it printed nothing"


@dataclass(frozen=True)
class Ground:
    """``models`` are the ports of the containers behind the proxies, by endpoint, in the order of the chain."""

    folder: Path
    model: Path
    models: dict[str, tuple[int, ...]]
    model_cpus: frozenset[int]
    system_cpus: frozenset[int]

    def place(self, name: str) -> Path:
        """A folder of its own for one system."""
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return folder


@contextlib.contextmanager
def models(program: Path, folder: Path, cpus: frozenset[int]) -> Iterator[dict[str, tuple[int, ...]]]:
    """Run every model container of `MODELS` for as long as the block runs; gives their ports."""
    with contextlib.ExitStack() as running:
        ports: dict[str, tuple[int, ...]] = {}
        for endpoint, environments in MODELS.items():
            ports[endpoint] = tuple(free_port() for _ in environments)
            for port, environment in zip(ports[endpoint], environments, strict=True):
                settings = environment | {"SAGEMAKER_BIND_TO_PORT": str(port)}
                started = Program(f"model-{endpoint}-{port}", [program], folder, environment=settings)
                running.callback(started.stop)
                started.wait_for_port(port)
                if cpus:
                    os.sched_setaffinity(started.pid, cpus)
        yield ports


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def is_listening(port: int) -> bool:
    """Whether something takes connections."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
