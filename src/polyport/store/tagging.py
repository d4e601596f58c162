"""Tags of whatever has an ARN, within a transaction of the caller's."""

from collections.abc import Collection, Mapping

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from polyport.errors import PolyportError
from polyport.store import schema

MAX_TAGS = 50


class TooManyTags(PolyportError):
    """A resource would have more than `MAX_TAGS` tags."""


async def get(connection: AsyncConnection, arn: str) -> dict[str, str]:
    """All of them, by key, sorted."""
    table = schema.tags
    statement = sa.select(table.c.key, table.c.value).where(table.c.arn == arn).order_by(table.c.key)
    return {row.key: row.value for row in await connection.execute(statement)}


async def put(connection: AsyncConnection, arn: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Add or overwrite; returns all of the resource's. Raises `TooManyTags`."""
    merged = {**await get(connection, arn), **tags}
    if len(merged) > MAX_TAGS:
        raise TooManyTags(f"{arn} would have {len(merged)} tags; at most {MAX_TAGS} are allowed.")
    await drop(connection, arn, tags)
    if tags:
        values = [{"arn": arn, "key": key, "value": value} for key, value in tags.items()]
        await connection.execute(sa.insert(schema.tags), values)
    return dict(sorted(merged.items()))


async def drop(connection: AsyncConnection, arn: str, keys: Collection[str] | None = None) -> None:
    """These, or all; those that are not there are fine."""
    statement = sa.delete(schema.tags).where(schema.tags.c.arn == arn)
    await connection.execute(statement if keys is None else statement.where(schema.tags.c.key.in_(list(keys))))
