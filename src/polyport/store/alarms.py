"""`AlarmStore`: rows of alarms, what became of them, and what is still to be done for them."""

import secrets
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from polyport.domain.alarms import AlarmRow, AlarmState, AlarmType, Errand, HistoryItem, Notice
from polyport.domain.names import Owner
from polyport.store import schema, tagging
from polyport.store.database import Database


class AlarmStore:
    """Part of `Store`, on its database. All methods may raise `StoreError`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # States and definitions

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
        time. False: nothing changed."""
        async with self._database.writing() as connection:
            before = await _find(connection, alarm.owner, alarm.name)
            if before is None:
                values = {**_named(alarm), **_state(alarm), **_definition(alarm)}
                await connection.execute(sa.insert(schema.alarms).values(**values))
                if alarm.definition or alarm.reason:
                    await _remember(connection, _transition(alarm, AlarmState.INSUFFICIENT_DATA))
                return True
            return await _move(connection, before, alarm)

    async def judge(self, alarm: AlarmRow) -> bool:
        """Another state of an alarm by what it watches. False, and nothing is changed, when it is in that state, when
        it watches something else by now, and when it is gone."""
        async with self._database.writing() as connection:
            before = await _find(connection, alarm.owner, alarm.name)
            is_same = before is not None and before.definition == alarm.definition
            return before is not None and is_same and await _move(connection, before, alarm)

    async def define(self, alarm: AlarmRow, tags: Mapping[str, str] | None = None) -> bool:
        """Say what an alarm watches. One that there is keeps its state and its tags; False: there was none."""
        statement = sa.update(schema.alarms).where(*_key(alarm.owner, alarm.name)).values(**_definition(alarm))
        async with self._database.writing() as connection:
            was_there = (await connection.execute(statement)).rowcount > 0
            if not was_there:
                values = {**_named(alarm), **_state(alarm), **_definition(alarm)}
                await connection.execute(sa.insert(schema.alarms).values(**values))
                await tagging.put(connection, alarm.arn, tags or {})
            summary = f'Alarm "{alarm.name}" {"updated" if was_there else "created"}'
            item = _item(alarm, alarm.configured_at, "ConfigurationUpdate", summary, alarm.definition)
            await _remember(connection, item)
        return was_there

    async def get(self, owner: Owner, name: str) -> AlarmRow | None:
        """By its exact name."""
        async with self._database.reading() as connection:
            return await _find(connection, owner, name)

    async def all(self) -> tuple[AlarmRow, ...]:
        """Of all owners, by account, region and name."""
        table = schema.alarms
        statement = sa.select(table).order_by(table.c.account, table.c.region, table.c.name)
        async with self._database.reading() as connection:
            return tuple(_row(row) for row in await connection.execute(statement))

    async def delete(self, owner: Owner, name: str) -> bool:
        """With its tags. False: there was none."""
        async with self._database.writing() as connection:
            found = await _find(connection, owner, name)
            if found is None:
                return False
            await connection.execute(sa.delete(schema.alarms).where(*_key(owner, name)))
            await tagging.drop(connection, found.arn)
            return True

    # Tags

    async def tags(self, owner: Owner, name: str) -> dict[str, str] | None:
        """By key. ``None``: there is no such alarm."""
        async with self._database.reading() as connection:
            found = await _find(connection, owner, name)
            return await tagging.get(connection, found.arn) if found is not None else None

    async def put_tags(self, owner: Owner, name: str, tags: Mapping[str, str]) -> bool:
        """Add or overwrite. False: there is no such alarm. Raises `TooManyTags`, and then changes nothing."""
        async with self._database.writing() as connection:
            found = await _find(connection, owner, name)
            if found is not None:
                await tagging.put(connection, found.arn, tags)
            return found is not None

    async def delete_tags(self, owner: Owner, name: str, keys: Collection[str]) -> bool:
        """Keys that are not there are fine. False: there is no such alarm."""
        async with self._database.writing() as connection:
            found = await _find(connection, owner, name)
            if found is not None:
                await tagging.drop(connection, found.arn, keys)
            return found is not None

    # History

    async def history(self, owner: Owner, start: float, end: float) -> tuple[HistoryItem, ...]:
        """What became of an owner's alarms between two times (epoch seconds), oldest first."""
        table = schema.alarm_history
        of_owner = (table.c.account == owner.account, table.c.region == owner.region)
        statement = sa.select(table).where(*of_owner, table.c.at >= start, table.c.at <= end)
        async with self._database.reading() as connection:
            found = (await connection.execute(statement.order_by(table.c.at, table.c.id))).all()
        return tuple(
            HistoryItem(owner, row.name, row.at, row.kind, row.summary, row.data, AlarmType(row.type)) for row in found
        )

    async def prune_history(self, before: float) -> None:
        """Drop what is older."""
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(schema.alarm_history).where(schema.alarm_history.c.at < before))

    # Actions

    async def errands(self, now: float, most: int) -> tuple[Errand, ...]:
        """Those that are due, the longest due first; at most ``most``."""
        table = schema.alarm_actions
        statement = sa.select(table).where(table.c.due_at <= now).order_by(table.c.due_at, table.c.number).limit(most)
        async with self._database.reading() as connection:
            found = (await connection.execute(statement)).all()
        return tuple(Errand(row.number, msgspec.json.decode(row.notice, type=Notice), row.tries) for row in found)

    async def put_off(self, errand: Errand, due_at: float) -> None:
        """It failed, and is to be tried again then."""
        await self._put_off(errand, due_at=due_at, tries=errand.tries + 1)

    async def hold(self, errand: Errand, due_at: float) -> None:
        """It is not to be tried before then."""
        await self._put_off(errand, due_at=due_at)

    async def drop(self, errand: Errand) -> None:
        """It is not to be done any more, and nothing is to be said of it."""
        table = schema.alarm_actions
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(table).where(table.c.number == errand.number))

    async def _put_off(self, errand: Errand, **values: float) -> None:
        table = schema.alarm_actions
        async with self._database.writing() as connection:
            await connection.execute(sa.update(table).where(table.c.number == errand.number).values(**values))

    async def finish(self, errand: Errand, at: float, summary: str, data: str) -> None:
        """It is done, or given up; what came of it is remembered."""
        table = schema.alarm_actions
        async with self._database.writing() as connection:
            await connection.execute(sa.delete(table).where(table.c.number == errand.number))
            await _remember(connection, _item(errand.notice.alarm, at, "Action", summary, data))


