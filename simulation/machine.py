"""The computer that instances run on, in made-up time. It outlives control, and does what it was told late."""

import asyncio
from collections import deque
from collections.abc import Callable

from msgspec.structs import replace

from polyport.domain.instances import ContainerPhase, ContainerState, Exit, Instance, InstanceState
from polyport.engines import backoff
from polyport.engines.contract import Ping
from polyport.errors import CannotChangeInstance

#: Image names that say how containers of it fare.
BROKEN, DEAF = "broken", "deaf"
#: Seconds within which control knows what is so, and its table says it: an engine's view that is late, two pings that
#: are not answered in time with the pauses between, a write, a step.
GRACE = 6.0


class Container:
    """One container: what an engine sees of it, and what it is like."""

    def __init__(self, hostname: str, image: str, port: int, now: float) -> None:
        self.image = image
        self.state = ContainerState(hostname, ContainerPhase.STARTING, host="127.0.0.1", port=port)
        self.listens = False
        #: What it does with a ping: ``""`` answers 200; ``ill`` answers 500, ``slow`` does not answer in time.
        self.trouble = ""
        self.ends = 0
        #: Since when it answered every ping with 200; ``None``: it did not answer the latest.
        self.well_since: float | None = None
        #: Since when it answered none, or did not run; ``None``: it answered the latest.
        self.ill_since: float | None = now
        #: Whether its latest answer was none in time; how often it was well and is so no more.
        self.is_slow = False
        self.falls = 0

    def note(self, ping: Ping, now: float) -> None:
        """It was asked."""
        if ping.healthy:
            self.well_since = now if self.well_since is None else self.well_since
            self.ill_since = None
        else:
            self.fall(now)
        self.is_slow = ping.error == "timeout"

    def fall(self, now: float) -> None:
        """It is not well."""
        self.falls += self.ill_since is None
        self.well_since = None
        self.ill_since = now if self.ill_since is None else self.ill_since


class Running:
    """One instance."""

    def __init__(self, instance: Instance, containers: list[Container]) -> None:
        self.instance = instance
        self.containers = containers
        self.is_stopping = False

    @property
    def ill_since(self) -> float | None:
        """Since when one of its containers is not well; ``None``: all are."""
        times = [container.ill_since for container in self.containers if container.ill_since is not None]
        return min(times, default=None)

    @property
    def well_since(self) -> float | None:
        """Since when all of its containers run and answered every ping."""
        times = [container.well_since for container in self.containers]
        if self.is_stopping or None in times or any(each.state.pid is None for each in self.containers):
            return None
        return max(time for time in times if time is not None)

    @property
    def falls(self) -> int:
        """How often its containers fell ill."""
        return sum(container.falls for container in self.containers)

    @property
    def is_slow(self) -> bool:
        """Whether nothing is wrong with it but that it does not answer in time."""
        return all(each.ill_since is None or each.is_slow for each in self.containers)

    def describe(self) -> InstanceState:
        """As an engine sees it."""
        return InstanceState(self.instance.id, tuple(each.state for each in self.containers), self.is_stopping)


