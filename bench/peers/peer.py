"""What all peers have in common: a virtual environment of their own, one command, a tree of processes."""

import http.client
import time
from abc import ABC, abstractmethod
from pathlib import Path

from bench import processes, tools
from bench.cases import SMALL, Case
from bench.client import Target
from bench.ground import Ground, Program, Unavailable, free_port

APPS = Path(__file__).parent / "apps"
#: Seconds until the first right answer: some load for long.
START = 180.0
#: What a server that speaks JSON answers after a chain of three, each stage having left its mark.
MARKED = SMALL[:-1] + b',"marks":"abc"}'


class Peer(ABC):
    """A subclass knows the packages, the command and the paths."""

    name: str
    #: The distribution on PyPI, and what is installed of it.
    distribution: str
    requirements: tuple[str, ...]
    #: Why it takes no part in the chain; empty when it does.
    no_chain: str = ""

    def __init__(self, ground: Ground, cache: Path, *, install: bool = True) -> None:
        self.title = self.name
        self.port = free_port()
        self._ground = ground
        self._environment = cache / "peers" / self.name
        self._install = install
        self._programs: list[Program] = []

    @abstractmethod
    def launch(self, python: Path, folder: Path) -> None:
        """Start the server with `run`, on `port`. ``python`` is that of the peer's environment."""

    @abstractmethod
    def path(self, case: Case) -> str:
        """Where it takes the case's calls."""

    def expected(self, case: Case) -> bytes:
        """What it answers: JSON, unless a subclass passes bodies on as they are."""
        return MARKED if case.endpoint == "chain" else SMALL

    def start(self) -> None:
        """Install, start, wait for the first answer. Raises `Unavailable` with the reason."""
        tools.python_environment(self._environment, self.requirements, install=self._install)
        python = self._environment / "bin" / "python"
        asked = f"import importlib.metadata as m; print(m.version('{self.distribution}'))"
        self.title = f"{self.name} {tools.version([python, '-c', asked])}"
        self.launch(python, self._ground.place(self.name))
        self._wait()
        processes.pin(self.serving(), self._ground.system_cpus)

    def run(self, name: str, command: list[str | Path], folder: Path, **environment: str) -> None:
        """Start one program of the peer; the last one's words are repeated when it fails."""
        bin_folder = self._environment / "bin"
        merged = {"PATH": f"{bin_folder}:/usr/local/bin:/usr/bin:/bin", "VIRTUAL_ENV": str(self._environment)}
        self._programs.append(Program(name, command, folder, environment=merged | environment))

    def stop(self) -> None:
        """End all programs with whatever they started, also what left their process group."""
        started = self.serving()
        for program in self._programs:
            program.stop()
        processes.kill(started)
        self._programs.clear()

    def target(self, case: Case) -> Target:
        """The direct call, and the chain where the peer composes models."""
        if case.endpoint == "chain" and self.no_chain:
            raise Unavailable(self.no_chain)
        if case.endpoint not in {"echo", "chain"} or case.body != SMALL:
            raise Unavailable("peers do the direct call and the chain")
        return Target(self.port, self.path(case), expected=self.expected(case))

    def serving(self) -> list[int]:
        """Its whole process tree: where the models run inside the server, there is no telling them apart."""
        return [pid for program in self._programs for pid in processes.tree(program.pid)]

    def beside(self) -> list[int]:
        """Nothing apart."""
        return []

    def _wait(self) -> None:
        until = time.monotonic() + START
        while (said := self._answer()) != "200":
            for program in self._programs:
                program.check()
            if time.monotonic() > until:
                raise Unavailable(f"no answer after {START:.0f} s: {said}")
            time.sleep(0.5)

    def _answer(self) -> str:
        """The status of one direct call, or what went wrong."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            direct = Case("direct", "", "echo", SMALL, SMALL, ())
            connection.request("POST", self.path(direct), SMALL, {"Content-Type": "application/json"})
            return str(connection.getresponse().status)
        except (OSError, http.client.HTTPException) as error:
            return repr(error)
        finally:
            connection.close()
