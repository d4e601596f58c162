"""One life of control: the real reconciler, and behind a fuse all that it does to the outside."""

import asyncio
import random
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, cast

from polyport.control import health
from polyport.control.limits import Limits
from polyport.control.reconcile import Reconciler
from polyport.domain.endpoints import Endpoint, EndpointState, Fleet, InstanceRow, Variant
from polyport.domain.instances import Container, Image, Instance, InstanceState
from polyport.domain.names import Owner
from polyport.engines.contract import Diagnosis, Ping
from polyport.errors import ArtifactError, EngineError, ImageError, StoreError
from simulation import rules
from simulation.gateways import CHANNEL, DRAIN

if TYPE_CHECKING:
    from simulation.world import World

RULES = health.Rules(
    startup_timeout=8.0, startup_restarts=3, ping_interval=2.0, unhealthy_after=2, replace_after=6.0, replace_falls=3
)
LIMITS = Limits(startup=8.0, engine=6.0, stop=3.0, gateway=8.0, drain=DRAIN)
PING_TIMEOUT = 1.0


class Fuse:
    """Ends control at a moment of its work; from then on it does nothing to the outside any more."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._chance = random.Random(f"{world.history.seed} fuse").random
        #: How many moments it still lives through; ``None``: all.
        self.left: int | None = None
        self.is_blown = False

    async def moment(self, what: str, *, seconds: float = 0.0) -> None:
        """Before or after something that control does to the outside. It may take up to so many seconds."""
        if self.left is not None and not self.is_blown:
            self.left -= 1
            if self.left <= 0:
                self.is_blown = True
                self._world.say("control is killed %s", what)
                self._world.bury()
        if self.is_blown:
            await asyncio.Event().wait()
        if seconds:
            await asyncio.sleep(seconds * self._chance())
            if self.is_blown:
                await asyncio.Event().wait()


class Rows:
    """The reconciler's rows."""

    def __init__(self, world: "World", fuse: Fuse) -> None:
        self._world = world
        self._fuse = fuse
        #: By endpoint: the state that control knows of.
        self.known: dict[str, EndpointState] = {}

    async def all_endpoints(self) -> list[Endpoint]:
        """Oldest first."""
        await self._ask("reads all rows")
        rows = list(self._world.store.rows.values())
        for row in rows:
            self.known.setdefault(row.id, row.state)
        return rows

    async def versions(self) -> dict[str, int]:
        """Of all rows."""
        await self._ask("reads the versions of all rows")
        return self._world.store.versions()

    async def get_endpoint_by_id(self, endpoint_id: str) -> Endpoint | None:
        """One row."""
        await self._ask("reads a row")
        row = self._world.store.rows.get(endpoint_id)
        if row is not None:
            self.known[row.id] = row.state
        return row

    async def advance(self, endpoint: Endpoint, state: EndpointState, now: float) -> Endpoint:
        """Compare and swap."""
        self._world.check(rules.WRITE, rules.Write(self._world, endpoint, state, now))
        await self._world.race()
        await self._ask(f"before it writes {endpoint.name}")
        written = self._world.store.advance(endpoint, state, now)
        if self._world.trace is not None:
            self._world.say("control writes %s", rules.tell(written))
        await self._fuse.moment(f"after it wrote {endpoint.name}")
        self.known[written.id] = written.state
        return written

    async def remove_endpoint(self, endpoint: Endpoint) -> None:
        """Compare and delete."""
        self._world.check(rules.REMOVAL, rules.Removal(self._world, endpoint))
        await self._ask(f"before it deletes {endpoint.name}")
        self._world.store.remove(endpoint)
        self._world.say("control deletes the row of %s", endpoint.name)
        await self._fuse.moment(f"after it deleted {endpoint.name}")

    async def _ask(self, what: str) -> None:
        await self._fuse.moment(what)
        await self._world.store.pause()
        await self._fuse.moment(what)
        if self._world.fails("database fails"):
            raise StoreError("The database is locked.")


