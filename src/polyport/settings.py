"""All settings, in one table: flags, environment names, `polyport.toml` and the page in the docs come from it."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec
from msgspec import Meta

from polyport.errors import UsageError

FILE_NAME = "polyport.toml"
ENVIRONMENT_PREFIX = "POLYPORT_"

Port = Annotated[int, Meta(ge=0, le=65535)]
Count = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0)]
SecondsOrOff = Annotated[float, Meta(ge=0)]
CountOrOff = Annotated[int, Meta(ge=0)]
Bytes = Annotated[int, Meta(ge=1)]


def default_workers() -> int:
    """One gateway worker per core, at most four."""
    return max(1, min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1))


def _doc(text: str) -> Meta:
    return Meta(description=text)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Frozen; made once by `load`. The order is the order of the docs page."""

    home: Annotated[Path, _doc("The folder for everything Polyport keeps: database, images, buckets, logs.")] = Path(
        "~/.polyport"
    )
    host: Annotated[str, _doc("The address to listen on.")] = "127.0.0.1"
    port: Annotated[Port, _doc("The port to listen on; 0 takes any free one.")] = 7070
    workers: Annotated[Count, _doc("Gateway worker processes; by default one per core, at most four.")] = msgspec.field(
        default_factory=default_workers
    )
    engine: Annotated[
        str,
        _doc(
            "What starts containers: `process`, `docker` (Docker or Podman), `auto` (`docker` if a daemon answers, "
            "else `process`), or `fake` (answers without running anything)."
        ),
    ] = "process"
    docker_host: Annotated[
        str,
        _doc(
            "Where Docker or Podman is reached: `unix:///path/to.sock` or `tcp://host:port`. Empty: `DOCKER_HOST`, "
            "else the first of the usual sockets that answers."
        ),
    ] = ""
    docker_subnets: Annotated[
        str,
        Meta(
            pattern=r"^[0-9.]{7,15}/[0-9]{1,2}$",
            description=(
                "The addresses that the docker engine's networks are given, 32 for each instance. Choose others when "
                "your network uses these."
            ),
        ),
    ] = "10.230.0.0/16"
    docker_reach: Annotated[
        Literal["auto", "address", "published"],
        _doc(
            "How containers of the docker engine are reached: by their `address`, by a port `published` on loopback "
            "(one of `port_range`), or `auto`: by address where that is possible (Linux, rootful)."
        ),
    ] = "auto"
    shm_size: Annotated[Bytes, _doc("The size of `/dev/shm` in containers of the docker engine, in bytes.")] = (
        64 * 1024 * 1024
    )
    instance_limits: Annotated[
        bool,
        _doc(
            "Whether containers of the docker engine are held to the CPUs and the memory of their `InstanceType`, and "
            "get its GPUs. Each may use all of its instance, as on SageMaker, where they share one machine."
        ),
    ] = False
    instance_types: Annotated[
        tuple[str, ...],
        _doc(
            "Instance types for `instance_limits` besides the usual ones, or in their place: `TYPE=CPUS:GIB` or "
            "`TYPE=CPUS:GIB:GPUS`."
        ),
    ] = ()
    account_id: Annotated[
        str,
        Meta(pattern=r"^[0-9]{12}$", description="The AWS account that all resources belong to (12 digits)."),
    ] = "123456789012"
    region: Annotated[str, _doc("The region of calls that carry no signature, which would name one.")] = "us-east-1"

    tls_cert: Annotated[
        str,
        _doc(
            "A file with the certificate (PEM, with its chain) to serve https with, TLS 1.2 and newer. A relative path "
            "is taken from the home. Read again when it changes. Empty: http."
        ),
    ] = ""
    tls_key: Annotated[str, _doc("The file with the private key of `tls_cert`.")] = ""
    tls_client_ca: Annotated[
        str,
        _doc(
            "A file with the certificates of those who sign clients' certificates: then only clients that have one can "
            "connect. Their calls are signed as ever."
        ),
    ] = ""
    audit_log: Annotated[
        str,
        _doc(
            "The file that gets a line of JSON for each control-plane call and each refused invocation; a relative "
            "path is taken from the home. Empty: none."
        ),
    ] = "audit/audit.jsonl"
    audit_max_bytes: Annotated[Bytes, _doc("The size at which the audit log is rotated, in bytes.")] = 64 * 1024 * 1024
    audit_files: Annotated[Count, _doc("How many rotated files of the audit log are kept.")] = 10

    max_body_bytes: Annotated[
        Bytes, _doc("The largest request body of an invocation, in bytes; a larger one is refused unseen.")
    ] = 25 * 1024 * 1024
    invocation_timeout: Annotated[
        Seconds, _doc("How long an invocation may take, all stages together, in seconds (SageMaker: 60).")
    ] = 60.0
    stream_timeout: Annotated[
        Seconds,
        _doc(
            "How long an invocation with a response stream may take, in seconds (SageMaker: 480); never less than "
            "`invocation_timeout`."
        ),
    ] = 480.0
    stage_timeout: Annotated[
        SecondsOrOff,
        _doc(
            "How long one container may take to begin its answer, in seconds, besides the limit for the whole "
            "invocation; 0: no such limit."
        ),
    ] = 0.0
    max_concurrent_invocations: Annotated[
        CountOrOff,
        _doc(
            "Invocations that one container is given at the same time; more wait in a queue. 0: no bound. It is shared "
            "out evenly among the workers, and each has at least one."
        ),
    ] = 0
    queue_size: Annotated[
        CountOrOff,
        _doc(
            "Invocations that may wait for one container when `max_concurrent_invocations` is reached, shared out as "
            "that is; further ones get `ThrottlingException`, which SDKs try again."
        ),
    ] = 100
    queue_timeout: Annotated[
        Seconds, _doc("How long an invocation may wait in that queue, in seconds, before it is throttled.")
    ] = 5.0
    max_connections: Annotated[
        Count,
        _doc(
            "Client connections per worker; further ones are answered with 503 and closed. Less where the limit of "
            "open files asks for it."
        ),
    ] = 10_000
    shadow_max_calls: Annotated[
        CountOrOff,
        _doc(
            "Copies of invocations that may be under way to shadow variants at the same time; what comes beyond is not "
            "copied. It is shared out evenly among the workers. 0: nothing is copied."
        ),
    ] = 100
    shadow_max_bytes: Annotated[
        Bytes,
        _doc(
            "The bytes that may be held for those copies, shared out as they are; an invocation that does not fit in "
            "is not copied."
        ),
    ] = 64 * 1024 * 1024
    capture_max_bytes: Annotated[
        Bytes,
        _doc(
            "The bytes that may be held in memory for data capture, of calls under way and of those that wait to be "
            "written, shared out evenly among the workers; an invocation that does not fit in is not captured."
        ),
    ] = 64 * 1024 * 1024
    capture_max_call_bytes: Annotated[
        Bytes,
        _doc("The most that data capture keeps of one invocation, both bodies together, in bytes. Larger: none of it."),
    ] = 16 * 1024 * 1024
    capture_spool_bytes: Annotated[
        Bytes,
        _doc(
            "The bytes of captured invocations that may wait on the disk while their store does not take them; one "
            "destination gets half of them at most. What comes beyond is not captured."
        ),
    ] = 1024**3
    capture_interval: Annotated[
        Seconds, _doc("Seconds after which captured invocations are sent to their store, at the latest.")
    ] = 30.0
    metrics_open: Annotated[
        bool,
        _doc(
            "Whether `GET /metrics` (for Prometheus) is answered without a signature, to whoever can reach the server. "
            "Otherwise it is authorised as `cloudwatch:GetMetricData`."
        ),
    ] = False
    alarm_actions: Annotated[
        str,
        _doc(
            "The file in which the actions of alarms are named, webhooks and commands "
            "([how](../observability.md#actions)); a relative path is taken from the home. Read again when it changes."
        ),
    ] = "alarm-actions.toml"
    alarm_urls: Annotated[
        tuple[str, ...],
        _doc(
            "How URLs may begin that callers give as actions of alarms, such as `https://hooks.example.com/services/`. "
            "By default none: a caller who may put alarms could have the server call whatever it can reach."
        ),
    ] = ()
    server_timing: Annotated[
        bool,
        _doc("Whether answers of invocations tell in a `Server-Timing` header where the time went."),
    ] = True
    access_log: Annotated[
        str,
        _doc(
            "Where each invocation gets a line of JSON: `stdout`, `stderr`, or a file (a relative path is taken from "
            "the home). Empty: nowhere."
        ),
    ] = ""

    traces: Annotated[
        bool,
        _doc(
            "Whether invocations are traced, with OpenTelemetry (`pip install 'polyport[otel]'`): a span for each call "
            "and for each of its stages."
        ),
    ] = False
    traces_endpoint: Annotated[
        str,
        Meta(
            pattern=r"^(https?://\S+)?$",
            description=(
                "Where spans are sent, by OTLP over HTTP: `http://HOST:4318`, with another path than `/v1/traces` if "
                "one is given. Empty: `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT` or `OTEL_EXPORTER_OTLP_ENDPOINT`, else port "
                "4318 of this machine."
            ),
        ),
    ] = ""
    traces_sample: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        _doc(
            "The share of the invocations that are traced, from 0 to 1, of those whose caller has not decided it. "
            "Not set: by `OTEL_TRACES_SAMPLER` and `OTEL_TRACES_SAMPLER_ARG`, else all."
        ),
    ] = None

    startup_timeout: Annotated[
        Seconds,
        _doc(
            "How long containers may take to answer /ping with 200, in seconds (SageMaker: 480). "
            "`ContainerStartupHealthCheckTimeoutInSeconds` of a variant goes before it."
        ),
    ] = 480.0
    startup_restarts: Annotated[
        Annotated[int, Meta(ge=0)],
        _doc("How often a container may exit and be started again before its new endpoint or update is given up."),
    ] = 3
    download_timeout: Annotated[
        Seconds,
        _doc(
            "How long fetching and unpacking model data may take, in seconds. "
            "`ModelDataDownloadTimeoutInSeconds` of a variant goes before it."
        ),
    ] = 1200.0
    ping_interval: Annotated[Seconds, _doc("Seconds between two pings of a healthy container.")] = 5.0
    ping_timeout: Annotated[Seconds, _doc("How long a container has to answer one ping, in seconds.")] = 2.0
    unhealthy_after: Annotated[
        Count,
        _doc(
            "Failed pings in a row after which a container gets no calls. One is enough when a gateway could not "
            "reach it."
        ),
    ] = 3
    healthy_after: Annotated[
        Count,
        _doc(
            "Good pings in a row after which a container that fell ill gets calls again; twice as many each further "
            "time within ten minutes, at most 32. A new container needs one."
        ),
    ] = 2
    replace_after: Annotated[
        Seconds,
        _doc(
            "How long a container that runs and had been healthy may be unhealthy, in seconds, before another instance "
            "is started in the place of its own. One that exits is restarted in place, and has `startup_timeout` and "
            "`startup_restarts` to get healthy."
        ),
    ] = 30.0
    replace_falls: Annotated[
        Count,
        _doc("How often a container may fall ill, each time within ten minutes, before its instance is replaced."),
    ] = 5
    replace_percent: Annotated[
        Annotated[int, Meta(ge=1, le=100)],
        _doc("Percent of a variant's instances that may be replaced at the same time, at least one."),
    ] = 50
    stop_timeout: Annotated[Seconds, _doc("Seconds between SIGTERM and SIGKILL for a container.")] = 30.0
    drain_timeout: Annotated[
        Seconds,
        _doc(
            "How long an instance that left the tables is waited for while calls are left in it, in seconds; never "
            "less than a call may take. Then it is stopped all the same."
        ),
    ] = 600.0
    gateway_timeout: Annotated[
        Seconds,
        _doc(
            "How long a gateway worker may take to go by a new route table, in seconds. One that does not is killed, "
            "and another takes its place."
        ),
    ] = 30.0
    engine_timeout: Annotated[
        Seconds,
        _doc(
            "How long the engine may take to answer, in seconds, and to end an instance once its `stop_timeout` is "
            "over."
        ),
    ] = 120.0

    image_pull: Annotated[
        Literal["missing", "always", "never"],
        _doc(
            "When the docker engine asks the registry for an image: `missing` (it is not on this machine), `always` "
            "(at each deployment, but for images that were built here), or `never`."
        ),
    ] = "missing"
    image_pull_timeout: Annotated[Seconds, _doc("How long pulling one image may take, in seconds.")] = 3600.0
    image_platform: Annotated[
        str,
        Meta(
            pattern=r"^([a-z0-9]+/[a-z0-9_]+(/[a-z0-9]+)?)?$",
            description="The platform of images for the docker engine, such as `linux/amd64` where the daemon emulates "
            "it. Empty: the daemon's own.",
        ),
    ] = ""
    base_image: Annotated[
        str, _doc("What `polyport image build` builds on for the docker engine: an image with `python3`.")
    ] = "python:3.11-slim"
    s3_endpoint_url: Annotated[
        str,
        _doc(
            "An S3-compatible store to read `s3://` model data from, and to write captured invocations to. "
            "Empty: the folder `buckets/BUCKET` in the home."
        ),
    ] = ""
    file_model_data: Annotated[
        str,
        Meta(
            pattern=r"^(auto|on|off)$",
            description=(
                "Whether `file://` model data may be read, which is whatever file the server can read. `auto`: only "
                "while the server listens on a loopback address."
            ),
        ),
    ] = "auto"
    max_model_bytes: Annotated[
        Bytes, _doc("The most that one model archive may unpack to, in bytes; guards the disk against bombs.")
    ] = 64 * 1024**3
    inherit_environment: Annotated[
        tuple[str, ...],
        _doc("Names of the server's own environment variables that containers get too. By default none."),
    ] = ()
    port_range: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{1,5}-[0-9]{1,5}$",
            description="The ports that containers of the process engine are given, first and last.",
        ),
    ] = "20000-31999"
    isolation: Annotated[
        Literal["auto", "bubblewrap", "mounts", "none"],
        _doc(
            "How containers of the process engine are kept to themselves: `bubblewrap`, `mounts`, `none`, or the first "
            "of these that works here (`auto`). `bubblewrap` and `mounts` are demands: where they do not work, the "
            "server does not start. docs/isolation.md says what each gives."
        ),
    ] = "auto"
    container_paths: Annotated[
        tuple[str, ...],
        _doc(
            "Further files and folders of this machine that containers see, read-only, as absolute paths. Under "
            "bubblewrap they see the system's programs and libraries, their image, their model data, and nothing else."
        ),
    ] = ()
    container_users: Annotated[
        Literal["auto", "off"],
        _doc(
            "`auto`: when the server runs as root, each container runs as an unprivileged user of its own. `off`: "
            "containers run as the server's user."
        ),
    ] = "auto"
    container_user_range: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]{1,10}-[0-9]{1,10}$",
            description="The user (and group) ids for that, first and last; no others on this machine should use them.",
        ),
    ] = "200000-265535"
    log_max_bytes: Annotated[Bytes, _doc("The size at which a container's log file is rotated, in bytes.")] = (
        10 * 1024 * 1024
    )
    log_files: Annotated[Count, _doc("How many rotated log files are kept per container.")] = 5
    log_retention_days: Annotated[
        CountOrOff,
        _doc(
            "How long the output of containers is kept, in days, in log groups without a retention policy of their own "
            "(`PutRetentionPolicy`). 0: as long as there is room."
        ),
    ] = 0
    log_total_bytes: Annotated[
        CountOrOff,
        _doc(
            "The bytes that the logs of all containers may take together, also of those that are gone: beyond it the "
            "oldest files go, but none that is written to. 0: no limit."
        ),
    ] = 0

    @property
    def buckets(self) -> Path:
        """A folder per bucket: what ``s3://bucket/key`` reads when no store is set."""
        return self.home / "buckets"


