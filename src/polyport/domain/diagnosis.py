"""Why a container does not do well: the cause in one sentence, the fix in another, by what was seen of it. Pure.

`CAUSES` is the whole of it, in the order in which causes are looked for: the first that matches is told.
docs/reference/troubleshooting.md is made from it.
"""

import re
import signal
from collections.abc import Callable, Mapping
from enum import StrEnum

import msgspec

from polyport.domain.instances import Exit

#: Seconds after its start until which a container that ends has *exited at once*.
AT_ONCE = 5.0
#: The port that images listen on that were made without a thought of others beside them.
USUAL_PORT = 8080
_UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10))
#: So much of a line of output is told.
_LINE = 300


class Stage(StrEnum):
    """Where an instance was stopped that was never started."""

    IMAGE = "image"
    MODEL = "model data"
    ENGINE = "engine"


class Evidence(msgspec.Struct, frozen=True):
    """What is known of one container. Seconds; unknown is ``None``, empty or 0."""

    #: Why it could not even be started, and where it was stopped.
    trouble: str = ""
    stage: Stage | None = None
    #: The port that it is to listen on, those that it listens on, and addresses that nobody but itself reaches.
    port: int = 0
    listening: tuple[int, ...] = ()
    unreachable: tuple[str, ...] = ()
    #: How it ended last, how long it had lived, and how often it was started again. No end: it runs.
    end: Exit | None = None
    lived: float | None = None
    restarts: int = 0
    #: The latest answer to ``GET /ping``, or why there is none.
    status: int | None = None
    error: str = ""
    #: How long it may take to get healthy, and whether that is over.
    patience: float = 0.0
    overdue: bool = False
    #: The last lines that it printed.
    output: tuple[str, ...] = ()


Words = Mapping[str, str]
Match = Callable[[Evidence], Words | None]


class Cause(msgspec.Struct, frozen=True):
    """One row of the table. ``cause`` and ``fix`` are sentences with the words that ``match`` finds in braces."""

    name: str
    #: What people see, and by what it is told from other causes: for the docs.
    title: str
    sign: str
    cause: str
    fix: str
    match: Match


class Finding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A cause that was found, in words."""

    name: str
    cause: str
    fix: str

    @property
    def text(self) -> str:
        """Both sentences."""
        return f"{self.cause} {self.fix}".strip()


def find(evidence: Evidence) -> Finding | None:
    """The first cause that matches; ``None``: nothing is known to be wrong (yet)."""
    for cause in CAUSES:
        words = cause.match(evidence)
        if words is not None:
            known = _Words(_common(evidence) | dict(words))
            return Finding(cause.name, cause.cause.format_map(known), cause.fix.format_map(known))
    return None


def describe_end(end: Exit) -> str:
    """``exited with code 3``, ``was ended by SIGKILL (out of memory)``, or why it could not be started."""
    if never_ran(end):
        return f"could not be started: {end.reason}"
    detail = f" ({end.reason})" if end.reason else ""
    return (f"was ended by {name_signal(end.signal)}" if end.signal else f"exited with code {end.code}") + detail


def describe_memory(end: Exit) -> str:
    """``1.9 GiB at its peak, of 2.0 GiB``, or what is known of that."""
    if end.memory is None:
        return f"it may have {describe_bytes(end.memory_limit)}" if end.memory_limit is not None else ""
    limit = f", of {describe_bytes(end.memory_limit)}" if end.memory_limit is not None else ""
    return f"{describe_bytes(end.memory)} at its peak{limit}"


def describe_bytes(count: float) -> str:
    """``512 MiB``."""
    name, size = next((pair for pair in _UNITS if count >= 0.98 * pair[1]), _UNITS[-1])
    return f"{count / size:.0f} {name}" if count >= 10 * size else f"{count / size:.1f} {name}"


def never_ran(end: Exit) -> bool:
    """Whether that is why it could not be started at all."""
    return bool(end.reason) and end.code is None and end.signal is None


def name_signal(number: int) -> str:
    """``SIGSEGV`` for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class _Words(dict[str, str]):
    """What is not known is shown as such: a sentence is told whatever it lacks."""

    def __missing__(self, key: str) -> str:
        return f"<{key}>"


