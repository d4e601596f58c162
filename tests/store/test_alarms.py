"""Rows of alarms: what fires for whom."""

import asyncio

from msgspec.structs import replace

from polyport import store
from polyport.domain.alarms import AlarmRow, AlarmState
from store.values import OTHER, OWNER

ERRORS = AlarmRow(OWNER, "errors", AlarmState.ALARM, 5.0)


def test_only_what_is_in_alarm_fires(with_store):
    """OK, INSUFFICIENT_DATA and alarms that nobody has made do not; nor does one that was not asked for."""

    async def body(rows):
        for name, state in (("errors", "ALARM"), ("slow", "OK"), ("new", "INSUFFICIENT_DATA"), ("other", "ALARM")):
            await rows.alarms.put(replace(ERRORS, name=name, state=AlarmState(state)))
        return await rows.alarms.firing(OWNER, {"errors", "slow", "new", "nobody"})

    assert with_store(body) == {"errors"}


def test_an_alarm_fires_for_its_owner_alone(with_store):
    """Two accounts or regions have different alarms of one name."""

    async def body(rows):
        await rows.alarms.put(replace(ERRORS, owner=OTHER))
        return await rows.alarms.firing(OWNER, {"errors"}), await rows.alarms.firing(OTHER, {"errors"})

    assert with_store(body) == (frozenset(), {"errors"})


def test_a_state_that_is_set_again_keeps_its_time(with_store):
    """The time tells since when it is so; another state begins anew."""

    async def body(rows):
        times = []
        for state, now in ((AlarmState.ALARM, 5.0), (AlarmState.ALARM, 6.0), (AlarmState.OK, 7.0)):
            await rows.alarms.put(replace(ERRORS, state=state, changed_at=now))
            [row] = await rows.alarms.all()
            times.append((row.state, row.changed_at))
        return times

    assert with_store(body) == [(AlarmState.ALARM, 5.0), (AlarmState.ALARM, 5.0), (AlarmState.OK, 7.0)]


def test_a_removed_alarm_does_not_fire(with_store):
    """And whether there was one is told."""

    async def body(rows):
        await rows.alarms.put(ERRORS)
        found = [await rows.alarms.delete(OTHER, "errors"), await rows.alarms.delete(OWNER, "errors")]
        return [*found, await rows.alarms.delete(OWNER, "errors"), await rows.alarms.firing(OWNER, {"errors"})]

    assert with_store(body) == [False, True, False, frozenset()]


def test_an_alarm_that_another_process_sets_is_seen(url):
    """`polyport alarm` has a database connection of its own; nothing is kept in memory."""

    async def main():
        server, command = store.Store(url), store.Store(url)
        await server.open()
        before = await server.alarms.firing(OWNER, {"errors"})
        await command.open()
        await command.alarms.put(ERRORS)
        await command.close()
        after = await server.alarms.firing(OWNER, {"errors"})
        await server.close()
        return before, after

    assert asyncio.run(main()) == (frozenset(), {"errors"})
