"""`AlarmStore`: rows of alarms."""

from collections.abc import Collection

import sqlalchemy as sa

from polyport.domain.alarms import AlarmRow, AlarmState
from polyport.domain.names import Owner
from polyport.store import schema
from polyport.store.database import Database


class AlarmStore:
    """Part of `Store`, on its database. All methods may raise `StoreError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def firing(self, owner: Owner, names: Collection[str]) -> frozenset[str]:
        """Which of these alarms are in ``ALARM``, whichever process has set them."""
        table = schema.alarms
        statement = sa.select(table.c.name).where(
            *_of(owner), table.c.name.in_(sorted(names)), table.c.state == AlarmState.ALARM.value
        )
        async with self._database.reading() as connection:
            return frozenset((await connection.execute(statement)).scalars())

    async def put(self, alarm: AlarmRow) -> None:
        """A new alarm, or another state of one. One that is in this state already keeps its time."""
        table = schema.alarms
        key = (*_of(alarm.owner), table.c.name == alarm.name)
        async with self._database.writing() as connection:
            found = (await connection.execute(sa.select(table.c.state).where(*key))).scalar_one_or_none()
            if found == alarm.state:
                return
            await connection.execute(sa.delete(table).where(*key))
            values = {"account": alarm.owner.account, "region": alarm.owner.region, "name": alarm.name}
            changed = {"state": alarm.state.value, "changed_at": alarm.changed_at}
            await connection.execute(sa.insert(table).values(**values, **changed))

    async def all(self) -> tuple[AlarmRow, ...]:
        """Of all owners, by account, region and name."""
        table = schema.alarms
        statement = sa.select(table).order_by(table.c.account, table.c.region, table.c.name)
        async with self._database.reading() as connection:
            found = (await connection.execute(statement)).all()
        return tuple(
            AlarmRow(Owner(row.account, row.region), row.name, AlarmState(row.state), row.changed_at) for row in found
        )

    async def delete(self, owner: Owner, name: str) -> bool:
        """False: there was none."""
        statement = sa.delete(schema.alarms).where(*_of(owner), schema.alarms.c.name == name)
        async with self._database.writing() as connection:
            return (await connection.execute(statement)).rowcount > 0


def _of(owner: Owner) -> tuple[sa.ColumnElement[bool], ...]:
    return (schema.alarms.c.account == owner.account, schema.alarms.c.region == owner.region)
