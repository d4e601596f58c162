"""Which calls are traced: pure functions of the settings, the caller's decision and the trace id."""

from collections.abc import Mapping

import msgspec

from polyport.errors import UsageError
from polyport.telemetry.traces.context import Context

SAMPLER = "OTEL_TRACES_SAMPLER"
ARGUMENT = "OTEL_TRACES_SAMPLER_ARG"
PARENT_BASED = "parentbased_"
RATIO = "traceidratio"
_SHARES = {"always_on": 1.0, "always_off": 0.0, RATIO: None}
_KNOWN = tuple(prefix + name for prefix in ("", PARENT_BASED) for name in _SHARES)
#: The lower half of a trace id decides, as in OpenTelemetry: so all who trace a share agree about each trace.
_HALF = 1 << 64


class Sampler(msgspec.Struct, frozen=True):
    """``share`` (0 to 1) of the traces; ``heeds_caller``: a caller that has decided is followed, whatever the share."""

    share: float = 1.0
    heeds_caller: bool = True

    def takes(self, trace_id: int, caller: Context | None) -> bool:
        """Whether a call is traced. ``caller``: the context that it came with."""
        if caller is not None and self.heeds_caller:
            return caller.is_sampled
        return trace_id % _HALF < round(self.share * _HALF)


def choose(share: float | None, environ: Mapping[str, str]) -> Sampler:
    """The sampler by the setting ``traces_sample``, else by the usual variables, else one that takes all calls whose
    caller has not decided otherwise. Raises `UsageError`."""
    if share is not None:
        return Sampler(share)
    name = environ.get(SAMPLER, "").strip().lower() or PARENT_BASED + "always_on"
    if name not in _KNOWN:
        raise UsageError(f"{SAMPLER}={name} is not known here. Set one of: {', '.join(_KNOWN)}.")
    found = _SHARES[name.removeprefix(PARENT_BASED)]
    share = _argument(environ.get(ARGUMENT, "")) if found is None else found
    return Sampler(share, heeds_caller=name.startswith(PARENT_BASED))


def _argument(text: str) -> float:
    try:
        share = float(text or "1")
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(f"{ARGUMENT}={text} must be a number from 0 to 1, the share of the traces to take.")
    return share
