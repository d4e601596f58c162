"""What plain proxies have in common: one thread, and one configuration file that maps paths to containers."""

from abc import ABC, abstractmethod
from pathlib import Path

from bench import processes
from bench.cases import CASES, Case
from bench.client import Target
from bench.ground import Ground, Program, Unavailable, free_port

#: Every (path, endpoint) that a proxy forwards. A chain is not a thing that a plain proxy does.
PATHS = tuple(sorted({(case.path, case.endpoint) for case in CASES if case.endpoint != "chain"}))
ENDPOINTS = tuple(sorted({endpoint for _, endpoint in PATHS}))


class Proxy(ABC):
    """A subclass writes the configuration and knows the command."""

    name: str
    config_name = "config"

    def __init__(self, ground: Ground, cache: Path, *, install: bool = True) -> None:
        self.title = self.name
        self.ground = ground
        self.cache = cache
        self.install = install
        self.port = free_port()
        self._program: Program | None = None

    @abstractmethod
    def command(self, config: Path) -> tuple[list[str | Path], dict[str, str]]:
        """The command line and what its environment needs; fetches the program. Sets `title`."""

    @abstractmethod
    def configuration(self, folder: Path) -> str:
        """The configuration file."""

    def start(self) -> None:
        """Write the configuration and start the proxy on it. Raises `Unavailable`."""
        folder = self.ground.place(self.name)
        config = folder / self.config_name
        config.write_text(self.configuration(folder))
        command, environment = self.command(config)
        self._program = Program(self.name, command, folder, environment=environment)
        self._program.wait_for_port(self.port)
        processes.pin(self.serving(), self.ground.system_cpus)

    def stop(self) -> None:
        """End it."""
        if self._program:
            self._program.stop()

    def target(self, case: Case) -> Target:
        """The same path as Polyport's."""
        if case.endpoint not in ENDPOINTS or case.signed:
            raise Unavailable("a plain proxy does not do this")
        return Target(self.port, case.path)

    def serving(self) -> list[int]:
        """Master and workers."""
        return processes.tree(self._program.pid) if self._program else []

    def beside(self) -> list[int]:
        """None."""
        return []
