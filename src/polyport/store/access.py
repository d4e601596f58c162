"""`AccessStore`: rows of keys, users, roles and policies. Every write raises the revision, in its transaction."""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from polyport.domain.access import AccessRows, KeyRow, KeyStatus, PolicyText, PrincipalKind, PrincipalRow
from polyport.errors import AlreadyExists
from polyport.store import schema
from polyport.store.database import Database

#: Who something belongs to: account, kind, name.
Holder = tuple[str, PrincipalKind, str]


class AccessStore:
    """Part of `Store`, on its database. All methods may raise `StoreError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def revision(self) -> int:
        """Grows with every change, by whichever process."""
        async with self._database.reading() as connection:
            return await _revision(connection)

    async def read(self) -> AccessRows:
        """Everything, as it is at one moment."""
        async with self._database.reading() as connection:
            keys = (await connection.execute(sa.select(schema.access_keys).order_by("created_at", "id"))).mappings()
            principals = (
                await connection.execute(sa.select(schema.principals).order_by("created_at", "id"))
            ).mappings()
            policies: dict[tuple[str, str, str], tuple[PolicyText, ...]] = {}
            for row in await connection.execute(sa.select(schema.policies).order_by("name")):
                holder = (row.account, row.kind, row.principal)
                policies[holder] = (*policies.get(holder, ()), PolicyText(row.name, row.document))
            return AccessRows(
                revision=await _revision(connection),
                keys=tuple(_to_key(row) for row in keys),
                principals=tuple(_to_principal(row) for row in principals),
                policies=policies,
                endpoint_policies={
                    row.arn: row.document for row in await connection.execute(sa.select(schema.endpoint_policies))
                },
                endpoint_tags=await _endpoint_tags(connection),
            )

    async def add_principal(self, principal: PrincipalRow, policies: tuple[PolicyText, ...] = ()) -> None:
        """A user or a role, with its first policies. Raises `AlreadyExists`."""
        values = {name: getattr(principal, name) for name in PrincipalRow.__struct_fields__}
        try:
            async with self._database.writing() as connection:
                await connection.execute(sa.insert(schema.principals).values(values))
                for policy in policies:
                    await _put_policy(connection, (principal.account, principal.kind, principal.name), policy)
                await changed(connection)
        except IntegrityError as error:
            raise AlreadyExists(f"{principal.arn} exists.") from error

    async def delete_principal(self, holder: Holder) -> bool:
        """With its policies and keys. False: there was none."""
        account, kind, name = holder
        async with self._database.writing() as connection:
            deleted = await connection.execute(sa.delete(schema.principals).where(*_is(schema.principals, holder)))
            await connection.execute(sa.delete(schema.policies).where(*_attached_to(holder)))
            if kind is PrincipalKind.USER:
                keys = schema.access_keys
                await connection.execute(sa.delete(keys).where(keys.c.account == account, keys.c.user == name))
            await changed(connection)
            return deleted.rowcount > 0

    async def put_policy(self, holder: Holder, policy: PolicyText) -> bool:
        """Attach a policy, or overwrite the one of that name. False: there is no such user or role."""
        async with self._database.writing() as connection:
            found = await connection.execute(sa.select(schema.principals).where(*_is(schema.principals, holder)))
            if found.first() is None:
                return False
            await _put_policy(connection, holder, policy)
            await changed(connection)
            return True

    async def delete_policy(self, holder: Holder, name: str) -> bool:
        """False: there was none."""
        async with self._database.writing() as connection:
            statement = sa.delete(schema.policies).where(*_attached_to(holder), schema.policies.c.name == name)
            deleted = await connection.execute(statement)
            await changed(connection)
            return deleted.rowcount > 0

    async def add_key(self, key: KeyRow) -> None:
        """Raises `AlreadyExists`."""
        values = {name: getattr(key, name) for name in KeyRow.__struct_fields__}
        try:
            async with self._database.writing() as connection:
                await connection.execute(sa.insert(schema.access_keys).values(values))
                await changed(connection)
        except IntegrityError as error:
            raise AlreadyExists(f"The access key {key.id} exists.") from error

    async def change_key(self, key_id: str, status: KeyStatus, expires_at: float | None) -> bool:
        """Enable it, disable it, or let it expire (epoch seconds). False: there is none."""
        statement = sa.update(schema.access_keys).where(schema.access_keys.c.id == key_id)
        async with self._database.writing() as connection:
            written = await connection.execute(statement.values(status=status, expires_at=expires_at))
            await changed(connection)
            return written.rowcount > 0

    async def delete_key(self, key_id: str) -> bool:
        """False: there was none."""
        async with self._database.writing() as connection:
            deleted = await connection.execute(sa.delete(schema.access_keys).where(schema.access_keys.c.id == key_id))
            await changed(connection)
            return deleted.rowcount > 0

    async def get_endpoint_policy(self, arn: str) -> str | None:
        """The policy document of an endpoint, if it has one."""
        table = schema.endpoint_policies
        async with self._database.reading() as connection:
            found = await connection.execute(sa.select(table.c.document).where(table.c.arn == arn))
            document: str | None = found.scalar_one_or_none()
            return document

    async def put_endpoint_policy(self, arn: str, document: str) -> bool:
        """Replaces the one there is. False: there is no such endpoint."""
        async with self._database.writing() as connection:
            there = await connection.execute(sa.select(schema.endpoints.c.id).where(schema.endpoints.c.arn == arn))
            if there.first() is None:
                return False
            await drop_endpoint_policy(connection, arn)
            await connection.execute(sa.insert(schema.endpoint_policies).values(arn=arn, document=document))
            await changed(connection)
            return True

    async def delete_endpoint_policy(self, arn: str) -> None:
        """Fine if there is none."""
        async with self._database.writing() as connection:
            await drop_endpoint_policy(connection, arn)


async def drop_endpoint_policy(connection: AsyncConnection, arn: str) -> None:
    """Within the transaction in which its endpoint goes: a new endpoint of that name has no policy."""
    table = schema.endpoint_policies
    deleted = await connection.execute(sa.delete(table).where(table.c.arn == arn))
    if deleted.rowcount:
        await changed(connection)


async def _revision(connection: AsyncConnection) -> int:
    number: int = (await connection.execute(sa.select(schema.access_revision.c.number))).scalar_one()
    return number


async def changed(connection: AsyncConnection) -> None:
    """Within a transaction that changes what `AccessStore.read` reads."""
    table = schema.access_revision
    await connection.execute(sa.update(table).values(number=table.c.number + 1))


async def _endpoint_tags(connection: AsyncConnection) -> dict[str, dict[str, str]]:
    tags, endpoints = schema.tags, schema.endpoints
    found: dict[str, dict[str, str]] = {}
    for row in await connection.execute(sa.select(tags).where(tags.c.arn.in_(sa.select(endpoints.c.arn)))):
        found.setdefault(row.arn, {})[row.key] = row.value
    return found


async def _put_policy(connection: AsyncConnection, holder: Holder, policy: PolicyText) -> None:
    account, kind, principal = holder
    table = schema.policies
    await connection.execute(sa.delete(table).where(*_attached_to(holder), table.c.name == policy.name))
    values = {"account": account, "kind": kind, "principal": principal}
    await connection.execute(sa.insert(table).values(**values, name=policy.name, document=policy.document))


def _is(table: sa.Table, holder: Holder) -> tuple[sa.ColumnElement[bool], ...]:
    account, kind, name = holder
    return (table.c.account == account, table.c.kind == kind, table.c.name == name)


def _attached_to(holder: Holder) -> tuple[sa.ColumnElement[bool], ...]:
    account, kind, name = holder
    table = schema.policies
    return (table.c.account == account, table.c.kind == kind, table.c.principal == name)


def _to_key(row: sa.RowMapping) -> KeyRow:
    values: dict[str, Any] = dict(row)
    return KeyRow(**{**values, "status": KeyStatus(row["status"])})


def _to_principal(row: sa.RowMapping) -> PrincipalRow:
    values: dict[str, Any] = dict(row)
    return PrincipalRow(**{**values, "kind": PrincipalKind(row["kind"])})
