"""A control plane whole but for its surroundings: the real reconciler, store and channel; a fake machine, fake
preparer and fake gateways. It can be killed before or after anything it does to the outside."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import msgspec

from control.gateways import Gateway, until
from control.values import OWNER, endpoint, images, wanted
from polyport import store
from polyport.control import health, plan
from polyport.control.limits import Limits
from polyport.control.reconcile import Reconciler
from polyport.domain.endpoints import Endpoint, Fleet, InstanceRow, Status, Variant
from polyport.domain.instances import Container, Image, Instance
from polyport.engines.contract import Ping
from polyport.engines.fake import FakeEngine, Machine
from polyport.errors import ImageError, StaleWrite
from polyport.settings import Settings

RULES = health.Rules(startup_timeout=60.0, startup_restarts=3, ping_interval=0.05, unhealthy_after=2)
SETTLED = {Status.IN_SERVICE, Status.FAILED}


class Fuse:
    """Kills control at its nth action on the outside, before or after the effect; counts them meanwhile."""

    def __init__(self) -> None:
        #: Moments so far.
        self.count = 0
        self.kill_at: float = float("inf")
        self.blown = asyncio.Event()

    async def guard(self, action: Coroutine[Any, Any, Any]) -> Any:
        """The action, with a moment before and one after it in which control may be killed."""
        try:
            await self._moment()
        except asyncio.CancelledError:
            action.close()
            raise
        result = await action
        await self._moment()
        return result

    async def _moment(self) -> None:
        self.count += 1
        if self.count >= self.kill_at:
            self.blown.set()
        if self.blown.is_set():
            await asyncio.Event().wait()


class Rows:
    """The store's part for the reconciler, behind a fuse. It counts steps and can lose races."""

    def __init__(self, rows: store.Store, fuse: Fuse) -> None:
        self._rows = rows
        self._fuse = fuse
        self.steps = 0
        #: All statuses written.
        self.statuses: list[Status] = []
        self.meddle: Callable[[Endpoint], Awaitable[None]] | None = None

    async def all_endpoints(self) -> list[Endpoint]:
        return await self._rows.all_endpoints()

    async def versions(self) -> dict[str, int]:
        return await self._rows.versions()

    async def get_endpoint_by_id(self, endpoint_id: str) -> Endpoint | None:
        self.steps += 1
        return await self._rows.get_endpoint_by_id(endpoint_id)

    async def advance(self, row: Endpoint, state: plan.EndpointState, now: float) -> Endpoint:
        if self.meddle:
            await self.meddle(row)
        written: Endpoint = await self._fuse.guard(self._rows.advance(row, state, now))
        self.statuses.append(written.status)
        return written

    async def remove_endpoint(self, row: Endpoint) -> None:
        await self._fuse.guard(self._rows.remove_endpoint(row))


class Engine(FakeEngine):
    """The fake engine, behind a fuse. It will not have an instance removed that a gateway may still use."""

    def __init__(
        self, settings: Settings, machine: Machine, fuse: Fuse, gateways: list[Gateway], answers: dict[str, Ping]
    ) -> None:
        super().__init__(settings, machine)
        self._fuse = fuse
        self._gateways = gateways
        self._answers = answers
        self.removed: list[str] = []
        self.wrongs: list[str] = []
        self.error: Exception | None = None
        #: While it is not set, containers called ``slow`` answer no ping.
        self.awake = asyncio.Event()
        self.awake.set()
        #: While it is not set, it takes no order.
        self.obeys = asyncio.Event()
        self.obeys.set()

    async def ping(self, instance_id: str, hostname: str, timeout: float) -> Ping:
        if hostname == "slow":
            await self.awake.wait()
        if instance_id in self._answers:
            return self._answers[instance_id]
        return await super().ping(instance_id, hostname, timeout)

    async def apply(self, instance: Instance) -> None:
        if self.error:
            raise self.error
        await self.obeys.wait()
        await self._fuse.guard(super().apply(instance))

    async def remove(self, instance_id: str) -> None:
        if self.error:
            raise self.error
        self.removed.append(instance_id)
        await self.obeys.wait()
        if any(gateway.uses(instance_id) for gateway in self._gateways):
            self.wrongs.append(f"{instance_id} was removed while a gateway used it")
        await self._fuse.guard(super().remove(instance_id))


