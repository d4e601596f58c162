"""What an engine is asked to run, and what it saw.

An *instance* is a group of 1 to 15 containers that live on the same machine, as in SageMaker.
"""

from enum import StrEnum

import msgspec


class ModelSource(msgspec.Struct, frozen=True):
    """Where the data of one model comes from: ``ModelDataUrl`` or one ``S3DataSource``.

    ``url`` is ``s3://bucket/key``, ``https://...`` or ``file:///...``. ``kind`` is ``S3Object`` or ``S3Prefix``;
    ``compression`` is ``Gzip`` (a ``.tar.gz``, unpacked) or ``None`` (files laid out as they are).
    """

    url: str
    kind: str = "S3Object"
    compression: str = "Gzip"


class ContainerSpec(msgspec.Struct, frozen=True):
    """One container of a model as the user defined it (the parts of ``ContainerDefinition`` that make it run)."""

    hostname: str
    image: str
    environment: dict[str, str] = {}
    model: ModelSource | None = None
    #: ``AdditionalModelDataSources`` by ``ChannelName``.
    additional: dict[str, ModelSource] = {}


class Image(msgspec.Struct, frozen=True):
    """An image name as given, and what it stood for when the deployment began (``repository@sha256:...``)."""

    specified: str
    resolved: str
    resolved_at: float


class Container(msgspec.Struct, frozen=True):
    """A container ready to be started: everything it needs is on this machine.

    ``command`` is the whole argument vector for plain processes, ``serve`` at its end; its first word is looked up on
    the ``PATH`` in ``environment``. ``environment`` is the image's with the user's on top. ``folder`` holds the
    files of a process image. Engines that keep images themselves add the image's entry point and environment: they are
    given what comes after the entry point, the user's environment, and no folder. ``artifacts`` maps a path below
    ``/opt/ml`` (``model``, ``additional-model-data-sources/NAME``) to a read-only folder on this machine.
    """

    hostname: str
    image: Image
    command: tuple[str, ...] = ("serve",)
    environment: dict[str, str] = {}
    folder: str | None = None
    artifacts: dict[str, str] = {}
    #: What else of this machine it has to read: the environment of a process image, and the Python of that.
    paths: tuple[str, ...] = ()


class Instance(msgspec.Struct, frozen=True):
    """What one instance should be. Engines make it so (`polyport.engines.contract`)."""

    id: str
    #: For people and for finding things again: endpoint, variant, account, region.
    labels: dict[str, str]
    containers: tuple[Container, ...]
    network_isolation: bool = False
    #: Seconds between SIGTERM and SIGKILL.
    stop_timeout: float = 30.0
    #: What the user chose (``ml.m5.large``); engines may hold containers to its size.
    instance_type: str = ""


class ContainerPhase(StrEnum):
    """Where a container is in its life, as far as its engine can see. Health is not the engine's to judge."""

    STARTING = "starting"
    RUNNING = "running"
    #: It ended; it is started again after a pause.
    BACKOFF = "backoff"
    STOPPED = "stopped"


class Exit(msgspec.Struct, frozen=True):
    """How a container's main process ended: an exit code, or the signal that ended it."""

    at: float
    code: int | None = None
    signal: int | None = None
    #: Why it could not be started at all, or what else is known ("out of memory").
    reason: str = ""
    #: Bytes that it had at its peak, as far as the engine could see, and might have had; ``None``: not known.
    memory: int | None = None
    memory_limit: int | None = None


class ContainerState(msgspec.Struct, frozen=True):
    """One container as its engine sees it."""

    hostname: str
    phase: ContainerPhase
    #: Where a gateway reaches it; known before it listens.
    host: str = ""
    port: int = 0
    pid: int | None = None
    #: Epoch seconds of the latest start.
    started_at: float | None = None
    #: How often it was started again in this instance.
    restarts: int = 0
    last_exit: Exit | None = None


class InstanceState(msgspec.Struct, frozen=True):
    """One instance as its engine sees it: present from the first `apply` to the end of `remove`."""

    id: str
    containers: tuple[ContainerState, ...] = ()
    #: Its containers are being ended by `remove`.
    stopping: bool = False
