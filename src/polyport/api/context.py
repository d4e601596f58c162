"""What an operation is given besides its request."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from polyport.access.callers import Caller, Circumstances
from polyport.access.gate import Gate
from polyport.domain.instances import ModelSource
from polyport.domain.names import Owner
from polyport.store import Store
from polyport.telemetry.logs import shelf
from polyport.telemetry.logs.shelf import Shelf
from polyport.telemetry.metrics.keeping import Metrics


class KnownImage(Protocol):
    """An image that can be started."""

    @property
    def warnings(self) -> Sequence[str]:
        """What AWS would not like about it."""


class Images(Protocol):
    """Which images there are."""

    async def check(self, name: str, /) -> KnownImage:
        """A quick look; raises `ImageError`, naming the known images, when there can be none of that name."""


class Artifacts(Protocol):
    """Whether model data can be had."""

    async def check(self, source: ModelSource, /) -> None:
        """A quick look; raises `ArtifactError`."""


class Live(Protocol):
    """What is going on right now and is in no row. Unknown endpoints have nothing going on."""

    def healthy_counts(self, endpoint_id: str, /) -> Mapping[str, int]:
        """How many instances of each active variant can take calls."""

    def activity(self, endpoint_id: str, /) -> Mapping[str, Sequence[tuple[str, str, float]]]:
        """``VariantStatus`` by variant: status, message, start (epoch seconds)."""


@dataclass(frozen=True, slots=True)
class Context:
    """Whose call it is, and what the operations work with. ``clock`` gives epoch seconds.

    ``owner`` owns what the call is about: the account and region of its ``caller``. ``on_access_change`` is called
    after rows were written that decide who may call.
    """

    caller: Caller
    gate: Gate
    store: Store
    images: Images
    artifacts: Artifacts
    live: Live
    metrics: Metrics
    clock: Callable[[], float]
    on_access_change: Callable[[], None] = lambda: None
    circumstances: Circumstances = field(default_factory=Circumstances)
    #: Whether ``GET /metrics`` needs no signature.
    metrics_open: bool = False
    #: Why ``EnableNetworkIsolation`` cannot be kept here; empty: it can.
    why_no_network_isolation: Callable[[], str] = lambda: ""
    #: The server ends: answers that go on for long end too.
    is_stopping: Callable[[], bool] = lambda: False
    #: What containers printed.
    logs: Shelf = field(default_factory=shelf.nowhere)

    @property
    def owner(self) -> Owner:
        """Whose resources the call is about."""
        return self.caller.owner
