"""Whether traces can be had as settings and environment want them, found out without loading OpenTelemetry."""

from collections.abc import Mapping
from importlib.util import find_spec
from urllib.parse import urlsplit

from polyport.errors import UsageError
from polyport.telemetry.traces import sampling
from polyport.telemetry.traces.sampling import Sampler

#: OpenTelemetry's own switch: everything off, whatever else is set.
DISABLED = "OTEL_SDK_DISABLED"
PATH = "/v1/traces"
_NEEDED = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")


def find(share: float | None, environ: Mapping[str, str]) -> Sampler | None:
    """Which calls to trace (``share``: as in `sampling.choose`); ``None``: OpenTelemetry is switched off. Raises
    `UsageError` when it is not installed, or told what it does not know."""
    if environ.get(DISABLED, "").strip().lower() == "true":
        return None
    if not all(map(_is_there, _NEEDED)):
        raise UsageError("Traces need OpenTelemetry: pip install 'polyport[otel]', or turn the setting `traces` off.")
    return sampling.choose(share, environ)


def whole_url(endpoint: str) -> str:
    """A collector's address with the path for traces, if it has no path."""
    return endpoint.rstrip("/") + PATH if endpoint and urlsplit(endpoint).path in ("", "/") else endpoint


def _is_there(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False