class Engine:
    """The engine of one life of control, on the machine that outlives it."""

    def __init__(self, world: "World", fuse: Fuse) -> None:
        self._world = world
        self._fuse = fuse
        self._changed = asyncio.Event()

    async def open(self) -> None:
        """Hear of changes from now on."""
        self._world.machine.on_change = self._hint

    async def close(self) -> None:
        """Whoever comes next has set a hint of its own by then, or does so."""

    async def apply(self, instance: Instance) -> None:
        """The order is on its way at once; control may be gone by the time it arrives."""
        self._world.check(rules.ORDER, rules.Order(self._world, instance.id))
        await self._fuse.moment(f"before it starts {instance.id}")
        self._world.say("control orders %s", instance.id)
        await self._order(lambda: self._world.machine.apply(instance))
        await self._fuse.moment(f"after it started {instance.id}")

    async def remove(self, instance_id: str) -> None:
        """As above."""
        self._world.check(rules.ENDING, rules.Order(self._world, instance_id))
        await self._fuse.moment(f"before it ends {instance_id}")
        self._world.say("control ends %s", instance_id)
        await self._order(lambda: self._world.remove(instance_id))
        await self._fuse.moment(f"after it ended {instance_id}")

    async def observe(self) -> tuple[InstanceState, ...]:
        """As late as the contract allows."""
        if self._world.fails("engine fails"):
            raise EngineError("The daemon does not answer.")
        return self._world.machine.observe()

    async def changed(self) -> None:
        """Unless the news is lost."""
        await self._changed.wait()
        self._changed.clear()

    async def ping(self, instance_id: str, hostname: str, timeout: float) -> Ping:
        """The answer is as old as it took to come."""
        world = self._world
        container, ping = world.machine.ping(instance_id, hostname)
        started_at = container.state.started_at if container else None
        await asyncio.sleep(timeout if ping.error == "timeout" else 0.02 * world.chance())
        if world.fails("engine fails"):
            ping = Ping(error="The daemon does not answer.")
        if container is not None and container.state.started_at == started_at and container.state.pid is not None:
            container.note(ping, world.loop.time())
        return ping

    async def explain(self, instance_id: str, hostname: str) -> Diagnosis:
        """Nothing is known."""
        await asyncio.sleep(0.05 * self._world.chance())
        return Diagnosis()

    async def _order(self, effect: "rules.Effect") -> None:
        world = self._world
        is_lost = world.fails("engine fails")
        arrives = (2.0 if world.fails("engine is slow") else 0.05) * world.chance() ** 2
        done = world.loop.create_future()

        def arrive() -> None:
            error: EngineError | None = EngineError("The daemon does not answer.") if is_lost else None
            # An error may also mean that only the answer was lost.
            if not is_lost or world.chance() < 0.5:
                try:
                    effect()
                except EngineError as refusal:
                    error = refusal
            if done.done():
                return
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

        world.loop.call_later(arrives, arrive)
        await done

    def _hint(self) -> None:
        for _ in range(self._world.deliveries()):
            self._changed.set()


class Preparer:
    """Images and model data."""

    def __init__(self, world: "World") -> None:
        self._world = world

    async def resolve(self, variant: Variant) -> tuple[Image, ...]:
        """All images but unknown ones are known."""
        await asyncio.sleep(0.2 * self._world.chance() ** 2)
        if self._world.fails("data cannot be fetched"):
            raise ImageError("The registry does not answer.")
        for spec in variant.containers:
            if spec.image.startswith("unknown"):
                raise ImageError(f"There is no image {spec.image}.")
        return tuple(Image(spec.image, f"{spec.image}@sha256:0", 1.0) for spec in variant.containers)

    async def prepare(self, endpoint: Endpoint, fleet: Fleet, row: InstanceRow) -> Instance:
        """Takes a moment; a long one while data cannot be fetched."""
        failing = self._world.fails("data cannot be fetched")
        await asyncio.sleep((2.0 if failing else 0.1) * self._world.chance() ** 2)
        if failing:
            raise ArtifactError("The bucket does not answer.")
        containers = zip(fleet.variant.containers, fleet.images, strict=True)
        return Instance(row.id, {}, tuple(Container(spec.hostname, image) for spec, image in containers))

    def hints(self, variant: Variant) -> list[str]:
        """None."""
        return []


class Alarms:
    """The source of alarm states."""

    def __init__(self, world: "World", fuse: Fuse) -> None:
        self._world = world
        self._fuse = fuse
        #: What was told last.
        self.told: frozenset[str] = frozenset()

    async def firing(self, owner: Owner, names: Collection[str]) -> frozenset[str]:
        """Which of them are in ALARM."""
        await self._world.store.pause()
        self.told = frozenset(names) & self._world.alarms
        return self.told


class _Socket:
    """The name of a socket, as far as the publisher needs it to be a path."""

    def __str__(self) -> str:
        return CHANNEL

    def unlink(self, *, missing_ok: bool) -> None:
        """There is no such file."""

    def chmod(self, mode: int) -> None:
        """There is no such file."""


class Control:
    """From a start to an end, which comes without warning."""

    def __init__(self, world: "World") -> None:
        self.fuse = Fuse(world)
        self.rows = Rows(world, self.fuse)
        self.alarms = Alarms(world, self.fuse)
        self.reconciler = Reconciler(
            self.rows,
            Engine(world, self.fuse),
            Preparer(world),
            RULES,
            len(world.gateways),
            PING_TIMEOUT,
            clock=world.clock,
            alarms=self.alarms,
            limits=LIMITS,
            gateways=world,
            new_id=world.new_id,
        )
        self.is_up = False
        self.started_at = world.loop.time()

    async def run(self) -> None:
        """Start. Raises `EngineError` and `StoreError`, as a real one does."""
        await self.reconciler.start()
        await self.reconciler.publisher.open(cast(Path, _Socket()))
        self.is_up = True