async def _find(connection: AsyncConnection, owner: Owner, name: str) -> AlarmRow | None:
    found = (await connection.execute(sa.select(schema.alarms).where(*_key(owner, name)))).one_or_none()
    return _row(found) if found is not None else None


async def _move(connection: AsyncConnection, before: AlarmRow, alarm: AlarmRow) -> bool:
    """Into another state, and note what is to be done for it."""
    if before.state is alarm.state:
        return False
    after = msgspec.structs.replace(alarm, definition=before.definition, configured_at=before.configured_at)
    statement = sa.update(schema.alarms).where(*_key(alarm.owner, alarm.name)).values(**_state(alarm))
    await connection.execute(statement)
    if after.definition or after.reason:
        await _remember(connection, _transition(after, before.state))
    if rows := list(_errands(after, before.state)):
        await connection.execute(sa.insert(schema.alarm_actions), rows)
    return True


async def _remember(connection: AsyncConnection, item: dict[str, Any]) -> None:
    await connection.execute(sa.insert(schema.alarm_history).values(**item))


def _errands(alarm: AlarmRow, before: AlarmState) -> Iterator[dict[str, Any]]:
    for action in alarm.actions:
        notice = Notice(secrets.token_hex(16), action, alarm, before)
        yield {"due_at": alarm.changed_at, "tries": 0, "notice": msgspec.json.encode(notice).decode()}


def _row(row: sa.Row[Any]) -> AlarmRow:
    return AlarmRow(
        Owner(row.account, row.region),
        row.name,
        AlarmState(row.state),
        row.changed_at,
        row.definition,
        row.configured_at,
        row.reason,
        row.reason_data,
    )


def _of(owner: Owner) -> tuple[sa.ColumnElement[bool], ...]:
    return (schema.alarms.c.account == owner.account, schema.alarms.c.region == owner.region)


def _key(owner: Owner, name: str) -> tuple[sa.ColumnElement[bool], ...]:
    return (*_of(owner), schema.alarms.c.name == name)


def _named(alarm: AlarmRow) -> dict[str, str]:
    return {"account": alarm.owner.account, "region": alarm.owner.region, "name": alarm.name}


def _state(alarm: AlarmRow) -> dict[str, str | float]:
    told = {"reason": alarm.reason, "reason_data": alarm.reason_data}
    return {"state": alarm.state.value, "changed_at": alarm.changed_at, **told}


def _definition(alarm: AlarmRow) -> dict[str, str | float]:
    return {"definition": alarm.definition, "configured_at": alarm.configured_at}


def _transition(alarm: AlarmRow, before: AlarmState) -> dict[str, Any]:
    states = {
        "version": "1.0",
        "oldState": {"stateValue": before.value},
        "newState": {"stateValue": alarm.state.value, "stateReason": alarm.reason},
    }
    summary = f"Alarm updated from {before} to {alarm.state}"
    return _item(alarm, alarm.changed_at, "StateUpdate", summary, msgspec.json.encode(states).decode())


def _item(alarm: AlarmRow, at: float, kind: str, summary: str, data: str) -> dict[str, Any]:
    return {**_named(alarm), "at": at, "kind": kind, "summary": summary, "data": data, "type": alarm.type.value}