def _common(at: Evidence) -> dict[str, str]:
    words = {
        "port": str(at.port),
        "ports": ", ".join(map(str, at.listening)),
        "addresses": ", ".join(at.unreachable),
        "status": str(at.status),
        "error": at.error or "not asked yet",
        "last": _describe_last(at),
        "patience": f"{at.patience:g}",
        "trouble": at.trouble,
    }
    if at.end is not None:
        times = f" and was restarted {_times(at.restarts)}" if at.restarts and not never_ran(at.end) else ""
        words["memory"] = f" ({figures})" if (figures := describe_memory(at.end)) else ""
        words["ended"] = describe_end(at.end).rstrip(".") + times
    return words


def _describe_last(at: Evidence) -> str:
    """One that answers well by now had fallen ill, and has to do so for a while."""
    if at.status is not None:
        return f"GET /ping answered {at.status}, but not yet often enough in a row after it had fallen ill"
    return f"GET /ping got no answer ({at.error or 'not asked yet'})"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


# --- what tells one cause from another


def _stopped(stage: Stage) -> Match:
    return lambda at: {} if at.stage is stage else None


def _says(pattern: str, *, stage: Stage | None = None) -> Match:
    """A container that ended said so in its last lines; the latest line counts. Or (``stage``) its trouble says so."""
    compiled = re.compile(pattern)

    def match(at: Evidence) -> Words | None:
        lines = at.output if at.end is not None else ()
        if stage is not None and at.stage is not None:
            lines = (at.trouble,)
        for line in reversed(lines):
            if found := compiled.search(line):
                return {"line": line.strip().rstrip(".")[:_LINE], **found.groupdict(default="")}
        return None

    return match


def _not_started(pattern: str, *codes: int) -> Match:
    """It could not be started for a reason like that, or ended with one of these codes."""
    compiled = re.compile(pattern, re.IGNORECASE)

    def match(at: Evidence) -> Words | None:
        if at.end is None:
            return None
        is_so = bool(at.end.reason and compiled.search(at.end.reason)) and at.end.signal is None
        return {} if is_so or (at.end.code is not None and at.end.code in codes) else None

    return match


def _either(*matches: Match) -> Match:
    """The first of them that matches."""

    def match(at: Evidence) -> Words | None:
        return next((words for each in matches if (words := each(at)) is not None), None)

    return match


def _out_of_memory(at: Evidence) -> Words | None:
    return {} if at.end is not None and "out of memory" in at.end.reason else None


def _by_signal(*numbers: int) -> Match:
    return lambda at: {} if at.end is not None and at.end.signal and (not numbers or at.end.signal in numbers) else None


def _with_code_0(at: Evidence) -> Words | None:
    return {} if at.end is not None and at.end.code == 0 and not at.end.reason else None


def _at_once(at: Evidence) -> Words | None:
    return {} if at.end is not None and at.lived is not None and at.lived < AT_ONCE else None


def _ended(at: Evidence) -> Words | None:
    return {} if at.end is not None else None


def _elsewhere(at: Evidence) -> Words | None:
    return {} if at.listening and at.port not in at.listening else None


def _ignores_the_port(at: Evidence) -> Words | None:
    return {} if at.port != USUAL_PORT and at.listening == (USUAL_PORT,) else None


def _unreachable(at: Evidence) -> Words | None:
    return {} if at.unreachable and at.port not in at.listening else None


def _silent(at: Evidence) -> Words | None:
    return {} if at.overdue and not at.listening else None


def _answers(*statuses: int) -> Match:
    return lambda at: (
        {} if at.status is not None and at.status != 200 and (not statuses or at.status in statuses) else None
    )


def _fails(*errors: str) -> Match:
    return lambda at: {} if at.status is None and at.error in errors else None


def _runs(at: Evidence) -> Words | None:
    return {} if at.overdue and at.stage is None else None


