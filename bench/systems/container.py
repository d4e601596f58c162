"""The model container called without anything in between: what a proxy's added latency is measured against."""

from bench.cases import Case
from bench.client import Target
from bench.ground import Ground


class Container:
    """The container itself. Its CPU is nobody's figure."""

    name = "container"
    title = "the container itself"

    def __init__(self, ground: Ground) -> None:
        self._ground = ground

    def start(self) -> None:
        """It runs already."""

    def stop(self) -> None:
        """It ends with the ground."""

    def target(self, case: Case) -> Target:
        """The container's own path."""
        return Target(self._ground.models[case.endpoint][0], "/invocations")

    def serving(self) -> list[int]:
        """Nothing that is counted."""
        return []

    def beside(self) -> list[int]:
        """Nothing that is counted."""
        return []
