"""The eight verbs of an engine. Every engine passes `tests/engines/test_contract.py`."""

from typing import Protocol, runtime_checkable

import msgspec

from polyport.domain.instances import Instance, InstanceState


class Ping(msgspec.Struct, frozen=True):
    """What one ``GET /ping`` came to. Healthy is exactly status 200."""

    status: int | None = None
    #: Why there is no status: ``refused``, ``timeout``, ``closed``, ``malformed``, or a sentence.
    error: str = ""

    @property
    def healthy(self) -> bool:
        """SageMaker's rule: 200, whatever the body."""
        return self.status == 200


class Diagnosis(msgspec.Struct, frozen=True):
    """What is known of a container that does not do well."""

    #: TCP ports that the container's processes listen on where gateways reach them, ascending.
    listening: tuple[int, ...] = ()
    #: Addresses (``127.0.0.1:8080``, ``[::1]:8080``) that they listen on, where no gateway reaches them; their ports
    #: are not among those.
    unreachable: tuple[str, ...] = ()
    #: The last lines it printed, oldest first, without times.
    output: tuple[str, ...] = ()


class Usage(msgspec.Struct, frozen=True):
    """What one container that runs has used up to a moment, and uses at it, all its processes together."""

    instance_id: str
    hostname: str
    #: Epoch seconds of the moment.
    at: float
    #: Of all CPUs, in seconds, since the container's latest start: begins again with each, and never falls otherwise.
    cpu_seconds: float
    #: Bytes in use. What the kernel can take back at once (files that were read and are not used) is not counted.
    memory: int
    #: Bytes that it may use; ``None`` when only the machine limits it.
    memory_limit: int | None = None


class NetworkIsolating(Protocol):
    """An engine that knows whether it can keep an instance from the network. `apply` refuses what it cannot keep so."""

    def why_no_network_isolation(self) -> str:
        """Empty when it can; else a sentence for the user, with what to do. Known once the engine is open."""


class Engine(Protocol):
    """Starts, stops and watches instances. All verbs may be repeated at any time and after any crash.

    Instances outlive the engine object and the process it lives in; `open` finds them again.
    Raises `EngineError` when something cannot be done; an instance that runs badly is no error but a state.
    """

    async def open(self) -> None:
        """Connect to what runs; find the instances again that this home started."""

    async def close(self) -> None:
        """Let go. The instances go on."""

    async def apply(self, instance: Instance) -> None:
        """Make the instance be as specified: start what is missing, replace the containers whose specification changed,
        stop those no longer named, leave the others alone. Returns once the engine has taken note.

        Raises `CannotChangeInstance` when only a new instance can be as specified.
        """

    async def remove(self, instance_id: str) -> None:
        """Begin to end the instance: SIGTERM, then SIGKILL after its ``stop_timeout``, then everything of it is cleared
        away (but its logs). Returns at once; `observe` shows it ``stopping``, then no more. Unknown ids are fine."""

    async def observe(self) -> tuple[InstanceState, ...]:
        """All instances of this home, from what is already known: cheap, and never older than a second or so."""

    async def changed(self) -> None:
        """Wait until something may have changed since the last call. Only a hint; callers also poll."""

    async def ping(self, instance_id: str, hostname: str, timeout: float) -> Ping:
        """One ``GET /ping`` to a container; never raises for what the container does. ``timeout`` in seconds."""

    async def explain(self, instance_id: str, hostname: str) -> Diagnosis:
        """What the container listens on and its last lines; empty when nothing is known."""


@runtime_checkable
class Dependent(Protocol):
    """An engine that depends on a daemon, which may go away and come back while its containers go on."""

    @property
    def trouble(self) -> str:
        """Why nothing can be started or stopped at the moment; empty when all is well."""


@runtime_checkable
class Measuring(Protocol):
    """An engine that can tell what its containers use."""

    async def measure(self) -> tuple[Usage, ...]:
        """Of every container of this home that runs and can be measured; the others are left out, and spoil nothing.

        Never raises for what containers or a daemon do, and takes 5 seconds at most: by then, what is known. Made to be
        called every few seconds, for hundreds of containers; one call at a time is enough.
        """
