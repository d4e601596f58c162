"""What the engine keeps of each instance, in ``home/run/docker/<id>/``: what is wanted, and what was gone through.

``spec.json`` is written before anything is created, so that whatever the daemon holds with this home's label and
without a specification belongs to nobody. ``state.json`` holds what the daemon does not remember.
"""

import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from polyport.domain.instances import Container, Exit, Instance
from polyport.engines import atomic
from polyport.errors import CannotChangeInstance, EngineError

SPEC = "spec.json"
STATE = "state.json"
HOME_ID = "home-id"
#: Addresses per instance: those of 15 containers, of as many that are being replaced by others, and the network's own.
SLOTS = range(2, 31)

_Kind = TypeVar("_Kind")


class Entry(msgspec.Struct, frozen=True):
    """One container as the daemon is asked for it. Another ``digest`` means: replace it."""

    hostname: str
    #: Which address of the network it has.
    slot: int
    #: The port of this machine that it is published at; 0 where its address is reached.
    port: int
    #: The body of the request that creates it, without labels.
    config: dict[str, Any]
    #: Of ``config``.
    digest: str


class Spec(msgspec.Struct, frozen=True):
    """``spec.json``. ``instance`` is what was asked for, to tell whether it is asked for again."""

    instance: Instance
    containers: tuple[Entry, ...] = ()
    stopping: bool = False


class Life(msgspec.Struct):
    """What one container went through, by one specification of it."""

    digest: str = ""
    #: How often it was started, and how often in a row it ended soon.
    starts: int = 0
    ends: int = 0
    last_exit: Exit | None = None
    #: When its present run, or its last one, began, as the daemon writes it; and of which run the end was counted.
    run: str = ""
    counted: str = ""
    #: Not to be started before (epoch seconds).
    start_at: float = 0.0


def digest(config: dict[str, Any]) -> str:
    """What tells two configurations apart; short enough for a label."""
    return hashlib.sha256(msgspec.json.encode(config, order="deterministic")).hexdigest()[:16]


def revise(spec: Spec | None, instance: Instance, make: Callable[[Container, int, int], Entry]) -> Spec:
    """The specification that asks for ``instance``: entries of unchanged containers stay as they are.

    ``make(container, slot, port)`` builds the others; ``port`` is the one that the container had, or 0. Raises
    `CannotChangeInstance` where the network would have to be another.
    """
    before = spec.instance if spec else instance
    if before.network_isolation != instance.network_isolation:
        raise CannotChangeInstance(f"Instance {instance.id}: its network isolation cannot be changed while it runs.")
    asked = {container.hostname: container for container in before.containers} if spec else {}
    entries = {entry.hostname: entry for entry in spec.containers} if spec else {}
    # Those no longer wanted keep their addresses until they are gone, as far as there are others.
    free = [slot for slot in SLOTS if slot not in {entry.slot for entry in entries.values()}]

    def entry_for(container: Container) -> Entry:
        old = entries.get(container.hostname)
        if old is None:
            return make(container, free.pop(0), 0)
        same = asked.get(container.hostname) == container and before.instance_type == instance.instance_type
        return old if same else make(container, old.slot, old.port)

    if len(instance.containers) > len(SLOTS) - len(entries):
        raise EngineError(f"Instance {instance.id} has more containers than an instance may have.")
    return Spec(instance=instance, containers=tuple(entry_for(container) for container in instance.containers))


def read(path: Path, kind: type[_Kind]) -> _Kind | None:
    """``None`` when it is missing, torn, or not ours."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=kind)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return None


def write(path: Path, value: object) -> None:
    """Replaces it in one step. It holds the containers' environment: for the owner's eyes only. Raises `OSError`."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    atomic.write_atomically(path, msgspec.json.encode(value))


def clear(folder: Path) -> None:
    """Removes what is kept of an instance."""
    for name in (SPEC, STATE, f"{SPEC}.draft", f"{STATE}.draft"):
        (folder / name).unlink(missing_ok=True)
    folder.rmdir()


def folder_of(home: Path) -> Path:
    """Where a home keeps what is kept here."""
    return home.expanduser().absolute() / "run" / "docker"


def has_instances(home: Path) -> bool:
    """Whether a home has instances with this engine, as far as it knows."""
    return any(folder_of(home).glob(f"*/{SPEC}"))


def home_id(folder: Path) -> str:
    """Tells this home's containers from those of every other home on the daemon.

    A random part, because the same path may be another home's inside a container that shares the daemon; and the path,
    because a home may be copied. Raises `OSError`.
    """
    path = folder / HOME_ID
    try:
        seed = path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        seed = secrets.token_hex(16)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        atomic.write_atomically(path, seed.encode())
    return hashlib.sha256(f"{seed} {folder}".encode()).hexdigest()[:16]
