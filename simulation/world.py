"""A world with one control, its gateways, a machine, rows and users, and what befalls it."""

import asyncio
import random
from collections.abc import Callable, Collection, Iterable
from typing import Any

import msgspec

from polyport.control import publish
from polyport.domain.endpoints import EndpointState
from polyport.domain.routes import Publish, RouteTable
from polyport.errors import EngineError, StoreError
from simulation import faults, rules
from simulation.control import Control
from simulation.gateways import Gateway
from simulation.history import Event, History
from simulation.loop import Loop
from simulation.machine import Machine
from simulation.store import Store
from simulation.users import Users, models

#: Epoch seconds at which all worlds begin.
EPOCH = 1_750_000_000.0
#: Seconds in which everything comes to rest once faults stop.
PATIENCE = 180.0
#: Seconds at rest in which nothing may change any more.
REST = 7.0
#: Seconds in which a gateway worker is thought to be just starting.
JUST_STARTED = 3.0
_decoder = msgspec.msgpack.Decoder(Publish)


class World:
    """Everything there is. ``control`` is the one that lives, if one does."""

    def __init__(self, history: History, trace: list[str] | None = None) -> None:
        self.history = history
        self.trace = trace
        self.loop = Loop()  # type: ignore[abstract]
        self.loop.network.on_served = self._look_at
        self.chance = random.Random(history.seed).random
        self.machine = Machine(self.loop, self.clock, self.chance)
        self.machine.lag = history.lag
        self.store = Store(random.Random(f"{history.seed} store").random, self._tell)
        self.store.models = models()
        self.gateways = [
            Gateway(self.loop, f"gateway-{number}", history.seed, self._take) for number in range(history.gateways)
        ]
        for gateway in self.gateways:
            gateway.doubled = history.doubled
        self.control: Control | None = None
        self.alarms: frozenset[str] = frozenset()
        #: The first rule that did not hold, and how.
        self.broken: tuple[str, str] | None = None
        #: Calls that wait for control to write a row.
        self.races: list[Event] = []
        #: No fault happens any more.
        self.is_calm = False
        self.errors = self.loop.errors
        self._users = Users(self.store, self.clock, history.gentle)
        self._calls: set[asyncio.Task[str]] = set()
        self.waiting: list[asyncio.Task[None]] = []
        self.troubles: dict[str, float] = {}
        self._blind_until = 0.0
        self._start: asyncio.Task[None] | None = None
        self._ids = 0
        self.lost = history.lost
        self._frame: bytes | None = None

    # --- what others ask

    def clock(self) -> float:
        """Epoch seconds."""
        return EPOCH + self.loop.time()

    def new_id(self) -> str:
        """Ids in their order."""
        self._ids += 1
        return f"i-{self._ids:02}"

    def say(self, text: str, *values: object) -> None:
        """A line of the trace."""
        if self.trace is not None:
            self.trace.append(f"{self.loop.time():8.3f}  {text % values}")

    def fails(self, what: str) -> bool:
        """Whether this goes wrong now."""
        if self.troubles.get(what, 0.0) <= self.loop.time() or self.chance() < 0.3:
            return False
        if what == "database fails":
            # A step that fails is tried again after pauses that grow.
            self._blind_until = self.loop.time() + 12.0
        return True

    def deliveries(self) -> int:
        """How often a notification arrives."""
        chance = self.chance()
        if chance < self.lost or self.troubles.get("hints are lost", 0.0) > self.loop.time():
            return 0
        return 2 if chance > 1 - self.history.doubled else 1

    def users_of(self, instance: str) -> list[str]:
        """The gateways that may send calls to an instance, or have some there."""
        return [gateway.name for gateway in self.gateways if gateway.uses(instance)]

    def firing(self) -> frozenset[str]:
        """The alarms that control was told of last."""
        return self.control.alarms.told if self.control else frozenset()

    def known(self, endpoint_id: str) -> EndpointState | None:
        """The state of an endpoint that control goes by."""
        return self.control.rows.known.get(endpoint_id) if self.control else None

    def is_healthy(self, instance: str) -> bool:
        """Whether control thinks so."""
        return self.control is None or self.control.reconciler.monitor.is_healthy(instance)

    def is_given_up(self, instance: str) -> bool:
        """Whether it is gone, or control thinks that it was ill for too long."""
        overdue = self.control is not None and self.control.reconciler.monitor.is_overdue(instance)
        return overdue or instance not in self.machine.running

    def end(self, pid: int) -> None:
        """Control has given up on a gateway worker; another is started in its place."""
        for gateway in self.gateways:
            if gateway.pid == pid and gateway.is_alive:
                self._end_gateway(gateway)

    def end_others(self, pids: Collection[int]) -> None:
        """Control misses a worker: it is none of these."""
        for gateway in self.gateways:
            if gateway.is_alive and gateway.pid not in pids and self.loop.time() - gateway.started_at > JUST_STARTED:
                self._end_gateway(gateway)

    def _end_gateway(self, gateway: Gateway) -> None:
        self.say("%s is ended", gateway.name)
        gateway.die()
        self.loop.call_later(0.5, gateway.start)

    def is_blind(self) -> bool:
        """Whether control cannot know what is so, or cannot act on it, for the lack of a database."""
        return self.loop.time() < self._blind_until

    def remove(self, instance: str) -> None:
        """An order to end an instance arrives at the machine."""
        self.check(rules.ENDED, rules.Order(self, instance))
        self.machine.remove(instance)

    # --- rules

    def check(self, checked: Iterable[Callable[[Any], None]], at: Any) -> None:
        """The first rule that does not hold ends the world."""
        if self.broken or (self.control is not None and self.control.fuse.is_blown):
            return
        for rule in checked:
            try:
                rule(at)
            except rules.Broken as broken:
                self.breaks(rule.__name__, str(broken))
                return

    def breaks(self, rule: str, text: str) -> None:
        """A rule does not hold."""
        if self.broken is None:
            self.broken = (rule, text)
            self.say("BROKEN  %s: %s", rule, text)
            self.loop.is_over = True

    def _look_at(self, frame: bytes) -> None:
        """Of a frame that control sends, once for all gateways."""
        if frame is self._frame:
            return
        self._frame = frame
        self.check(rules.TABLE, rules.Table(self, _decoder.decode(frame[publish.PREFIX :]).table))

    def _take(self, gateway: Gateway, table: RouteTable) -> None:
        if self.trace is not None:
            found = {
                f"{entry.name}/{variant.name}": [one.id for one in variant.instances]
                for entry in table.endpoints
                for variant in entry.variants
            }
            self.say("%s takes table %s: %s", gateway.name, table.version - int(EPOCH) * 1000, found)

    # --- life

    async def live(self) -> None:
        """From the first moment to the last."""
        for event in self.history.events:
            self.loop.call_at(event.at, faults.befall, self, event)
        for gateway in self.gateways:
            gateway.start()
        self._begin()
        await asyncio.sleep(self.history.until)
        self._calm()
        # What was on its way before arrives.
        await asyncio.sleep(2.0)
        await self._rests()
        self.check(rules.END, self)
        writes = self.store.writes
        await asyncio.sleep(REST)
        if writes != self.store.writes:
            self.breaks("everything_comes_to_rest", "rows are written at rest")
        self.check(rules.END, self)
        if self.control:
            await self.control.reconciler.stop()

    async def _rests(self) -> None:
        end = self.loop.time() + PATIENCE
        while self.loop.time() < end:
            await asyncio.sleep(0.5)
            try:
                for rule in rules.END:
                    rule(self)
            except rules.Broken:
                continue
            return

    def _calm(self) -> None:
        """No fault from here on."""
        self.say("from here on all goes well")
        self.is_calm = True
        self.races.clear()
        for task in (*self._calls, *self.waiting):
            task.cancel()
        self.troubles.clear()
        self.alarms = frozenset()
        self.lost = 0.0
        for running in self.machine.running.values():
            for container in running.containers:
                container.trouble = ""
        for gateway in self.gateways:
            gateway.stalls_until = 0.0
            if gateway.hangs_for > 0:
                gateway.die()
            gateway.start()
        if self.control is not None:
            self.control.fuse.left = None

    def _begin(self) -> None:
        if self.control is None:
            self.say("control starts")
            self.control = Control(self)
            self._start = self.loop.create_task(self._run(self.control))

    async def _run(self, control: Control) -> None:
        try:
            await control.run()
        except (EngineError, StoreError) as error:
            self.say("control cannot start: %s", error)
            self.loop.create_task(self._end(control, 0.5))

    def bury(self, downtime: float = 0.0) -> None:
        """Control was killed; another one starts after a while."""
        control = self.control
        if control is not None:
            control.fuse.is_blown = True
            self.loop.create_task(self._end(control, downtime or self.chance() ** 2 * 3))

    async def _end(self, control: Control, downtime: float) -> None:
        if self._start is not None:
            self._start.cancel()
        for call in self._calls:
            # What was under way is not answered any more.
            call.cancel()
        await control.reconciler.stop()
        if self.control is control:
            self.control = None
            self.loop.call_later(downtime, self._begin)

    def _tell(self, endpoint_id: str) -> None:
        for _ in range(self.deliveries()):
            self.loop.call_later(self.chance() * 0.02, self._wake, endpoint_id)

    def _wake(self, endpoint_id: str) -> None:
        if self.control is not None and self.control.is_up:
            self.control.reconciler.wake(endpoint_id)

    # --- users

    async def race(self) -> None:
        """Control is about to write: somebody else writes a moment before it."""
        if self.races:
            self.waiting.append(self.loop.create_task(self.call(self.races.pop())))
            await asyncio.sleep(0.1)

    async def call(self, event: Event) -> None:
        """An event that is a call of a user, who waits until somebody answers."""
        while self.control is None or not self.control.is_up:  # noqa: ASYNC110  control knows nothing of its users
            await asyncio.sleep(0.3)
        call = self.loop.create_task(self._users.call(event))
        self._calls.add(call)
        await asyncio.wait({call})
        self._calls.discard(call)
        self.say("%s %s", event.what, "gets no answer" if call.cancelled() else call.result())
