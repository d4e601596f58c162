"""All traces of a worker: which calls are traced, and what is made of them then."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING

from polyport.errors import UsageError
from polyport.gateway.traces.traced import TracedCall
from polyport.gateway.traces.untraced import UntracedCall
from polyport.telemetry.traces import context, setup
from polyport.telemetry.traces.sending import Sender

if TYPE_CHECKING:
    from polyport.gateway.calls.makers import Makers
    from polyport.gateway.clients.request import Request
    from polyport.gateway.options import Options
    from polyport.telemetry.traces.sampling import Sampler
    from polyport.telemetry.traces.spans import Span

log = logging.getLogger(__name__)

#: Seconds that the thread which sends spans may keep the interpreter while the event loop waits for it (Python's own
#: 0.005 is longer than most calls take).
SWITCH_INTERVAL = 0.0002


class Tracing:
    """``sender`` gets the spans of each call when it is over; ``scheme``: ``http`` or ``https``."""

    def __init__(self, sampler: Sampler, sender: Sender, scheme: str = "http") -> None:
        self.scheme = scheme
        self._sampler = sampler
        self._sender = sender

    def begin(self, request: Request) -> Makers:
        """What a request is made into."""
        members = request.members
        caller = context.parse(members.get(context.PARENT), members.get(context.STATE)) if members else None
        trace_id = caller.trace_id if caller else context.new_trace_id()
        if self._sampler.takes(trace_id, caller):
            call: TracedCall | UntracedCall = TracedCall(self, request, caller, trace_id)
        else:
            call = UntracedCall(caller, trace_id)
        return call.whole, call.stream, call.refuse

    def add(self, spans: list[Span]) -> None:
        """A call is over."""
        self._sender.add(spans)

    def sweep(self) -> None:
        """Once a second."""
        self._sender.flush()

    def close(self) -> None:
        """The worker ends."""
        self._sender.close()


def load(options: Options, environ: Mapping[str, str] = os.environ) -> Tracing | None:
    """What the options want; ``None``: no traces. Raises `UsageError`."""
    if not options.traces:
        return None
    sampler = setup.find(options.traces_sample, environ)
    if sampler is None:
        log.info("no traces: %s is true", setup.DISABLED)
        return None
    sys.setswitchinterval(SWITCH_INTERVAL)
    # Takes a while and some memory, and is an extra.
    from polyport.telemetry.traces import otlp  # noqa: PLC0415

    try:
        exporter = otlp.Otlp(setup.whole_url(options.traces_endpoint), options.name)
    except (ValueError, OSError) as error:
        raise UsageError(f"OpenTelemetry's exporter cannot work with its OTEL_* variables: {error}") from error
    return Tracing(sampler, Sender(exporter), "https" if options.tls_cert else "http")
