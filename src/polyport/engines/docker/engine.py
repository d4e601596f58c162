"""The engine on the Docker API: the eight verbs, on files, one keeper per container, and the daemon's events."""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from typing import Any

from polyport.domain.instances import Container, ContainerPhase, Instance, InstanceState
from polyport.engines import logs, names
from polyport.engines import ping as http
from polyport.engines.contract import Diagnosis, Ping, Usage
from polyport.engines.docker import asks, daemon, limits, listening, records, usage
from polyport.engines.docker.calls import Calls
from polyport.engines.docker.held import Held
from polyport.engines.ports import Ports
from polyport.errors import CannotChangeInstance, EngineError
from polyport.settings import Settings

#: Seconds between two looks at everything, in case the daemon's events got lost.
SCAN_INTERVAL = 5.0
#: Seconds until the daemon's events are asked for again.
_EVENTS_PAUSE = 0.5

log = logging.getLogger(__name__)


class DockerEngine:
    """Runs containers with Docker or Podman, for one home folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folder = records.folder_of(settings.home)
        self._ports = Ports(settings.port_range)
        limits.parse(settings.instance_types)
        self._held: dict[str, Held] = {}
        self._changed = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._daemon: daemon.Daemon | None = None
        self._home_id = ""

    @property
    def trouble(self) -> str:
        """See `contract.Dependent`."""
        return self._calls.trouble if self._daemon else "the daemon was not found yet"

    async def open(self) -> None:
        """Raises `EngineError` when no daemon answers or the home folder cannot be used."""
        try:
            self._daemon = await daemon.connect(self._settings)
        except daemon.NoDaemon as error:
            raise EngineError(str(error)) from error
        self._calls = Calls(self._daemon, self._note_trouble)
        try:
            self._home_id = records.home_id(self._folder)
            await self._find_all()
        except OSError as error:
            await self.close()
            raise EngineError(f"{self._folder} cannot be used: {error.strerror}") from error
        except BaseException:
            await self.close()
            raise
        self._tasks = [asyncio.create_task(self._keep(self._follow_events, _EVENTS_PAUSE))]
        self._tasks.append(asyncio.create_task(self._keep(self._scan, SCAN_INTERVAL)))

    async def close(self) -> None:
        """Let go of everything; the containers go on."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []
        await asyncio.gather(*(held.close() for held in self._held.values()))
        self._held.clear()
        self._ports.close()
        if self._daemon is not None:
            await self._daemon.close()
            self._daemon = None

    async def apply(self, instance: Instance) -> None:
        """See `contract.Engine.apply`. An instance that is being removed cannot be brought back under its id."""
        names.check(instance)
        held = self._held.get(instance.id)
        if held is None:
            self._hold(self._write(self._revise(None, instance))).start()
        elif held.spec.stopping:
            raise CannotChangeInstance(f"Instance {instance.id} is being removed.")
        elif held.spec.instance != instance:
            held.take(self._write(self._revise(held.spec, instance)))
        self._changed.set()

    async def remove(self, instance_id: str) -> None:
        """See `contract.Engine.remove`."""
        held = self._held.get(instance_id)
        if held is not None and not held.spec.stopping:
            held.take(self._write(records.Spec(held.spec.instance, held.spec.containers, stopping=True)))
            self._changed.set()

    async def observe(self) -> tuple[InstanceState, ...]:
        """See `contract.Engine.observe`."""
        return tuple(held.describe() for held in self._held.values())

    async def changed(self) -> None:
        """See `contract.Engine.changed`. For one waiter."""
        await self._changed.wait()
        self._changed.clear()

    async def ping(self, instance_id: str, hostname: str, timeout: float) -> Ping:
        """A container that does not run is not asked: something else might answer at its address."""
        held = self._held.get(instance_id)
        for container in held.describe().containers if held else ():
            if container.hostname == hostname and container.phase is ContainerPhase.RUNNING and container.host:
                return await http.ping(container.host, container.port, timeout)
        return Ping(error="not running")

    async def explain(self, instance_id: str, hostname: str) -> Diagnosis:
        """See `contract.Engine.explain`."""
        held = self._held.get(instance_id)
        keeper = held.keepers.get(hostname) if held else None
        if held is None or keeper is None:
            return Diagnosis()
        found, seen = listening.Listening(), keeper.seen
        if seen is not None and seen.running and seen.pid is not None:
            found = await listening.find(self._calls, seen.id, seen.pid)
        lines = await keeper.read_tail()
        output = tuple(line[: logs.LINE_LENGTH] for line in lines[-logs.LINES :])
        unreachable = tuple(f"127.0.0.1:{port}" for port in found.loopback)
        return Diagnosis(listening=found.reachable, unreachable=unreachable, output=output)

    async def measure(self) -> tuple[Usage, ...]:
        """See `contract.Measuring`."""
        assert self._daemon is not None
        targets = [target for held in self._held.values() for target in held.targets()]
        return await usage.measure(self._calls, targets, self._daemon.memory)

    # --- what is wanted

    def _revise(self, spec: records.Spec | None, instance: Instance) -> records.Spec:
        """Takes ports for containers that need one; all or none of them."""
        taken: list[int] = []

        def make(container: Container, slot: int, port: int) -> records.Entry:
            if not port and not self._is_reached_by_address:
                port = self._ports.take()
                taken.append(port)
            return self._make_entry(instance, container, slot, port)

        if instance.network_isolation and not self._is_reached_by_address:
            raise EngineError(
                f"Instance {instance.id}: network isolation needs containers that can be reached by their addresses, "
                "which this daemon does not offer (it is rootless, or in a virtual machine)."
            )
        try:
            return records.revise(spec, instance, make)
        except EngineError:
            for port in taken:
                self._ports.release(port)
            raise

    @property
    def _is_reached_by_address(self) -> bool:
        assert self._daemon is not None
        reach = self._settings.docker_reach
        return self._daemon.is_routable if reach == "auto" else reach == "address"

    def _make_entry(self, instance: Instance, container: Container, slot: int, port: int) -> records.Entry:
        assert self._daemon is not None
        size = None
        if self._settings.instance_limits:
            size = limits.find(instance.instance_type, self._settings.instance_types)
            if size is None:
                log.warning("Instance %s: the size of %r is not known.", instance.id, instance.instance_type)
            elif size.gpus and not self._daemon.offers_gpus:
                log.warning("Instance %s: the daemon offers no GPUs.", instance.id)
        network = asks.network_name(self._home_id, instance.id)
        config = asks.container(container, network, port, size, self._daemon, self._settings)
        return records.Entry(container.hostname, slot, port, config, records.digest(config))

    def _write(self, spec: records.Spec) -> records.Spec:
        path = self._folder / spec.instance.id / records.SPEC
        try:
            records.write(path, spec)
        except OSError as error:
            raise EngineError(f"{path} cannot be written: {error.strerror}") from error
        return spec

    def _hold(self, spec: records.Spec, hostnames: frozenset[str] = frozenset()) -> Held:
        """``hostnames``: containers that the daemon has and the specification does not name."""
        held = Held(
            spec,
            self._folder / spec.instance.id,
            calls=self._calls,
            settings=self._settings,
            home_id=self._home_id,
            ports=self._ports,
            on_change=self._changed.set,
            on_gone=self._forget,
        )
        held.take(spec, hostnames)
        self._held[spec.instance.id] = held
        return held

    def _forget(self, held: Held) -> None:
        self._held.pop(held.spec.instance.id, None)
        self._changed.set()

    # --- what is there

    async def _find_all(self) -> None:
        """Takes over what was started before. What no specification asks for was left by a crash: it is removed."""
        present = await self._list_present()
        specs: dict[str, records.Spec] = {}
        for folder in self._folder.iterdir():
            if names.is_safe_name(folder.name) and folder.is_dir():
                specs[folder.name] = records.read(folder / records.SPEC, records.Spec) or _orphan(folder.name)
        for instance_id in present.keys() - specs.keys():
            if names.is_safe_name(instance_id):
                log.warning("Instance %s has no specification here and is removed.", instance_id)
                specs[instance_id] = _orphan(instance_id)
        for instance_id, spec in specs.items():
            self._hold(spec, frozenset(present.get(instance_id, ())))
        await asyncio.gather(*(held.look() for held in self._held.values()))
        for held in list(self._held.values()):
            held.start()

    async def _list_present(self) -> dict[str, set[str]]:
        """The host names of this home's containers by instance, of networks without any too."""
        found: dict[str, set[str]] = {}
        for each in await self._list_containers():
            labels = each.get("Labels") or {}
            found.setdefault(labels.get(asks.LABEL_INSTANCE, ""), set()).add(labels.get(asks.LABEL_HOSTNAME, ""))
        for each in await self._calls.ask("networks", filters=self._filters()):
            labels = each.get("Labels") or {}
            if labels.get(asks.LABEL_HOME) == self._home_id:
                found.setdefault(labels.get(asks.LABEL_INSTANCE, ""), set())
        return found

    async def _list_containers(self) -> list[dict[str, Any]]:
        listed: list[dict[str, Any]] = await self._calls.ask("containers/json", all="1", filters=self._filters())
        return listed

    def _filters(self) -> str:
        return json.dumps({"label": [f"{asks.LABEL_HOME}={self._home_id}"]})

    # --- what wakes it

    async def _keep(self, act: Callable[[], Any], pause: float) -> None:
        """Again and again, whatever becomes of it."""
        while True:
            try:
                await act()
            except EngineError as error:
                log.debug("%s", error)
            except Exception:
                log.exception("the daemon could not be watched")
            await asyncio.sleep(pause)

    async def _follow_events(self) -> None:
        """Ends when the daemon does, or closes the stream. What happened in between is looked for."""
        async with self._calls.stream("events", filters=self._filters()) as stream:
            self._wake_all()
            while line := await stream.readline():
                self._take_event(line)

    def _take_event(self, line: bytes) -> None:
        try:
            attributes = json.loads(line)["Actor"]["Attributes"]
            instance_id, hostname = attributes[asks.LABEL_INSTANCE], attributes[asks.LABEL_HOSTNAME]
        except (ValueError, LookupError, TypeError):
            return
        held = self._held.get(instance_id)
        if held is not None and hostname in held.keepers:
            held.keepers[hostname].wake()

    async def _scan(self) -> None:
        """Wakes those whose containers are not as they were seen."""
        begun = time.monotonic()
        listed = {each["Id"]: each.get("State") == "running" for each in await self._list_containers()}
        for held in self._held.values():
            for keeper in held.keepers.values():
                seen = keeper.seen
                if seen is None or listed.get(seen.id) != seen.running:
                    keeper.wake()
        log.debug("the daemon was looked through within %.3f s", time.monotonic() - begun)

    def _wake_all(self) -> None:
        for held in self._held.values():
            for keeper in held.keepers.values():
                keeper.wake()

    def _note_trouble(self) -> None:
        if self._calls.trouble:
            log.warning("%s; what runs goes on.", self._calls.trouble)
        else:
            log.info("the daemon answers again.")
            self._wake_all()
        self._changed.set()


def _orphan(instance_id: str) -> records.Spec:
    """Stands for a specification that is not there, or torn: the instance is ended at once."""
    return records.Spec(Instance(id=instance_id, labels={}, containers=(), stop_timeout=1.0), stopping=True)
