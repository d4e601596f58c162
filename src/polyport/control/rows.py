"""What the reconciler needs from the database; `store` supplies it."""

from typing import Protocol

from polyport.domain.endpoints import Endpoint, EndpointState


class Rows(Protocol):
    """What the reconciler needs of the store."""

    async def all_endpoints(self) -> list[Endpoint]:
        """Every endpoint of every owner."""

    async def versions(self) -> dict[str, int]:
        """The version of every endpoint's row, by id; cheap."""

    async def get_endpoint_by_id(self, endpoint_id: str) -> Endpoint | None:
        """One endpoint."""

    async def advance(self, endpoint: Endpoint, state: EndpointState, now: float) -> Endpoint:
        """Write the reconciler's part of the row; `StaleWrite` when it was written since ``endpoint`` was read."""

    async def remove_endpoint(self, endpoint: Endpoint) -> None:
        """Delete the row; `StaleWrite` as above."""
