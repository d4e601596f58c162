"""Evaluates alarms on metrics, every few seconds."""

import asyncio
import dataclasses
import logging
import sqlite3

from polyport.access import callers
from polyport.api.context import Context
from polyport.api.monitoring import alarms
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
        looks += 1
        await asyncio.sleep(INTERVAL)


async def look(context: Context) -> None:
    """Evaluate each once. One that cannot be evaluated holds up no other."""
    for row in await context.store.alarms.all():
        if row.definition:
            owner = callers.anybody(row.owner.account, row.owner.region)
            try:
                await alarms.evaluate(dataclasses.replace(context, caller=owner), row)
            except (PolyportError, sqlite3.Error) as error:
                log.warning("alarm %s cannot be evaluated: %s", row.name, error)
