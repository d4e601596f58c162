"""The engine of plain processes: the eight verbs, on files and supervisors."""

import asyncio
import logging
import os
from pathlib import Path

from polyport.domain.instances import Container, ContainerPhase, Instance, InstanceState
from polyport.engines import names
from polyport.engines import ping as http
from polyport.engines.contract import Diagnosis, Ping, Usage
from polyport.engines.ports import Ports
from polyport.engines.process import diagnose, files, folders, processes, records, usage
from polyport.engines.process.guard import Guard
from polyport.engines.process.isolation import probe
from polyport.errors import CannotChangeInstance, EngineError
from polyport.settings import Settings

#: Seconds between two looks at everything, in case a hint got lost.
SCAN_INTERVAL = 1.0

_log = logging.getLogger(__name__)


class _Held:
    """What the engine knows of one instance. ``stamp`` tells whether its state was read since it was last written."""

    def __init__(self, folder: Path, spec: records.Spec, guard: Guard) -> None:
        self.folder = folder
        self.spec = spec
        self.guard = guard
        self.ports = {entry.port for entry in spec.containers}
        self.state: records.State | None = None
        self.stamp: tuple[int, int] | None = None
        self.view: InstanceState = records.view(spec, None, None)


class ProcessEngine:
    """Runs containers as plain processes of this machine, for one home folder."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._home = settings.home.expanduser().absolute()
        self._run = self._home / "run"
        self._instances = self._run / "instances"
        self._ports = Ports(settings.port_range)
        #: What containers get; decided by `open`.
        self._choice = probe.Choice()
        self._held: dict[str, _Held] = {}
        #: Of instances that are gone, but whose supervisors have yet to end.
        self._retired: set[Guard] = set()
        self._meter = usage.Meter()
        self._changed = asyncio.Event()
        self._poke: int | None = None
        self._scanning: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Raises `EngineError` when the home folder cannot be used, and `UsageError` when the settings demand an
        isolation that this machine does not give."""
        self._choice = probe.choose(self._settings, await asyncio.to_thread(probe.find))
        try:
            for folder in (self._run, self._instances, self._home / "logs"):
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o700)
            self._poke = files.open_poke(self._run / files.ENGINE_POKE)
            asyncio.get_running_loop().add_reader(self._poke, self._on_poke)
            self._scan()
        except OSError as error:
            await self.close()
            raise EngineError(f"{self._run} cannot be used: {error.strerror}") from error
        await asyncio.to_thread(self._clear_gone)
        self._scanning = asyncio.create_task(self._keep_scanning())

    async def close(self) -> None:
        """Let go of everything; supervisors and containers go on."""
        if self._scanning is not None:
            self._scanning.cancel()
            await asyncio.gather(self._scanning, return_exceptions=True)
        for guard in [*(held.guard for held in self._held.values()), *self._retired]:
            guard.close()
        self._held.clear()
        self._retired.clear()
        self._ports.close()
        if self._poke is not None:
            asyncio.get_running_loop().remove_reader(self._poke)
            os.close(self._poke)
            self._poke = None

    async def apply(self, instance: Instance) -> None:
        """See `contract.Engine.apply`. An instance that is being removed cannot be brought back under its id."""
        names.check(instance)
        held = self._held.get(instance.id)
        if instance.network_isolation and (held is None or not held.spec.instance.network_isolation):
            problem = self.why_no_network_isolation()
            if problem:
                raise EngineError(problem)
        if held is None:
            self._create(instance)
        elif held.spec.stopping:
            raise CannotChangeInstance(f"Instance {instance.id} is being removed.")
        elif held.spec.instance != instance:
            self._change(held, self._revise(held.spec, instance))

    async def remove(self, instance_id: str) -> None:
        """See `contract.Engine.remove`."""
        held = self._held.get(instance_id)
        if held is None or held.spec.stopping:
            return
        self._change(held, records.stop(held.spec))

    async def observe(self) -> tuple[InstanceState, ...]:
        """See `contract.Engine.observe`."""
        return tuple(held.view for held in self._held.values())

    async def changed(self) -> None:
        """See `contract.Engine.changed`. For one waiter."""
        await self._changed.wait()
        self._changed.clear()

    async def ping(self, instance_id: str, hostname: str, timeout: float) -> Ping:
        """A container without a running process is not asked: something else might answer at its port."""
        held = self._held.get(instance_id)
        for container in held.view.containers if held else ():
            if container.hostname == hostname and container.phase is ContainerPhase.RUNNING:
                return await http.ping(container.host, container.port, timeout)
        return Ping(error="not running")

    async def explain(self, instance_id: str, hostname: str) -> Diagnosis:
        """See `contract.Engine.explain`."""
        held = self._held.get(instance_id)
        entry = next((entry for entry in held.spec.containers if entry.hostname == hostname), None) if held else None
        if held is None or entry is None:
            return Diagnosis()
        rows = {row.hostname: row for row in held.state.containers} if held.state else {}
        row = rows.get(hostname)
        base = folders.container_folder(held.folder, hostname) / folders.BASE
        marks = processes.Marks(base, row.session, row.process_started) if row else None
        return await asyncio.to_thread(diagnose.diagnose, marks, Path(entry.log))

    async def measure(self) -> tuple[Usage, ...]:
        """See `contract.Measuring`."""
        views = ((held.folder, held.state, held.guard.pid) for held in self._held.values())
        return await self._meter.measure(target for view in views for target in usage.find_targets(*view))

    def why_no_network_isolation(self) -> str:
        """See `contract.NetworkIsolating`."""
        return self._choice.network_problem

    def _create(self, instance: Instance) -> None:
        """The folder appears whole: it is made under another name, then renamed."""
        spec = self._revise(None, instance)
        folder = self._instances / instance.id
        draft = folder.with_name(f"{files.GONE_PREFIX}{instance.id}.{os.getpid()}")
        try:
            draft.mkdir(mode=0o700, exist_ok=True)
            records.write_spec(draft / files.SPEC, spec)
            draft.rename(folder)
        except OSError as error:
            self._release({entry.port for entry in spec.containers})
            raise EngineError(f"{folder} cannot be written: {error.strerror}") from error
        self._hold(folder, spec)

    def _change(self, held: _Held, spec: records.Spec) -> None:
        try:
            records.write_spec(held.folder / files.SPEC, spec)
        except FileNotFoundError:  # its supervisor has cleared it away this moment
            self._refresh(held)
            return
        except OSError as error:
            self._release({entry.port for entry in spec.containers} - held.ports)
            raise EngineError(f"{held.folder} cannot be written: {error.strerror}") from error
        held.spec = spec
        held.ports |= {entry.port for entry in spec.containers}
        files.poke(held.folder / files.POKE)
        held.guard.ensure()
        self._refresh(held)

    def _revise(self, spec: records.Spec | None, instance: Instance) -> records.Spec:
        """Takes ports for containers that have none; all or none of them."""
        taken: set[int] = set()

        def make(container: Container, version: int, port: int | None) -> records.Entry:
            if port is None:
                port = self._ports.take()
                taken.add(port)
            return self._make_entry(instance, container, version, port)

        try:
            return records.revise(spec, instance, make)
        except EngineError:
            self._release(taken)
            raise

    def _make_entry(self, instance: Instance, container: Container, version: int, port: int) -> records.Entry:
        base = folders.container_folder(self._instances / instance.id, container.hostname)
        inherited = {name: os.environ[name] for name in self._settings.inherit_environment if name in os.environ}
        return records.Entry(
            hostname=container.hostname,
            version=version,
            port=port,
            command=container.command,
            environment=records.build_environment(container, base, port, inherited),
            folder=container.folder,
            artifacts=container.artifacts,
            log=str(names.log_path(self._home, instance, container.hostname)),
            log_max_bytes=self._settings.log_max_bytes,
            log_files=self._settings.log_files,
            isolation=self._choice.level,
            user=self._choice.user(port),
            network_isolation=instance.network_isolation,
            paths=(*container.paths, *self._settings.container_paths),
            home=str(self._home),
        )

    def _hold(self, folder: Path, spec: records.Spec) -> None:
        held = _Held(folder, spec, Guard(folder, self._on_end))
        self._held[folder.name] = held
        for port in held.ports:
            self._ports.claim(port)
        held.guard.ensure()
        self._refresh(held)
        self._changed.set()

    def _forget(self, held: _Held) -> None:
        held.guard.retire()
        if held.guard.pid is not None:
            self._retired.add(held.guard)
        del self._held[held.folder.name]
        self._release(held.ports)
        self._changed.set()

    def _release(self, ports: set[int]) -> None:
        for port in ports:
            self._ports.release(port)

    def _refresh(self, held: _Held) -> None:
        """Reads what its supervisor wrote, if that is news."""
        try:
            stat = (held.folder / files.STATE).stat()
        except OSError:
            if not held.folder.exists():
                self._forget(held)
                return
        else:
            stamp = (stat.st_ino, stat.st_mtime_ns)
            if stamp != held.stamp:
                held.state, held.stamp = records.read_state(held.folder / files.STATE), stamp
        view = records.view(held.spec, held.state, held.guard.pid)
        if view != held.view:
            held.view = view
            self._changed.set()
        self._release_unused(held)

    def _release_unused(self, held: _Held) -> None:
        """A container that is no longer wanted keeps its ports until its processes are gone."""
        wanted = {entry.port for entry in held.spec.containers}
        if held.ports != wanted and len(held.view.containers) == len(held.spec.containers):
            self._release(held.ports - wanted)
            held.ports = wanted

    def _on_poke(self) -> None:
        """Supervisors write their instance's id when something changed."""
        assert self._poke is not None
        for name in set(files.drain(self._poke).decode("ascii", "replace").split()):
            if held := self._held.get(name):
                self._refresh(held)

    def _on_end(self, guard: Guard) -> None:
        self._retired.discard(guard)
        for held in [held for held in self._held.values() if held.guard is guard]:
            self._refresh(held)

    async def _keep_scanning(self) -> None:
        while True:
            await asyncio.sleep(SCAN_INTERVAL)
            try:
                self._scan()
            except OSError:
                _log.exception("The instances in %s could not be looked at.", self._instances)

    def _scan(self) -> None:
        for folder in self._instances.iterdir():
            if folder.name not in self._held and names.is_safe_name(folder.name):
                self._find(folder)
        for held in list(self._held.values()):
            self._refresh(held)
            held.guard.ensure()

    def _find(self, folder: Path) -> None:
        """Takes over an instance that was started before. One whose specification a crash of the machine tore is
        ended; a folder that holds none is not ours."""
        path = folder / files.SPEC
        if not path.is_file():
            return
        spec = records.read_spec(path)
        if spec is None:
            _log.warning("%s is damaged; the instance is cleared away.", path)
            spec = records.torn(folder.name)
            records.write_spec(path, spec)
        if spec.instance.id == folder.name:
            self._hold(folder, spec)

    def _clear_gone(self) -> None:
        """What a supervisor or an engine was killed over: folders that had been renamed away, or not yet to."""
        for folder in self._instances.glob(f"{files.GONE_PREFIX}*"):
            owner = folder.name.rpartition(".")[2]
            if not Path("/proc", owner).exists():
                folders.clear(folder)
