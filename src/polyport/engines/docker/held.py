"""One instance that the engine holds: its specification, its keepers, its network, from the first start to the last
trace."""

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from polyport.domain.instances import InstanceState
from polyport.engines import logs, names
from polyport.engines.docker import asks, records, usage
from polyport.engines.docker.calls import Calls
from polyport.engines.docker.keeper import Keeper, Surroundings
from polyport.engines.docker.network import Network
from polyport.engines.ports import Ports
from polyport.errors import EngineError
from polyport.settings import Settings

#: Seconds until a network is removed again that could not be.
_PAUSE = 1.0

log = logging.getLogger(__name__)


class Held:
    """``on_change`` is called when its state changed, ``on_gone`` once nothing is left of it."""

    def __init__(
        self,
        spec: records.Spec,
        folder: Path,
        *,
        calls: Calls,
        settings: Settings,
        home_id: str,
        ports: Ports,
        on_change: Callable[[], None],
        on_gone: Callable[["Held"], None],
    ) -> None:
        self.spec = spec
        self.keepers: dict[str, Keeper] = {}
        self._folder = folder
        self._home = settings.home.expanduser().absolute()
        self._settings = settings
        self._ports = ports
        self._claimed: dict[str, int] = {}
        self._on_change = on_change
        self._on_gone = on_gone
        labels = asks.labels(home_id, str(self._home), spec.instance)
        name = asks.network_name(home_id, spec.instance.id)
        isolated = spec.instance.network_isolation
        self._network = Network(calls, name, settings.docker_subnets, isolated=isolated, labels=labels)
        self._around = Surroundings(calls, self._network, home_id, spec.instance.id, labels, spec.instance.stop_timeout)
        self._lives = records.read(folder / records.STATE, dict[str, records.Life]) or {}
        self._written = b""
        self._is_started = False
        self._clearing: asyncio.Task[None] | None = None

    def describe(self) -> InstanceState:
        """As the engine shows it: those that are wanted in their order, then those on their way out."""
        wanted = [entry.hostname for entry in self.spec.containers]
        order = [*wanted, *(hostname for hostname in self.keepers if hostname not in wanted)]
        containers = tuple(self.keepers[hostname].describe() for hostname in order if hostname in self.keepers)
        return InstanceState(self.spec.instance.id, containers, stopping=self.spec.stopping)

    def targets(self) -> list[usage.Target]:
        """Its containers that run, to be measured."""
        running = [(hostname, keeper.seen) for hostname, keeper in self.keepers.items() if keeper.describe().pid]
        instance_id = self.spec.instance.id
        return [usage.Target(instance_id, name, seen.id, seen.pid) for name, seen in running if seen and seen.pid]

    def take(self, spec: records.Spec, others: Iterable[str] = ()) -> None:
        """Another specification. ``others``: containers that are there besides."""
        self.spec = spec
        self._around.stop_timeout = spec.instance.stop_timeout
        entries = {} if spec.stopping else {entry.hostname: entry for entry in spec.containers}
        for hostname in {*entries, *(entry.hostname for entry in spec.containers), *others} - self.keepers.keys():
            if names.is_safe_name(hostname):
                self._add(hostname)
        for entry in spec.containers:
            if entry.port:
                self._ports.claim(entry.port)
                self._claimed[entry.hostname] = entry.port
        for hostname, keeper in self.keepers.items():
            keeper.want(entries.get(hostname))
        self._settle()

    async def look(self) -> None:
        """Finds out how everything is. Raises `EngineError`."""
        await self._network.find()
        await asyncio.gather(*(keeper.look() for keeper in self.keepers.values()))

    def start(self) -> None:
        """Begin to lead its containers; those added later begin at once."""
        self._is_started = True
        for keeper in self.keepers.values():
            keeper.start()
        self._settle()

    async def close(self) -> None:
        """Let go; everything goes on."""
        if self._clearing is not None:
            self._clearing.cancel()
            await asyncio.gather(self._clearing, return_exceptions=True)
        await asyncio.gather(*(keeper.close() for keeper in self.keepers.values()))

    def _add(self, hostname: str) -> None:
        path = names.log_path(self._home, self.spec.instance, hostname)
        log = logs.Log(path, self._settings.log_max_bytes, self._settings.log_files)
        life = self._lives.get(hostname) or records.Life()
        self.keepers[hostname] = Keeper(hostname, self._around, log, life, self._settle)
        if self._is_started:
            self.keepers[hostname].start()

    def _settle(self) -> None:
        """After any change: notes it, forgets containers that are gone, and clears up after the last one."""
        for hostname, keeper in list(self.keepers.items()):
            if keeper.is_done:
                keeper.log.close()
                del self.keepers[hostname]
                if hostname in self._claimed:
                    self._ports.release(self._claimed.pop(hostname))
        self._write()
        self._on_change()
        if self.spec.stopping and self._is_started and not self.keepers and self._clearing is None:
            self._clearing = asyncio.create_task(self._clear())

    def _write(self) -> None:
        """What the daemon does not remember. The containers are not to suffer from a full disk."""
        lives = {hostname: keeper.life for hostname, keeper in self.keepers.items()}
        data = msgspec.json.encode(lives)
        if data == self._written or self.spec.stopping:
            return
        try:
            records.write(self._folder / records.STATE, lives)
        except OSError as error:
            log.warning("%s cannot be written: %s", self._folder, error.strerror)
        else:
            self._written = data

    async def _clear(self) -> None:
        while True:
            try:
                await self._network.remove()
                break
            except EngineError as error:
                log.warning("network %s cannot be removed yet: %s", self._network.name, error)
                await asyncio.sleep(_PAUSE)
        with contextlib.suppress(OSError):  # a folder too many does no harm: the next start clears it
            records.clear(self._folder)
        self._on_gone(self)
