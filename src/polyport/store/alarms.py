"""`AlarmStore`: rows of alarms."""

from collections.abc import Collection

import msgspec
import sqlalchemy as sa

from polyport.domain.alarms import AlarmRow, AlarmState, HistoryItem
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

    async def put(self, alarm: AlarmRow) -> bool:
        """A new alarm, or another state of one; what it watches stays. One that is in this state already keeps its
        time. False: nothing changed but perhaps the reason."""
        table = schema.alarms
        key = (*_of(alarm.owner), table.c.name == alarm.name)
        told = {"reason": alarm.reason, "reason_data": alarm.reason_data}
        changed = {"state": alarm.state.value, "changed_at": alarm.changed_at, **told}
        async with self._database.writing() as connection:
            found = (await connection.execute(sa.select(table.c.state).where(*key))).scalar_one_or_none()
            if found == alarm.state:
                return False
            if found is None:
                given = {"definition": alarm.definition, "configured_at": alarm.configured_at}
                await connection.execute(sa.insert(table).values(**_named(alarm), **changed, **given))
            else:
                await connection.execute(sa.update(table).where(*key).values(**changed))
            if alarm.definition or alarm.reason:
                await connection.execute(sa.insert(schema.alarm_history).values(**_transition(alarm, found)))
        return True

    async def define(self, alarm: AlarmRow) -> bool:
        """Say what an alarm watches. One that there is keeps its state; False: there was none."""
        table = schema.alarms
        key = (*_of(alarm.owner), table.c.name == alarm.name)
        given = {"definition": alarm.definition, "configured_at": alarm.configured_at}
        async with self._database.writing() as connection:
            was_there = (await connection.execute(sa.update(table).where(*key).values(**given))).rowcount > 0
            if not was_there:
                first = {"state": alarm.state.value, "changed_at": alarm.changed_at, "reason": alarm.reason}
                await connection.execute(sa.insert(table).values(**_named(alarm), **first, **given))
            summary = f'Alarm "{alarm.name}" {"updated" if was_there else "created"}'
            row = _item(alarm, alarm.configured_at, "ConfigurationUpdate", summary, alarm.definition)
            await connection.execute(sa.insert(schema.alarm_history).values(**row))
        return was_there

    async def history(self, owner: Owner, start: float, end: float) -> tuple[HistoryItem, ...]:
        """What became of an owner's alarms between two times (epoch seconds), oldest first."""
        table = schema.alarm_history
        of_owner = (table.c.account == owner.account, table.c.region == owner.region)
        statement = sa.select(table).where(*of_owner, table.c.at >= start, table.c.at <= end)
        async with self._database.reading() as connection:
            found = (await connection.execute(statement.order_by(table.c.at, table.c.id))).all()
        return tuple(HistoryItem(owner, row.name, row.at, row.kind, row.summary, row.data) for row in found)

    async def prune_history(self, before: float) -> None:
        """Drop what is older."""
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(schema.alarm_history).where(schema.alarm_history.c.at < before))

    async def all(self) -> tuple[AlarmRow, ...]:
        """Of all owners, by account, region and name."""
        table = schema.alarms
        statement = sa.select(table).order_by(table.c.account, table.c.region, table.c.name)
        async with self._database.reading() as connection:
            found = (await connection.execute(statement)).all()
        return tuple(
            AlarmRow(
                Owner(row.account, row.region),
                row.name,
                AlarmState(row.state),
                row.changed_at,
                row.definition,
                row.configured_at,
                row.reason,
                row.reason_data,
            )
            for row in found
        )

    async def delete(self, owner: Owner, name: str) -> bool:
        """False: there was none."""
        statement = sa.delete(schema.alarms).where(*_of(owner), schema.alarms.c.name == name)
        async with self._database.writing() as connection:
            return (await connection.execute(statement)).rowcount > 0


def _of(owner: Owner) -> tuple[sa.ColumnElement[bool], ...]:
    return (schema.alarms.c.account == owner.account, schema.alarms.c.region == owner.region)


def _named(alarm: AlarmRow) -> dict[str, str]:
    return {"account": alarm.owner.account, "region": alarm.owner.region, "name": alarm.name}


def _transition(alarm: AlarmRow, before: str | None) -> dict[str, str | float]:
    old = before or AlarmState.INSUFFICIENT_DATA.value
    states = {
        "version": "1.0",
        "oldState": {"stateValue": old},
        "newState": {"stateValue": alarm.state.value, "stateReason": alarm.reason},
    }
    summary = f"Alarm updated from {old} to {alarm.state.value}"
    return _item(alarm, alarm.changed_at, "StateUpdate", summary, msgspec.json.encode(states).decode())


def _item(alarm: AlarmRow, at: float, kind: str, summary: str, data: str) -> dict[str, str | float]:
    return {**_named(alarm), "at": at, "kind": kind, "summary": summary, "data": data}