class Machine:
    """All instances. ``chance`` decides how long containers take for what they do."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, clock: Callable[[], float], chance: Callable[[], float]
    ) -> None:
        self._loop = loop
        self._clock = clock
        self._chance = chance
        self.running: dict[str, Running] = {}
        #: What engines show is older than what is so by as many seconds.
        self.lag = 0.0
        self._shown: deque[tuple[float, tuple[InstanceState, ...]]] = deque([(0.0, ())])
        self._ports = 1
        #: When instances were lost without an order.
        self.lost_at: dict[str, float] = {}
        #: Called when something changed.
        self.on_change: Callable[[], None] = lambda: None

    def observe(self) -> tuple[InstanceState, ...]:
        """All instances, as they were `lag` seconds ago."""
        shown, seen_until = self._shown, self._loop.time() - self.lag
        while len(shown) > 1 and shown[1][0] <= seen_until:
            shown.popleft()
        return shown[0][1]

    # --- what is so

    def is_well(self, instance: str) -> bool:
        """Whether it is so, for so long that control has to know."""
        running = self.running.get(instance)
        since = running.well_since if running else None
        if running is None or since is None:
            return False
        # Who falls ill again and again has to answer ever more often.
        return self._loop.time() - since > GRACE + (1 << min(running.falls, 6)) - 1

    def is_slow(self, instance: str) -> bool:
        """Whether all that is wrong with it is that it does not answer in time."""
        return instance in self.running and self.running[instance].is_slow

    def is_ill(self, instance: str) -> bool:
        """Whether it is so, for so long that control has to know."""
        running = self.running.get(instance)
        since = running.ill_since if running else self.lost_at.get(instance, 0.0)
        return since is not None and self._loop.time() - since > GRACE

    # --- orders

    def apply(self, instance: Instance) -> None:
        """Start it, unless it is there. Raises `CannotChangeInstance` when it is on its way out."""
        known = self.running.get(instance.id)
        if known is not None:
            if known.is_stopping:
                raise CannotChangeInstance(f"Instance {instance.id} is being removed.")
            return
        self._ports += len(instance.containers)
        ports = range(self._ports, self._ports + len(instance.containers))
        made = [
            Container(container.hostname, container.image.specified, port, self._loop.time())
            for container, port in zip(instance.containers, ports, strict=True)
        ]
        self.running[instance.id] = running = Running(instance, made)
        for each in made:
            # One after the other, and there may be a while between two.
            self._loop.call_later(self._chance() ** 3, self._start, running, each)
        self._show()

    def remove(self, instance_id: str) -> None:
        """Begin to end it."""
        running = self.running.get(instance_id)
        if running is None or running.is_stopping:
            return
        running.is_stopping = True
        self._loop.call_later(2 * self._chance() ** 3, self.lose, instance_id)
        self._show()

    # --- what happens by itself, or befalls it

    def lose(self, instance_id: str) -> None:
        """Nothing of it is left."""
        if self.running.pop(instance_id, None) is not None:
            self.lost_at[instance_id] = self._loop.time()
            self._show()

    def end(self, running: Running, container: Container) -> None:
        """Its process ends; another is started after a pause."""
        if not self._is(running) or container.state.pid is None:
            return
        ran_for = self._clock() - (container.state.started_at or 0.0)
        container.ends, pause = backoff.plan_restart(container.ends, ran_for)
        container.listens, container.is_slow = False, False
        container.fall(self._loop.time())
        last_exit = Exit(at=self._clock(), code=1)
        container.state = replace(container.state, phase=ContainerPhase.BACKOFF, pid=None, last_exit=last_exit)
        self._loop.call_later(pause + 0.01, self._start, running, container)
        self._show()

    def ping(self, instance_id: str, hostname: str) -> tuple[Container | None, Ping]:
        """What it comes to."""
        running = self.running.get(instance_id)
        found = [each for each in running.containers if each.state.hostname == hostname] if running else []
        if not found:
            return None, Ping(error="not running")
        container = found[0]
        if not container.listens:
            return container, Ping(error="refused")
        if container.trouble == "slow":
            return container, Ping(error="timeout")
        return container, Ping(status=500 if container.trouble else 200)

    def _is(self, running: Running) -> bool:
        return self.running.get(running.instance.id) is running and not running.is_stopping

    def _start(self, running: Running, container: Container) -> None:
        if not self._is(running) or container.state.pid is not None:
            return
        state = container.state
        restarts = state.restarts + (state.started_at is not None)
        container.state = replace(
            state, phase=ContainerPhase.RUNNING, pid=1, started_at=self._clock(), restarts=restarts
        )
        if container.image.startswith(BROKEN):
            self._loop.call_later(0.05, self.end, running, container)
        elif not container.image.startswith(DEAF):
            self._loop.call_later(0.02 + self._chance() ** 4, self._listen, container, container.state.started_at)
        self._show()

    def _listen(self, container: Container, started_at: float | None) -> None:
        if container.state.pid is not None and container.state.started_at == started_at:
            container.listens = True

    def _show(self) -> None:
        self._shown.append((self._loop.time(), tuple(running.describe() for running in self.running.values())))
        if not self.lag:
            self._shown.popleft()
        self.on_change()
