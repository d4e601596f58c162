"""One attempt of a traced call at one container, from its turn to the end of the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyport.telemetry.traces import context
from polyport.telemetry.traces.context import Context
from polyport.telemetry.traces.spans import Kind, Span, Value

if TYPE_CHECKING:
    from polyport.gateway.containers.routes import Instance

#: What ended an attempt that ended for no fault of its own: the caller left, or another stage failed.
CANCELLED = "cancelled"
#: Nobody listens, or the connection broke; the container has all it takes; it did not answer in time.
CONNECTION = "connection"
CROWDED = "crowded"
TIMEOUT = "timeout"


class Hop:
    """Filled in as it goes. Times in nanoseconds since the epoch; ``place`` is the container's in its instance,
    ``stage`` that in the call, from 0; ``size``: bytes that the container is to get."""

    __slots__ = (
        "_began",
        "_context",
        "_instance",
        "_parent",
        "_place",
        "_size",
        "_stage",
        "error",
        "reason",
        "received",
        "sends",
        "sent",
        "status",
    )

    def __init__(self, parent: Context, instance: Instance, place: int, stage: int, size: int, began: int) -> None:
        self._parent = parent
        self._context = Context(parent.trace_id, context.new_span_id(), parent.flags, parent.state)
        self._instance = instance
        self._place = place
        self._stage = stage
        self._size = size
        self._began = began
        #: When the request was sent, and how often: a kept connection may turn out to be closed.
        self.sent = 0
        self.sends = 0
        #: What was answered; 0: nothing.
        self.status = 0
        #: Bytes of the answer's body.
        self.received = 0
        #: What kind of error ended it, and why a connection did not last.
        self.error = ""
        self.reason = ""

    def __repr__(self) -> str:
        return f"<Hop to {self._instance.containers[self._place].hostname}, status {self.status}>"

    def lines(self) -> bytes:
        """Header lines that tell the container its context (each begins with its line end)."""
        lines = b"\r\ntraceparent: " + self._context.parent()
        return lines + b"\r\ntracestate: " + self._context.state if self._context.state else lines

    def span(self, ended: int) -> Span:
        """It is over."""
        hostname = self._instance.containers[self._place].hostname
        error = self.error or (str(self.status) if self.status >= 300 else "")
        return Span(
            name=f"invoke {hostname}",
            kind=Kind.CLIENT,
            context=self._context,
            parent=self._parent,
            is_remote=False,
            began=self._began,
            ended=ended,
            attributes=self._attributes(hostname, error),
            error=bool(error) and error != CANCELLED,
            description=self.reason if error else "",
        )

    def _attributes(self, hostname: str, error: str) -> dict[str, Value]:
        address = self._instance.route.containers[self._place]
        found: dict[str, Value] = {
            "http.request.method": "POST",
            "url.full": f"http://{address.host}:{address.port}/invocations",
            "server.address": address.host,
            "server.port": address.port,
            "network.protocol.version": "1.1",
            "polyport.container": hostname,
            "polyport.stage": self._stage,
            "polyport.instance": self._instance.id,
            "http.request.body.size": self._size,
        }
        if self.sent:
            found["polyport.wait"] = (self.sent - self._began) / 1e9
        if self.sends > 1:
            found["http.request.resend_count"] = self.sends - 1
        if self.status:
            found["http.response.status_code"] = self.status
            found["http.response.body.size"] = self.received
        if error:
            found["error.type"] = error
        return found
