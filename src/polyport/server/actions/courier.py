"""Takes notices of alarms to where they belong, one after the other or several at once, and tries again.

They are rows, written with the state that they are for: none is lost when control ends, and one may come twice.
"""

import asyncio
import functools
import logging
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from polyport.domain.alarms import Errand, Notice
from polyport.errors import PolyportError
from polyport.server.actions import book, carrying
from polyport.server.actions.book import ActionError, Book
from polyport.store.alarms import AlarmStore

log = logging.getLogger(__name__)

#: Seconds before the next try, by how often it has failed; then it is given up.
PAUSES = (2.0, 10.0, 30.0, 120.0, 300.0)
#: Actions that are carried out at the same time.
MOST = 8
#: Seconds between two looks for notices; other processes write them too.
INTERVAL = 1.0


class Courier:
    """Part of control."""

    def __init__(self, alarms: AlarmStore, actions: Book, clock: Callable[[], float] = time.time) -> None:
        self._alarms = alarms
        self._actions = actions
        self._clock = clock
        self._under_way: dict[int, asyncio.Task[None]] = {}
        #: Since control began: ``done``, ``failed`` for good, or to be tried ``again``.
        self.results: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled; what is under way then is tried again by the next control."""
        try:
            while True:
                try:
                    await self.look()
                except PolyportError as error:
                    log.warning("actions of alarms could not be read: %s", error)
                await asyncio.sleep(INTERVAL)
        finally:
            tasks = [*self._under_way.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> None:
        """Begin with what is due, as far as there are hands."""
        if len(self._under_way) >= MOST:
            return
        for errand in await self._alarms.errands(self._clock(), 2 * MOST):
            if errand.number not in self._under_way and len(self._under_way) < MOST:
                task = asyncio.create_task(self._go(errand))
                self._under_way[errand.number] = task
                task.add_done_callback(functools.partial(self._forget, errand.number))

    def _forget(self, number: int, _: asyncio.Task[None]) -> None:
        self._under_way.pop(number, None)

    async def settle(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._under_way.values())

    async def _go(self, errand: Errand) -> None:
        try:
            await self._try(errand)
        except PolyportError as error:
            # The row stays: it is tried again.
            log.warning("what came of an alarm's action could not be written: %s", error)
        except Exception:
            log.exception("an alarm's action failed by a mistake of Polyport's")
            await self._alarms.finish(errand, self._clock(), *told(errand.notice, "Polyport failed; see its log."))

    async def _try(self, errand: Errand) -> None:
        notice = errand.notice
        alarm, action = notice.alarm.name, book.shown(notice.action)
        try:
            await carrying.carry(self._actions.find(notice.action, notice.alarm.owner), notice)
        except ActionError as error:
            if error.may_pass and errand.tries < len(PAUSES):
                self.results["again"] += 1
                log.info("alarm %r: action %s failed and is tried again: %s", alarm, action, error)
                await self._alarms.put_off(errand, self._clock() + PAUSES[errand.tries])
                return
            self.results["failed"] += 1
            log.warning("alarm %r: action %s failed: %s", alarm, action, error)
            await self._alarms.finish(errand, self._clock(), *told(notice, str(error)))
            return
        self.results["done"] += 1
        log.info("alarm %r is %s: action %s done", alarm, notice.alarm.state, action)
        await self._alarms.finish(errand, self._clock(), *told(notice))


def told(notice: Notice, error: str = "") -> tuple[str, str]:
    """Summary and data for the alarm's history, as CloudWatch words them."""
    action = book.shown(notice.action)
    data = {
        "actionState": "Failed" if error else "Succeeded",
        "notificationResource": action,
        "stateUpdateTimestamp": round(notice.alarm.changed_at * 1000),
        "stateValue": notice.alarm.state.value,
        "error": error or None,
    }
    summary = f'Failed to execute action {action}. Received error: "{error}"'
    text = summary if error else f"Successfully executed action {action}"
    return text, msgspec.json.encode(data).decode()
