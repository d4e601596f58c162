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

from polyport.domain import suppression
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


class Outcome(msgspec.Struct, frozen=True):
    """What came of one try: ``done``, ``failed`` for good, or to be tried ``again``."""

    result: str
    error: str = ""


class Courier:
    """Part of control."""

    def __init__(self, alarms: AlarmStore, actions: Book, clock: Callable[[], float] = time.time) -> None:
        self._alarms = alarms
        self._actions = actions
        self._clock = clock
        self._under_way: dict[int, asyncio.Task[None]] = {}
        #: Outcomes that the database did not take.
        self._unwritten: dict[int, Outcome] = {}
        #: How many outcomes of each kind, since control began.
        self.results: Counter[str] = Counter()

    async def run(self) -> None:
        """Until cancelled; what is under way then is tried again by the next control."""
        try:
            while True:
                try:
                    await self.look()
                except PolyportError as error:
                    log.warning("actions of alarms could not be read: %s", error)
                except Exception:
                    log.exception("actions of alarms could not be read")
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
        """What was done once is not done again because it could not be written down."""
        try:
            if errand.number not in self._unwritten and await self._is_held(errand):
                return
        except PolyportError as error:
            log.warning("whether an alarm's action is suppressed could not be found out: %s", error)
            return
        outcome = self._unwritten.get(errand.number) or await self._try(errand)
        try:
            await self._write(errand, outcome)
        except PolyportError as error:
            self._unwritten[errand.number] = outcome
            log.warning("what came of an alarm's action could not be written: %s", error)
        else:
            self._unwritten.pop(errand.number, None)

    async def _is_held(self, errand: Errand) -> bool:
        """Whether the alarm's suppressor keeps it from being done now. When the alarm has changed while it was held, it
        is never done: what is to be done then is another errand."""
        alarm, now = errand.notice.alarm, self._clock()
        name = suppression.suppressor(alarm)
        if name is None:
            return False
        latest = await self._alarms.get(alarm.owner, alarm.name)
        if latest is None or latest.changed_at != alarm.changed_at:
            await self._alarms.drop(errand)
            return True
        found = suppression.hold(alarm, await self._alarms.get(alarm.owner, name), now)
        if found is not None:
            await self._alarms.hold(errand, min(found.until, now + suppression.AGAIN))
        return found is not None

    async def _try(self, errand: Errand) -> Outcome:
        notice = errand.notice
        alarm, action = notice.alarm.name, book.shown(notice.action)
        try:
            await carrying.carry(self._actions.find(notice.action, notice.alarm.owner), notice)
        except ActionError as error:
            if error.may_pass and errand.tries < len(PAUSES):
                log.info("alarm %r: action %s failed and is tried again: %s", alarm, action, error)
                return Outcome("again", str(error))
            log.warning("alarm %r: action %s failed: %s", alarm, action, error)
            return Outcome("failed", str(error))
        except Exception:
            log.exception("alarm %r: action %s failed by a mistake of Polyport's", alarm, action)
            return Outcome("failed", "Polyport failed; see its log.")
        log.info("alarm %r is %s: action %s done", alarm, notice.alarm.state, action)
        return Outcome("done")

    async def _write(self, errand: Errand, outcome: Outcome) -> None:
        now = self._clock()
        if outcome.result == "again":
            await self._alarms.put_off(errand, now + PAUSES[errand.tries])
        else:
            await self._alarms.finish(errand, now, *told(errand.notice, outcome.error))
        self.results[outcome.result] += 1


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