_BIND = "It must listen on the port that SAGEMAKER_BIND_TO_PORT gives"
_DISK = r"No space left on device|\bENOSPC\b|[Dd]isk quota exceeded|disk is full"
_ENTRY_POINT = r"not found|no such file|not executable|permission denied|is a directory"
_ARCHITECTURE = r"[Ee]xec format error|no matching manifest|wrong ELF class|cannot execute binary file"
_IMPORT = r"(?P<what>(ModuleNotFoundError|ImportError): .+)"
_MODEL_PATH = r"/ml/(model|additional-model-data-sources)\b"
_MODEL = (
    r"(FileNotFoundError|PermissionError|NotADirectoryError|IsADirectoryError|No such file or directory"
    rf"|Permission denied|[Cc]ould not open|[Cc]annot open).*{_MODEL_PATH}"
    rf"|{_MODEL_PATH}.*(does not exist|doesn't exist|No such file or directory|Permission denied)"
    r"|UnpicklingError|invalid load key|PytorchStreamReader failed"
)
_MEMORY = r"MemoryError|[Cc]annot allocate memory|CUDA out of memory|std::bad_alloc|OutOfMemoryError"

CAUSES: tuple[Cause, ...] = (
    Cause(
        "disk-full",
        "The disk is full",
        "`No space left on device` in its last output, or from whatever fetched its image or model data",
        "The disk is full: {line}.",
        "Make room where Polyport's home is (`polyport image prune`, old logs), or give the container less to write.",
        _either(
            _says(_DISK),
            _says(_DISK, stage=Stage.MODEL),
        ),
    ),
    Cause(
        "wrong-architecture",
        "The image is for another kind of machine",
        "`exec format error` at its start, or no manifest for this platform",
        "Its programs are made for another kind of machine: {line}.",
        "Build the image for this machine's architecture, or set `image_platform` where the daemon emulates it.",
        _either(
            _says(_ARCHITECTURE),
            _says(_ARCHITECTURE, stage=Stage.IMAGE),
            lambda at: {"line": at.end.reason} if at.end and re.search(_ARCHITECTURE, at.end.reason) else None,
        ),
    ),
    Cause(
        "image-not-found",
        "The image is not there",
        "its name leads to no image on this machine or in its registry",
        "{trouble}",
        "Build or pull the image, or correct `Image` of the model; `polyport image list` shows what is there.",
        _stopped(Stage.IMAGE),
    ),
    Cause(
        "model-data-not-fetched",
        "The model data cannot be had",
        "nothing at `ModelDataUrl`, no permission, a broken archive, or too slow",
        "{trouble}",
        "Put the data where `ModelDataUrl` points, and see that the server may read it.",
        _stopped(Stage.MODEL),
    ),
    Cause(
        "engine-refused",
        "The engine refuses the instance",
        "the engine says why",
        "{trouble}",
        "See `polyport doctor` for what this machine lacks.",
        _stopped(Stage.ENGINE),
    ),
    Cause(
        "entry-point-missing",
        "Its entry point is missing or cannot be run",
        "it never ran, or ended with code 126 or 127, which shells give for that",
        "It {ended}.",
        "Correct the image's entry point: a program that is in the image, executable, and takes `serve`.",
        _not_started(_ENTRY_POINT, 126, 127),
    ),
    Cause(
        "cannot-start",
        "It could not be started",
        "it never ran, for another reason",
        "It {ended}.",
        "See `polyport doctor` for what this machine lacks.",
        lambda at: {} if at.end is not None and never_ran(at.end) else None,
    ),
    Cause(
        "out-of-memory",
        "It ran out of memory",
        "the kernel ended it for want of memory, or its last output says that memory could not be had",
        "It {ended}: there was not enough memory for it{memory}.",
        "Choose a larger `InstanceType`, fewer workers or a smaller model, or give the machine more memory.",
        _either(_out_of_memory, _says(_MEMORY)),
    ),
    Cause(
        "import-error",
        "A Python package cannot be imported",
        "`ModuleNotFoundError` or `ImportError` in its last output",
        "It {ended}: {what}.",
        "Add the package, in a version that goes with the others, to the image's requirements and build it again.",
        _says(_IMPORT),
    ),
    Cause(
        "port-taken",
        "The port that it wants is taken",
        "`Address already in use` in its last output",
        "It {ended}: {line}.",
        "It must listen on the port that SAGEMAKER_BIND_TO_PORT gives ({port}): containers share the machine's ports.",
        _says(r"[Aa]ddress already in use|EADDRINUSE|Errno 98"),
    ),
    Cause(
        "model-data-unreadable",
        "Its model data is missing or unreadable",
        "an error about a file below `/opt/ml`, or from unpickling, in its last output",
        "It {ended}: {line}.",
        "See that the archive at `ModelDataUrl` holds that file at its top, and in the format that the image expects.",
        _says(_MODEL),
    ),
    Cause(
        "bad-instruction",
        "It crashed in machine code",
        "ended by SIGSEGV, SIGILL, SIGBUS, SIGFPE or SIGABRT",
        "It {ended}.",
        "Usual causes: compiled packages that do not go together, or are made for another CPU. Install matching ones.",
        _by_signal(signal.SIGSEGV, signal.SIGILL, signal.SIGBUS, signal.SIGFPE, signal.SIGABRT),
    ),
    Cause(
        "killed",
        "It was ended by a signal",
        "ended by another signal",
        "It {ended}.",
        "Somebody or something ended it: look into this machine's log (`dmesg`, `journalctl`) at that time.",
        _by_signal(),
    ),
    Cause(
        "done-at-once",
        "It ended as if its work were done",
        "exit code 0",
        "It {ended}.",
        "A model server must stay in the foreground: the entry point may neither return nor start it as a daemon.",
        _with_code_0,
    ),
    Cause(
        "exits-at-once",
        "It exits at once",
        f"it ended within {AT_ONCE:g} seconds of its start, for no reason named above",
        "It {ended}.",
        "Read its last output; start its entry point by hand, with the model's environment, to see more.",
        _at_once,
    ),
    Cause(
        "exits-later",
        "It exits later",
        "it ended after that, for no reason named above",
        "It {ended}.",
        "Read its last output, and what it was called with before.",
        _ended,
    ),
    Cause(
        "port-ignored",
        "It ignores SAGEMAKER_BIND_TO_PORT",
        f"it listens on {USUAL_PORT} and nowhere else, and was given another port",
        "It listens on {ports}, expected {port}.",
        f"{_BIND}, in place of a fixed {USUAL_PORT} in its configuration.",
        _ignores_the_port,
    ),
    Cause(
        "unreachable",
        "It listens where only it can reach it",
        "it listens, but on its own loopback address (of IPv4 in a Docker container, of IPv6 alone as a process)",
        "It listens on {addresses} only, where it cannot be reached.",
        "Have it listen on 0.0.0.0, port {port}.",
        _unreachable,
    ),
    Cause(
        "wrong-port",
        "It listens on the wrong port",
        "it listens, but not on the port that it was given",
        "It listens on {ports}, expected {port}.",
        f"{_BIND}.",
        _elsewhere,
    ),
    Cause(
        "not-listening",
        "It is too slow to start",
        "it runs, and listened nowhere by the end of its start-up time",
        "It runs but does not listen; expected {port} within {patience} s.",
        "If it only loads slowly, raise ContainerStartupHealthCheckTimeoutInSeconds; else see what it waits for.",
        _silent,
    ),
    Cause(
        "ping-404",
        "It has no /ping",
        "`GET /ping` answers 404 or 405",
        "GET /ping answered {status}, expected 200.",
        "Add `GET /ping` to its server: it answers 200 once the model can be called.",
        _answers(404, 405),
    ),
    Cause(
        "ping-500",
        "/ping says that it is not well",
        "`GET /ping` answers anything else but 200",
        "GET /ping answered {status}, expected 200.",
        "It says itself that it is not ready; its last output may tell why.",
        _answers(),
    ),
    Cause(
        "ping-slow",
        "/ping answers too slowly",
        "it listens, and `GET /ping` gets no answer in time",
        "GET /ping got no answer ({error}).",
        "Let /ping answer at once, beside calls (a thread or worker of its own), or raise `ping_timeout`.",
        _fails("timeout"),
    ),
    Cause(
        "ping-broken",
        "/ping breaks off",
        "it listens, and closes the connection without an answer, or answers what is no HTTP",
        "GET /ping got no answer ({error}).",
        "See that what listens on {port} is an HTTP/1.1 server without TLS.",
        _fails("closed", "malformed"),
    ),
    Cause(
        "unhealthy",
        "It did not get healthy",
        "nothing of the above by the end of its start-up time",
        "{last}.",
        "Read its last output.",
        _runs,
    ),
)
