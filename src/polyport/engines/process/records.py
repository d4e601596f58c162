"""The engine's side of the files that `files` names: where they are, what is in them, and how they read as states."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

import msgspec

from polyport.domain.instances import Container, ContainerPhase, ContainerState, Exit, Instance, InstanceState
from polyport.engines import atomic, ports
from polyport.engines.process import folders

HOST = "127.0.0.1"
#: For images that name no PATH of their own.
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

_Kind = TypeVar("_Kind")


class Entry(msgspec.Struct, frozen=True):
    """One container as its supervisor is to run it. A new ``version`` means: replace it."""

    hostname: str
    version: int
    port: int
    command: tuple[str, ...]
    environment: dict[str, str]
    folder: str | None
    artifacts: dict[str, str]
    log: str
    log_max_bytes: int
    log_files: int


class Spec(msgspec.Struct, frozen=True):
    """``spec.json``. ``instance`` is what was asked for, to tell whether it is asked for again."""

    instance: Instance
    stop_timeout: float
    version: int = 0
    stopping: bool = False
    containers: tuple[Entry, ...] = ()


class Row(msgspec.Struct, frozen=True):
    """One container in ``state.json``."""

    hostname: str
    version: int
    phase: ContainerPhase
    pid: int | None
    session: int | None
    process_started: int
    started_at: float | None
    restarts: int
    last_exit: Exit | None


class State(msgspec.Struct, frozen=True):
    """``state.json``, true as long as the process ``supervisor`` lives."""

    supervisor: int
    containers: tuple[Row, ...]


def read_spec(path: Path) -> Spec | None:
    """``None`` when it is missing, torn, or not ours."""
    return _read(path, Spec)


def read_state(path: Path) -> State | None:
    """``None`` when it is missing, torn, or not ours."""
    return _read(path, State)


def write_spec(path: Path, spec: Spec) -> None:
    """Replaces it in one step. It holds the containers' environment: for the owner's eyes only."""
    atomic.write_atomically(path, msgspec.json.encode(spec))


def build_environment(container: Container, base: Path, port: int, inherited: Mapping[str, str]) -> dict[str, str]:
    """All that the container finds in its environment: nothing else is inherited. ``base`` is its folder."""
    return {
        "PATH": DEFAULT_PATH,
        "HOME": str(base / folders.HOME),
        "TMPDIR": str(base / folders.TMP),
        "LANG": "C.UTF-8",
        **inherited,
        **container.environment,
        "SAGEMAKER_BIND_TO_PORT": str(port),
        "SAGEMAKER_SAFE_PORT_RANGE": ports.safe_range(port),
        "SAGEMAKER_BASE_DIR": str(base / folders.BASE),
    }


def revise(spec: Spec | None, instance: Instance, make: Callable[[Container, int, int | None], Entry]) -> Spec:
    """The specification that asks for ``instance``: entries of unchanged containers stay as they are.

    ``make(container, version, port)`` builds the others; ``port`` is the one that the container had, if any.
    """
    version = spec.version + 1 if spec else 1
    asked = {container.hostname: container for container in spec.instance.containers} if spec else {}
    entries = {entry.hostname: entry for entry in spec.containers} if spec else {}

    def entry_for(container: Container) -> Entry:
        old = entries.get(container.hostname)
        if old is not None and asked.get(container.hostname) == container:
            return old
        return make(container, version, old.port if old else None)

    made = tuple(entry_for(container) for container in instance.containers)
    return Spec(instance=instance, stop_timeout=instance.stop_timeout, version=version, containers=made)


def stop(spec: Spec) -> Spec:
    """The same instance, to be ended."""
    return msgspec.structs.replace(spec, stopping=True)


def torn(instance_id: str) -> Spec:
    """Stands for a specification that cannot be read any more: the instance is ended at once."""
    nothing = Instance(id=instance_id, labels={}, containers=())
    return Spec(instance=nothing, stop_timeout=0.0, stopping=True)


def view(spec: Spec, state: State | None, supervisor: int | None) -> InstanceState:
    """What the files say, as a state. ``supervisor`` is the one that lives: a dead one's word on processes is void."""
    rows = {row.hostname: row for row in state.containers} if state else {}
    valid = state is not None and state.supervisor == supervisor
    wanted = {entry.hostname for entry in spec.containers}
    containers = [_view_entry(entry, rows.get(entry.hostname), valid) for entry in spec.containers]
    if valid:
        containers += [_view_row(row) for row in rows.values() if row.hostname not in wanted]
    return InstanceState(id=spec.instance.id, containers=tuple(containers), stopping=spec.stopping)


def _view_entry(entry: Entry, row: Row | None, valid: bool) -> ContainerState:
    if row is None or row.version != entry.version:  # its start, or its replacement, is still to come
        return ContainerState(entry.hostname, ContainerPhase.STARTING, HOST, entry.port)
    state = _view_row(row, entry.port)
    return state if valid else msgspec.structs.replace(state, phase=ContainerPhase.BACKOFF, pid=None)


def _view_row(row: Row, port: int = 0) -> ContainerState:
    return ContainerState(
        hostname=row.hostname,
        phase=row.phase,
        host=HOST if port else "",
        port=port,
        pid=row.pid,
        started_at=row.started_at,
        restarts=row.restarts,
        last_exit=row.last_exit,
    )


def _read(path: Path, kind: type[_Kind]) -> _Kind | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None