class Preparer:
    """Has every image but those called ``unknown``, and prepares at once unless told otherwise."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.resolve_error: Exception | None = None
        #: While it is not set, images are looked for and not found.
        self.open = asyncio.Event()
        self.open.set()
        self.resolving = 0
        #: How often images were looked for.
        self.resolved = 0
        #: Variants whose data never arrives.
        self.stuck: set[str] = set()
        self.preparing: set[str] = set()
        self.cancelled: set[str] = set()

    async def resolve(self, variant: Variant) -> tuple[Image, ...]:
        self.resolving += 1
        await self.open.wait()
        self.resolving -= 1
        self.resolved += 1
        if self.resolve_error:
            raise self.resolve_error
        for spec in variant.containers:
            if spec.image.startswith("unknown"):
                raise ImageError(f"There is no image {spec.image}. Known are: one:1.")
        return images(variant)

    async def prepare(self, row: Endpoint, fleet: Fleet, instance: InstanceRow) -> Instance:
        self.preparing.add(instance.id)
        try:
            if instance.variant in self.stuck:
                await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.add(instance.id)
            raise
        if self.error:
            raise self.error
        containers = zip(fleet.variant.containers, fleet.images, strict=True)
        return Instance(
            id=instance.id,
            labels={"endpoint": row.name},
            containers=tuple(Container(hostname=spec.hostname, image=image) for spec, image in containers),
        )

    def hints(self, variant: Variant) -> list[str]:
        return [f"looking for {variant.name}'s images"] if self.resolving else []


class Plane:
    """Use as an async context manager; ends with nothing left over."""

    def __init__(
        self,
        folder: Path,
        workers: int = 1,
        subscribe: bool = True,
        rules: health.Rules = RULES,
        limits: Limits | None = None,
    ) -> None:
        self.folder = folder
        self.workers = workers
        self.subscribe = subscribe
        self.start = time.time()
        #: What instances answer to pings, whatever their scripts say.
        self.answers: dict[str, Ping] = {}
        self.rules = rules
        self.limits = limits or Limits()
        #: The process ids of gateway workers that were to be ended, and of those that were to be left.
        self.ended: list[int] = []
        self.spared: list[list[int]] = []
        #: How much faster than ours its time goes.
        self.pace = 1.0
        self.machine = Machine(clock=self.clock)
        self.preparer = Preparer()
        self.fuse = Fuse()
        self.gateways: list[Gateway] = []
        self.store = store.Store(store.sqlite_url(folder / "p.db"))
        self.home = folder / "home"
        self.wrongs: list[str] = []

    def clock(self) -> float:
        return self.start + (time.time() - self.start) * self.pace

    async def __aenter__(self) -> Self:
        await self.store.open()
        await self.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.reconciler.stop()
        for gateway in self.gateways:
            await gateway.close()
        await self.store.close()
        assert not self.wrongs + self.engine.wrongs
        assert len(asyncio.all_tasks()) == 1, "stop() left tasks behind"

    # --- its life

    async def begin(self, asleep: bool = False) -> None:
        """Start control (again); gateways connect to it. ``asleep``: with slow containers that do not answer yet."""
        self.engine = Engine(Settings(home=self.home), self.machine, self.fuse, self.gateways, self.answers)
        self.rows = Rows(self.store, self.fuse)
        self.reconciler = Reconciler(
            self.rows,
            self.engine,
            self.preparer,
            self.rules,
            self.workers,
            ping_timeout=1.0,
            clock=self.clock,
            limits=self.limits,
            gateways=self,
        )
        self.forget = self.store.subscribe(self.reconciler.wake) if self.subscribe else lambda: None
        await self.reconciler.publisher.open(self.folder / "g.sock")
        if asleep:
            self.engine.awake.clear()
        await self.connect()
        await self.reconciler.start()

    async def connect(self) -> None:
        """Gateways keep their last table over a restart of control; these are the same ones again."""
        known = {gateway.name: gateway for gateway in self.gateways}
        self.gateways.clear()
        for number in range(self.workers):
            gateway = known.get(str(number)) or Gateway(self.folder / "g.sock", str(number))
            await gateway.close()
            self.gateways.append(await gateway.connect())

    async def kill(self) -> None:
        """What is left of control after SIGKILL: nothing it was doing gets any further."""
        self.forget()
        self.fuse.blown.set()
        self.wrongs += self.engine.wrongs
        await self.reconciler.stop()
        self.fuse.blown.clear()
        self.fuse.kill_at = float("inf")

    # --- what control does to gateway workers

    def end(self, pid: int) -> None:
        self.ended.append(pid)

    def end_others(self, pids: Collection[int]) -> None:
        self.spared.append(list(pids))

    # --- what users do

    async def create(self, *variants: Variant, name: str = "Endpoint") -> str:
        row = endpoint(wanted(1, *variants), name=name)
        await self.store.add_endpoint(row)
        return row.id

    async def want(self, *variants: Variant, new: bool = True, name: str = "Endpoint") -> None:
        """UpdateEndpoint, or new weights and counts; as the API does it."""
        row = await self.get(name)
        assert row.state.active
        await self.store.want(
            row, wanted(row.wanted.revision + 1 if new else row.state.active.revision, *variants), 5.0
        )

    async def delete(self, name: str = "Endpoint") -> None:
        while True:
            row = await self.get(name)
            with suppress(StaleWrite):
                await self.store.want(row, msgspec.structs.replace(row.wanted, deleted=True), 6.0)
                return

    # --- what can be seen

    async def find(self, name: str = "Endpoint") -> Endpoint | None:
        return await self.store.get_endpoint(OWNER, name)

    async def get(self, name: str = "Endpoint") -> Endpoint:
        row = await self.find(name)
        assert row is not None
        return row

    async def passes(self, status: Status) -> None:
        """Wait for a status that may not last."""
        await until(lambda: status in self.rows.statuses)

    async def reaches(self, status: Status, name: str = "Endpoint", seconds: float = 15.0) -> Endpoint:
        """Wait for a status that lasts."""
        async with asyncio.timeout(seconds):
            while True:
                row = await self.get(name)
                if row.status is status:
                    return row
                await asyncio.sleep(0.002)

    async def is_gone(self, name: str = "Endpoint", seconds: float = 15.0) -> None:
        """Wait until the row is gone."""
        async with asyncio.timeout(seconds):
            while True:
                if await self.find(name) is None:
                    return
                await asyncio.sleep(0.002)

    async def rests(self, name: str = "Endpoint", seconds: float = 15.0) -> Endpoint | None:
        """Wait until the endpoint is settled, with nothing left to do, or gone."""
        async with asyncio.timeout(seconds):
            while True:
                row = await self.find(name)
                if row is None or (row.status in SETTLED and not row.state.retired):
                    return row
                await asyncio.sleep(0.002)

    @property
    def running(self) -> set[str]:
        """The instances on the machine."""
        return set(self.machine.homes.get(self.home, {}))

    async def runs(self, *instances: str) -> None:
        """Wait until the machine runs exactly these."""
        await until(lambda: self.running == set(instances))

    def live(self) -> list[set[str]]:
        """What each gateway sends calls to."""
        return [{each for each in self.running if gateway.uses(each)} for gateway in self.gateways]


def ids(row: Endpoint) -> set[str]:
    """The instances that take an endpoint's calls."""
    return {each.id for each in plan.instances(row.state.active)}