def environment_name(setting: str) -> str:
    """``startup_timeout`` -> ``POLYPORT_STARTUP_TIMEOUT``."""
    return ENVIRONMENT_PREFIX + setting.upper()


def description(setting: str) -> str:
    """What the setting means, as the docs and the command line say it."""
    field_type = _field_type(setting)
    texts = [meta.description for meta in get_args(field_type)[1:] if isinstance(meta, Meta) and meta.description]
    return texts[-1]


def default(setting: str) -> str:
    """The default as text; a sentence where it depends on the machine."""
    field = next(f for f in msgspec.structs.fields(Settings) if f.name == setting)
    if field.default is msgspec.NODEFAULT:
        return "one per core, at most 4"
    if field.default is None:
        return ""
    if isinstance(field.default, bool):
        # As TOML writes it.
        return str(field.default).lower()
    return " ".join(field.default) if isinstance(field.default, tuple) else str(field.default)


def load(flags: Mapping[str, Any], environ: Mapping[str, str]) -> Settings:
    """Flags go before the environment, the environment before ``polyport.toml`` in the home, that before defaults.

    ``flags`` holds only those that were given. Raises `UsageError` naming the setting and where it was set.
    """
    given: dict[str, Any] = {}
    origin: dict[str, str] = {}
    home = Path(flags.get("home") or environ.get(environment_name("home")) or "~/.polyport").expanduser().absolute()
    for name, value in _file(home / FILE_NAME).items():
        given[name], origin[name] = value, str(home / FILE_NAME)
    for name in Settings.__struct_fields__:
        variable = environment_name(name)
        if variable in environ:
            given[name], origin[name] = _from_text(name, environ[variable]), variable
    for name, value in flags.items():
        given[name], origin[name] = value, "--" + name.replace("_", "-")
    given["home"] = home
    for name, value in given.items():
        if name not in Settings.__struct_fields__:
            raise UsageError(f"{origin[name]}: there is no setting {name!r}. docs/reference/settings.md lists them.")
        try:
            _convert(name, value)
        except msgspec.ValidationError as error:
            raise UsageError(f"{origin.get(name, name)}: {name} = {value!r}: {error}") from error
    return msgspec.convert(given, Settings, strict=False)


def to_json(settings: Settings) -> str:
    """For handing settings to a process of ours."""
    return msgspec.json.encode(settings, enc_hook=str).decode()


def from_json(text: str) -> Settings:
    """What `to_json` made."""
    return msgspec.json.decode(text, type=Settings, dec_hook=lambda kind, value: kind(value))


def _file(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error


def _field_type(name: str) -> Any:
    return next(f.type for f in msgspec.structs.fields(Settings) if f.name == name)


def _convert(name: str, value: Any) -> None:
    msgspec.convert(value, _field_type(name), strict=False)


def _from_text(name: str, text: str) -> Any:
    """Environment variables are text: a list is separated by commas."""
    field_type = _field_type(name)
    while get_origin(field_type) is Annotated:
        field_type = get_args(field_type)[0]
    return [part for part in text.split(",") if part] if get_origin(field_type) is tuple else text
