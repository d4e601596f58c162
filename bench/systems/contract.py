"""What the benchmark asks of a system."""

from typing import Protocol

from bench.cases import Case
from bench.client import Target


class System(Protocol):
    """One thing that answers calls. `start` comes first, `stop` last and may be repeated."""

    name: str
    #: For the report, with the version once started.
    title: str

    def start(self) -> None:
        """Install what is missing and serve. Raises `Unavailable`."""

    def stop(self) -> None:
        """End all processes."""

    def target(self, case: Case) -> Target:
        """Where it takes this work. Raises `Unavailable` when it does not do it."""

    def serving(self) -> list[int]:
        """The processes that serve calls: their CPU and memory is the system's figure."""

    def beside(self) -> list[int]:
        """Processes of the system that serve no calls; noted separately."""
