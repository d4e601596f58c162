"""What a worker process must be told when it is started."""

import sys
from math import ceil

import msgspec

from polyport.settings import Settings
from polyport.telemetry.capture import spool


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Frozen; reaches the process as JSON, its only argument."""

    #: What control calls this worker; the same again when it is started anew.
    name: str
    host: str
    #: Workers share it with SO_REUSEPORT; 0 is for tests, the worker then prints the port it got.
    port: int
    #: Descriptors of sockets that the parent has bound there and keeps: connections outlive a worker in their queues.
    #: Empty: the worker binds one itself.
    listeners: tuple[int, ...] = ()
    #: Files of the certificate, its key, and of those who sign clients' certificates; empty: no TLS, no such demand.
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    #: Unix socket of the channel to control.
    channel: str
    #: Unix socket on which control answers HTTP.
    control: str
    account: str
    region: str
    max_body_bytes: int = 25 * 1024 * 1024
    #: Seconds for a whole call, all stages together.
    invocation_timeout: float = 60.0
    #: Seconds for a call that answers as a stream (SageMaker: 8 minutes).
    stream_timeout: float = 480.0
    #: Seconds for one container to begin its answer; 0: no such limit.
    stage_timeout: float = 0.0
    #: Calls that one container gets from this worker at the same time; 0: no bound.
    max_concurrent_invocations: int = 0
    #: Calls that may wait for it here, and for how many seconds.
    queue_size: int = 100
    queue_timeout: float = 5.0
    #: Clients of this worker.
    max_connections: int = 10_000
    #: Copies of calls that may be held for shadow variants, and bytes of them.
    shadow_max_calls: int = 100
    shadow_max_bytes: int = 64 * 1024 * 1024
    #: The spool of captured calls; and bytes of them that may be held, of one call, and that the whole spool may take.
    capture_folder: str = ""
    capture_max_bytes: int = 64 * 1024 * 1024
    capture_max_call_bytes: int = 16 * 1024 * 1024
    capture_spool_bytes: int = 1024**3
    #: Seconds after which what was written is sent.
    capture_interval: float = 30.0
    server_timing: bool = True
    #: ``stdout``, ``stderr`` or a file; empty: no log.
    access_log: str = ""
    #: Whether calls are traced, where the spans go (a URL; empty: by OpenTelemetry's variables), and the share of the
    #: calls whose caller has not decided (``None``: by those variables).
    traces: bool = False
    traces_endpoint: str = ""
    traces_sample: float | None = None
    #: Seconds that calls in flight get after SIGTERM.
    drain_timeout: float = 60.0
    #: The process to die with; 0: nobody.
    parent: int = 0


def from_settings(
    settings: Settings, *, name: str, channel: str, control: str, parent: int = 0, listeners: tuple[int, ...] = ()
) -> Options:
    """The options of one worker. The two paths are Unix sockets; ``parent`` is the process id to die with."""
    return Options(
        name=name,
        host=settings.host,
        port=settings.port,
        listeners=listeners,
        tls_cert=_path(settings, settings.tls_cert),
        tls_key=_path(settings, settings.tls_key),
        tls_client_ca=_path(settings, settings.tls_client_ca),
        channel=channel,
        control=control,
        account=settings.account_id,
        region=settings.region,
        max_body_bytes=settings.max_body_bytes,
        invocation_timeout=settings.invocation_timeout,
        stream_timeout=max(settings.invocation_timeout, settings.stream_timeout),
        stage_timeout=settings.stage_timeout,
        # Workers do not know of each other's calls.
        max_concurrent_invocations=ceil(settings.max_concurrent_invocations / settings.workers),
        queue_size=ceil(settings.queue_size / settings.workers),
        queue_timeout=settings.queue_timeout,
        max_connections=settings.max_connections,
        shadow_max_calls=ceil(settings.shadow_max_calls / settings.workers),
        shadow_max_bytes=ceil(settings.shadow_max_bytes / settings.workers),
        capture_folder=str(settings.home / spool.FOLDER),
        capture_max_bytes=ceil(settings.capture_max_bytes / settings.workers),
        capture_max_call_bytes=settings.capture_max_call_bytes,
        capture_spool_bytes=settings.capture_spool_bytes,
        capture_interval=settings.capture_interval,
        server_timing=settings.server_timing,
        access_log=_log_path(settings),
        traces=settings.traces,
        traces_endpoint=settings.traces_endpoint,
        traces_sample=settings.traces_sample,
        drain_timeout=settings.invocation_timeout,
        parent=parent,
    )


def _log_path(settings: Settings) -> str:
    where = settings.access_log
    return where if where in ("stdout", "stderr") else _path(settings, where)


def _path(settings: Settings, where: str) -> str:
    return str(settings.home / where) if where else ""


def command(options: Options) -> list[str]:
    """The command line that starts the worker."""
    return [sys.executable, "-m", "polyport.gateway.worker", msgspec.json.encode(options).decode()]
