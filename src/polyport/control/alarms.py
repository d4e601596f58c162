"""What the reconciler needs to know of alarms; `store` supplies it."""

from collections.abc import Collection
from typing import Protocol

from polyport.domain.names import Owner


class Alarms(Protocol):
    """A source of alarm states."""

    async def firing(self, owner: Owner, names: Collection[str]) -> frozenset[str]:
        """Which of these alarms of an owner are in ``ALARM`` now. Unknown ones are not."""


class NoAlarms:
    """A source that knows none."""

    async def firing(self, owner: Owner, names: Collection[str]) -> frozenset[str]:  # noqa: ARG002
        """Nothing fires."""
        return frozenset()
