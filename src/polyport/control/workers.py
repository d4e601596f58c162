"""How the reconciler ends gateway workers that hang; `server` supplies it, and starts others in their place."""

from collections.abc import Collection
from typing import Protocol


class Workers(Protocol):
    """The processes of the gateway workers."""

    def end(self, pid: int) -> None:
        """End this one."""

    def end_others(self, pids: Collection[int]) -> None:
        """End those that have none of these process ids, but for those that are just being started."""


class NoWorkers:
    """Ends none."""

    def end(self, pid: int) -> None:
        """Not this one either."""

    def end_others(self, pids: Collection[int]) -> None:
        """None."""
