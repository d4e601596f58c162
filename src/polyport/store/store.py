"""`Store`: every query and every write, each in one transaction."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from polyport.domain.endpoints import Endpoint, EndpointState, Wanted
from polyport.domain.names import Owner
from polyport.domain.resources import EndpointConfig, Model
from polyport.errors import AlreadyExists, StaleWrite
from polyport.store import access, alarms, queries, rows, schema, tagging
from polyport.store.database import Database
from polyport.store.queries import ListQuery, Page


class Store:
    """Names are unique per owner without regard to case (`AlreadyExists`), and looked up with their case.

    All methods but the constructor may raise `StoreError`.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)
        self.access = access.AccessStore(self._database)
        self.alarms = alarms.AlarmStore(self._database)
        self._subscribers: list[Callable[[str], None]] = []

    async def open(self, *, upgrade: bool = True) -> None:
        """Create or migrate the database; without ``upgrade`` it must be of this program's revision already.

        Raises `StoreError` when it is newer than this program, or damaged.
        """
        await self._database.open(upgrade=upgrade)

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        await self._database.close()

    def subscribe(self, callback: Callable[[str], None]) -> Callable[[], None]:
        """Call ``callback`` with an endpoint's id after each committed write that wants something new of it.

        Only a hint (another process's writes are not seen). Returns what ends the subscription.
        """
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    # Models

    async def add_model(self, model: Model, tags: Mapping[str, str] | None = None) -> None:
        """Raises `AlreadyExists`."""
        await self._insert(schema.models, rows.from_resource(model), tags)

    async def get_model(self, owner: Owner, name: str) -> Model | None:
        """By its exact name."""
        async with self._database.reading() as connection:
            return await _find(connection, Model, schema.models, owner, name)

    async def list_models(self, owner: Owner, query: ListQuery) -> Page[Model]:
        """One page."""
        page = await self._list(schema.models, owner, query)
        return Page(tuple(rows.to_resource(Model, row) for row in page.items), page.next)

    async def delete_model(self, owner: Owner, name: str) -> bool:
        """With its tags. Endpoints keep their copies. False: there was none."""
        return await self._delete(schema.models, owner, name)

    # Endpoint configurations

    async def add_endpoint_config(self, config: EndpointConfig, tags: Mapping[str, str] | None = None) -> None:
        """Raises `AlreadyExists`."""
        await self._insert(schema.endpoint_configs, rows.from_resource(config), tags)

    async def get_endpoint_config(self, owner: Owner, name: str) -> EndpointConfig | None:
        """By its exact name."""
        async with self._database.reading() as connection:
            return await _find(connection, EndpointConfig, schema.endpoint_configs, owner, name)

    async def get_config_with_models(
        self, owner: Owner, name: str, model_names: Callable[[EndpointConfig], Iterable[str]]
    ) -> tuple[EndpointConfig, dict[str, Model]] | None:
        """A configuration and those of the models it names that exist, as they were at one moment."""
        async with self._database.reading() as connection:
            config = await _find(connection, EndpointConfig, schema.endpoint_configs, owner, name)
            if config is None:
                return None
            found = [
                await _find(connection, Model, schema.models, owner, model_name)
                for model_name in dict.fromkeys(model_names(config))
            ]
            return config, {model.name: model for model in found if model is not None}

    async def list_endpoint_configs(self, owner: Owner, query: ListQuery) -> Page[EndpointConfig]:
        """One page."""
        page = await self._list(schema.endpoint_configs, owner, query)
        return Page(tuple(rows.to_resource(EndpointConfig, row) for row in page.items), page.next)

    async def delete_endpoint_config(self, owner: Owner, name: str) -> bool:
        """With its tags. Endpoints keep their copies. False: there was none."""
        return await self._delete(schema.endpoint_configs, owner, name)

    # Endpoints

    async def add_endpoint(self, endpoint: Endpoint, tags: Mapping[str, str] | None = None) -> None:
        """Raises `AlreadyExists`, also while an endpoint of that name is being deleted."""
        await self._insert(schema.endpoints, rows.from_endpoint(endpoint), tags)
        self._tell(endpoint.id)

    async def get_endpoint(self, owner: Owner, name: str) -> Endpoint | None:
        """By its exact name."""
        async with self._database.reading() as connection:
            row = (await connection.execute(_select(schema.endpoints, owner, name))).mappings().one_or_none()
        return rows.to_endpoint(row) if row is not None else None

    async def get_endpoint_by_id(self, endpoint_id: str) -> Endpoint | None:
        """By its id, which no other endpoint of the same name ever has."""
        statement = sa.select(schema.endpoints).where(schema.endpoints.c.id == endpoint_id)
        async with self._database.reading() as connection:
            row = (await connection.execute(statement)).mappings().one_or_none()
        return rows.to_endpoint(row) if row is not None else None

    async def all_endpoints(self) -> list[Endpoint]:
        """Of all owners, oldest first."""
        statement = sa.select(schema.endpoints).order_by(schema.endpoints.c.created_at, schema.endpoints.c.id)
        async with self._database.reading() as connection:
            found = (await connection.execute(statement)).mappings().all()
        return [rows.to_endpoint(row) for row in found]

    async def versions(self) -> dict[str, int]:
        """Of all endpoints, by id: who kept a row knows by it whether the row is still so."""
        async with self._database.reading() as connection:
            found = await connection.execute(sa.select(schema.endpoints.c.id, schema.endpoints.c.version))
            return {row.id: row.version for row in found}

    async def list_endpoints(self, owner: Owner, query: ListQuery) -> Page[Endpoint]:
        """One page. ``status`` is the shown one (`Endpoint.status`)."""
        page = await self._list(schema.endpoints, owner, query)
        return Page(tuple(rows.to_endpoint(row) for row in page.items), page.next)

    async def want(self, endpoint: Endpoint, wanted: Wanted, now: float) -> Endpoint:
        """For the API: ask for something new. Returns the endpoint as written.

        Raises `StaleWrite` when the row is no longer as in ``endpoint``.
        """
        written = msgspec.structs.replace(
            endpoint,
            wanted=wanted,
            generation=endpoint.generation + 1,
            version=endpoint.version + 1,
            modified_at=now,
        )
        await self._swap(endpoint, written)
        self._tell(endpoint.id)
        return written

    async def advance(self, endpoint: Endpoint, state: EndpointState, now: float) -> Endpoint:
        """For the reconciler: how far it is. ``modified_at`` changes with the status that users see, no more often.

        Returns the endpoint as written. Raises `StaleWrite` when the row is no longer as in ``endpoint``.
        """
        written = msgspec.structs.replace(endpoint, state=state, version=endpoint.version + 1)
        if written.status is not endpoint.status:
            # To the millisecond, as it is shown: who filters by a time that was shown finds the endpoint.
            written = msgspec.structs.replace(written, modified_at=round(now, 3))
        await self._swap(endpoint, written)
        return written

    async def remove_endpoint(self, endpoint: Endpoint) -> None:
        """The row and its tags; the name is free then. Raises `StaleWrite` as `advance` does."""
        async with self._database.writing() as connection:
            deleted = await connection.execute(sa.delete(schema.endpoints).where(*_unchanged(endpoint)))
            _expect_one(deleted, endpoint)
            await tagging.drop(connection, endpoint.arn)
            await access.changed(connection)
            await access.drop_endpoint_policy(connection, endpoint.arn)

    # Tags

    async def get_tags(self, arn: str) -> dict[str, str] | None:
        """All tags of a resource, by key. ``None``: there is no such resource."""
        async with self._database.reading() as connection:
            return await tagging.get(connection, arn) if await _exists(connection, arn) else None

    async def put_tags(self, arn: str, tags: Mapping[str, str]) -> dict[str, str] | None:
        """Add or overwrite tags; returns all of the resource's. ``None``: there is no such resource.

        Raises `TooManyTags`, and then changes nothing.
        """
        async with self._database.writing() as connection:
            if not await _exists(connection, arn):
                return None
            merged = await tagging.put(connection, arn, tags)
            await access.changed(connection)
            return merged

    async def delete_tags(self, arn: str, keys: Iterable[str]) -> bool:
        """Keys that are not there are fine. False: there is no such resource."""
        async with self._database.writing() as connection:
            if not await _exists(connection, arn):
                return False
            await tagging.drop(connection, arn, list(keys))
            await access.changed(connection)
            return True

    # What they share

    async def _insert(self, table: sa.Table, values: dict[str, Any], tags: Mapping[str, str] | None) -> None:
        try:
            async with self._database.writing() as connection:
                await connection.execute(sa.insert(table).values(values))
                await tagging.put(connection, values["arn"], tags or {})
                if tags:
                    await access.changed(connection)
        except IntegrityError as error:
            raise AlreadyExists(f"{values['arn']} exists.") from error

    async def _list(self, table: sa.Table, owner: Owner, query: ListQuery) -> Page[sa.RowMapping]:
        async with self._database.reading() as connection:
            found = (await connection.execute(queries.select_page(table, owner, query))).mappings().all()
        shown = tuple(found[: query.limit])
        return Page(shown, queries.position(shown[-1], query) if len(found) > query.limit else None)

    async def _delete(self, table: sa.Table, owner: Owner, name: str) -> bool:
        async with self._database.writing() as connection:
            row = (await connection.execute(_select(table, owner, name))).mappings().one_or_none()
            if row is None:
                return False
            await connection.execute(sa.delete(table).where(table.c.arn == row["arn"]))
            await tagging.drop(connection, row["arn"])
            return True

    async def _swap(self, before: Endpoint, after: Endpoint) -> None:
        statement = sa.update(schema.endpoints).where(*_unchanged(before)).values(rows.from_endpoint(after))
        async with self._database.writing() as connection:
            _expect_one(await connection.execute(statement), before)

    def _tell(self, endpoint_id: str) -> None:
        for callback in tuple(self._subscribers):
            callback(endpoint_id)


def _select(table: sa.Table, owner: Owner, name: str) -> sa.Select[Any]:
    # By key for the index, by name for the case.
    return sa.select(table).where(
        table.c.account == owner.account,
        table.c.region == owner.region,
        table.c.key == rows.key(name),
        table.c.name == name,
    )


async def _find(
    connection: AsyncConnection, kind: type[rows.Resource], table: sa.Table, owner: Owner, name: str
) -> rows.Resource | None:
    row = (await connection.execute(_select(table, owner, name))).mappings().one_or_none()
    return rows.to_resource(kind, row) if row is not None else None


def _unchanged(endpoint: Endpoint) -> tuple[sa.ColumnElement[bool], ...]:
    return (schema.endpoints.c.id == endpoint.id, schema.endpoints.c.version == endpoint.version)


def _expect_one(result: sa.CursorResult[Any], endpoint: Endpoint) -> None:
    if result.rowcount != 1:
        raise StaleWrite(f"{endpoint.arn} was changed after version {endpoint.version}.")


async def _exists(connection: AsyncConnection, arn: str) -> bool:
    found = sa.union_all(*(sa.select(sa.literal(1)).where(table.c.arn == arn) for table in schema.TAGGABLE))
    return (await connection.execute(found)).first() is not None
