"""Evaluates alarms on metrics, every few seconds."""

import asyncio
import dataclasses
import logging
import sqlite3

from polyport.access import callers
from polyport.api.context import Context
from polyport.api.monitoring import alarms, composites
from polyport.domain.alarms import AlarmRow, AlarmType
from polyport.domain.names import Owner
from polyport.errors import PolyportError

log = logging.getLogger(__name__)

#: Seconds between two evaluations.
INTERVAL = 5.0
#: Evaluations between two times that old history is dropped: an hour.
PRUNE_EVERY = 720


async def run(context: Context) -> None:
    """Until cancelled. ``context``: any caller's; each alarm is evaluated as its owner's."""
    looks = 0
    while True:
        try:
            await look(context)
            if looks % PRUNE_EVERY == 0:
                await context.store.alarms.prune_history(context.clock() - alarms.HISTORY)
        except PolyportError as error:
            log.warning("alarms could not be read: %s", error)
        except Exception:
            log.exception("alarms could not be evaluated")
        looks += 1
        await asyncio.sleep(INTERVAL)


async def look(context: Context) -> None:
    """Evaluate each once, composite alarms after those that they depend on. One that cannot be evaluated holds up no
    other."""
    by_owner: dict[Owner, dict[str, AlarmRow]] = {}
    for row in await context.store.alarms.all():
        by_owner.setdefault(row.owner, {})[row.name] = row
    for owner, rows in by_owner.items():
        own = dataclasses.replace(context, caller=callers.anybody(owner.account, owner.region))
        for row in tuple(rows.values()):
            if row.definition and row.type is AlarmType.METRIC:
                rows[row.name] = await _evaluated(own, row)
        try:
            await composites.evaluate(own, rows)
        except PolyportError as error:
            log.warning("composite alarms cannot be evaluated: %s", error)


async def _evaluated(context: Context, row: AlarmRow) -> AlarmRow:
    try:
        return await alarms.evaluate(context, row)
    except (PolyportError, sqlite3.Error) as error:
        log.warning("alarm %s cannot be evaluated: %s", row.name, error)
    except Exception:
        log.exception("alarm %s cannot be evaluated", row.name)
    return row
