"""The rows, in memory: what the API and the reconciler need of `polyport.store`."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

from msgspec.structs import replace

from polyport.control import plan
from polyport.domain.endpoints import Endpoint, EndpointState, Wanted
from polyport.domain.names import Owner
from polyport.domain.resources import EndpointConfig, Model
from polyport.errors import AlreadyExists, StaleWrite


class Store:
    """All rows. ``tell`` is called as subscribers of the real one are."""

    def __init__(self, chance: Callable[[], float], tell: Callable[[str], None]) -> None:
        self._chance = chance
        self._tell = tell
        self.rows: dict[str, Endpoint] = {}
        self.configs: dict[str, EndpointConfig] = {}
        self.models: dict[str, Model] = {}
        #: By instance that any row ever held: the endpoint.
        self.instances: dict[str, str] = {}
        #: How often the reconciler's part of a row was written.
        self.writes = 0
        #: By endpoint: the generation that was asked for last.
        self.asked: dict[str, int] = {}
        self.created = 0

    async def pause(self) -> None:
        """A database takes a moment now and then."""
        chance = self._chance()
        if chance < 0.3:
            await asyncio.sleep(chance / 10)

    # --- what the API calls

    async def get_config_with_models(
        self, owner: Owner, name: str, names: Callable[[EndpointConfig], list[str]]
    ) -> tuple[EndpointConfig, Mapping[str, Model]] | None:
        """As `Store.get_config_with_models`."""
        config = self.configs.get(name)
        return (config, {each: self.models[each] for each in names(config)}) if config else None

    async def add_endpoint(self, endpoint: Endpoint, tags: Any = None) -> None:
        """As `Store.add_endpoint`."""
        await self.pause()
        if any(row.name == endpoint.name for row in self.rows.values()):
            raise AlreadyExists(f"{endpoint.arn} exists.")
        # The API draws ids by chance; here nothing is.
        self.created += 1
        endpoint = replace(endpoint, id=f"{self.created:04}")
        self.rows[endpoint.id] = endpoint
        self.asked[endpoint.id] = endpoint.generation
        self._tell(endpoint.id)

    async def get_endpoint(self, owner: Owner, name: str) -> Endpoint | None:
        """As `Store.get_endpoint`."""
        await self.pause()
        return next((row for row in self.rows.values() if row.name == name), None)

    async def want(self, endpoint: Endpoint, wanted: Wanted, now: float) -> Endpoint:
        """As `Store.want`."""
        await self.pause()
        self._expect(endpoint)
        written = replace(
            endpoint,
            wanted=wanted,
            generation=endpoint.generation + 1,
            version=endpoint.version + 1,
            modified_at=now,
        )
        self.rows[endpoint.id] = written
        self.asked[endpoint.id] = written.generation
        self._tell(endpoint.id)
        return written

    # --- what the reconciler reads and writes

    def versions(self) -> dict[str, int]:
        """As `Store.versions`."""
        return {row.id: row.version for row in self.rows.values()}

    def advance(self, endpoint: Endpoint, state: EndpointState, now: float) -> Endpoint:
        """As `Store.advance`."""
        self._expect(endpoint)
        written = replace(endpoint, state=state, version=endpoint.version + 1)
        if written.status is not endpoint.status:
            written = replace(written, modified_at=round(now, 3))
        self.rows[endpoint.id] = written
        self.instances.update((row.id, endpoint.id) for row in plan.all_instances(state))
        self.writes += 1
        return written

    def remove(self, endpoint: Endpoint) -> None:
        """As `Store.remove_endpoint`."""
        self._expect(endpoint)
        del self.rows[endpoint.id]
        self.writes += 1

    def _expect(self, endpoint: Endpoint) -> None:
        row = self.rows.get(endpoint.id)
        if row is None or row.version != endpoint.version:
            raise StaleWrite(f"{endpoint.arn} was changed after version {endpoint.version}.")
