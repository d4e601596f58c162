"""A traced call as its caller sees it: the span of the whole, of which those of its stages are parts."""

from __future__ import annotations

from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, cast

from polyport.gateway import faults
from polyport.gateway.calls import headers
from polyport.gateway.calls.refusal import Refusal
from polyport.gateway.clients.between import Between
from polyport.gateway.containers import routes
from polyport.gateway.traces.hop import Hop
from polyport.gateway.traces.stages import TracedInvocation, TracedStream
from polyport.telemetry.traces import context
from polyport.telemetry.traces.context import RANDOM, SAMPLED, Context
from polyport.telemetry.traces.spans import Kind, Span, Value

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.access_log import Way
    from polyport.gateway.calls.course import Course
    from polyport.gateway.calls.planning import Call
    from polyport.gateway.clients.exchange import Client, Exchange, Taker
    from polyport.gateway.clients.request import Request
    from polyport.gateway.containers.routes import Instance
    from polyport.gateway.deadlines import Lane
    from polyport.gateway.gateway import Gateway
    from polyport.gateway.traces.tracing import Tracing

#: What ended a call whose client left first.
GONE = "ClientGone"
#: Characters of a path.
MAX_PATH = 256
#: By the last part of a path.
ROUTES = {end: f"/endpoints/{{EndpointName}}/{end.decode()}" for end in routes.OPERATIONS}
#: Members of a request that are told as they are, each under its name here.
_MEMBERS = (
    (b"x-amzn-sagemaker-target-container-hostname", "polyport.target_container"),
    (b"x-amzn-sagemaker-target-variant", "polyport.target_variant"),
    (b"x-amzn-sagemaker-inference-id", "polyport.inference_id"),
)


class TracedCall(Between):
    """Made into a call, or a refusal, by the methods that are a `Makers`; until then nothing is noted of it."""

    __slots__ = (
        "_answered",
        "_began",
        "_context",
        "_is_begun",
        "_offset",
        "_owner",
        "_parent",
        "_peer",
        "_request",
        "_sent",
        "_spans",
        "_status",
        "_tracing",
    )

    def __init__(self, tracing: Tracing, request: Request, caller: Context | None, trace_id: int) -> None:
        super().__init__(None)  # type: ignore[arg-type]  # known when it is made into something
        self._tracing = tracing
        self._request = request
        self._parent = caller
        flags, state = (caller.flags & RANDOM, caller.state) if caller else (0, b"")
        self._context = Context(trace_id, context.new_span_id(), flags | SAMPLED, state)
        #: From the monotonic clock to the epoch: whatever becomes of the machine's clock, nothing ends before it began.
        self._offset = time_ns() - monotonic_ns()
        self._began = self.now()
        self._spans: list[Span] = []
        #: Account and region of the endpoint, once it is known.
        self._owner = ("", "")
        self._peer = ""
        #: Whether any of an answer went to the client, with which status, and how many bytes of it, with its head.
        self._is_begun = False
        self._status = 0
        self._sent = 0
        #: Bytes of the last container's answer.
        self._answered = 0

    # What it is made into

    def whole(self, gateway: Gateway, client: Client, request: Request, call: Call, lane: Lane[Course]) -> Taker:
        """A call."""
        self._take_over(client, call)
        self.exchange = TracedInvocation(gateway, self, request, call, lane)
        return self

    def stream(self, gateway: Gateway, client: Client, request: Request, call: Call, lane: Lane[Course]) -> Taker:
        """A call that answers in frames."""
        self._take_over(client, call)
        self.exchange = TracedStream(gateway, self, request, call, lane)
        return self

    def refuse(self, client: Client, target: bytes, error: ApiError, began: float | None) -> Exchange:
        """No call."""
        self._client = client
        self.exchange = cast("Taker", Refusal(self, target, error, began))
        return self

    # What the stages report

    def now(self) -> int:
        """Nanoseconds since the epoch."""
        return self._offset + monotonic_ns()

    def open(self, instance: Instance, place: int, stage: int, size: int) -> Hop:
        """An attempt at a container begins; see `Hop`."""
        return Hop(self._context, instance, place, stage, size, self.now())

    def note(self, hop: Hop) -> None:
        """It is over."""
        self._answered = hop.received
        self._spans.append(hop.span(self.now()))

    # What goes between the call and its client

    def start(self) -> None:
        """Set out."""
        self._peer = self._client.peer()
        super().start()

    def write(self, data: bytes) -> None:
        """Count it."""
        if not self._is_begun:
            self._is_begun = True
            self._status = int(data[9:12])
        self._sent += len(data)
        self._client.write(data)

    def finish(self) -> None:
        """The answer is complete, or says in its last frame that it is not."""
        # Others that look on may ask for its way; and the connection may begin with its next request.
        ended = self.now()
        self._client.finish()
        self._close(ended)

    def fail(self, error: ApiError, lines: bytes = b"") -> int:
        """An error is the whole answer."""
        self._status = error.status
        ended = self.now()
        taken = self._client.fail(error, lines)
        self._sent += taken
        self._close(ended, error.code)
        return taken

    def cut(self) -> None:
        """The answer ends before its end."""
        self._client.cut()
        self._close(self.now())

    def abandon(self) -> None:
        """The client is gone, and no answer comes any more."""
        # The stages end first.
        self.exchange.abandon()
        self._close(self.now(), GONE)

    # Steps

    def _take_over(self, client: Client, call: Call) -> None:
        self._client = client
        endpoint, request = call[0], self._request
        self._owner = endpoint.account, endpoint.region
        # Containers are told the contexts of their stages instead.
        request.members = headers.without_context(request.members)

    def _close(self, ended: int, error: str = "") -> None:
        way = self.way()
        error = error or way.error
        self.exchange = None  # type: ignore[assignment]
        is_error = self._status >= 500 or (error != GONE and (self._is_begun or error == faults.MODEL_ERROR))
        request = self._request
        operation = request.target.partition(b"?")[0].rpartition(b"/")[2]
        route = ROUTES.get(operation, "")
        span = Span(
            name=f"{request.method.decode()} {route}".rstrip(),
            kind=Kind.SERVER,
            context=self._context,
            parent=self._parent,
            is_remote=True,
            began=self._began,
            ended=ended,
            attributes=self._attributes(way, route, error),
            error=bool(error) and is_error,
        )
        self._tracing.add([span, *self._spans])

    def _attributes(self, way: Way, route: str, error: str) -> dict[str, Value]:
        request = self._request
        found: dict[str, Value] = {
            "http.request.method": request.method.decode(),
            "http.route": route,
            "url.path": request.target.partition(b"?")[0].decode("latin-1")[:MAX_PATH],
            "url.scheme": self._tracing.scheme,
            "client.address": self._peer.rpartition(":")[0].strip("[]"),
            "network.protocol.version": "1.0" if request.is_legacy else "1.1",
            "http.request.body.size": request.size,
            "http.response.size": self._sent,
            "aws.request_id": request.id.decode(),
            "cloud.account.id": self._owner[0],
            "cloud.region": self._owner[1],
            "polyport.endpoint": way.endpoint,
            "polyport.variant": way.variant,
            "polyport.instance": way.instance,
            "error.type": error,
        }
        for header, name in _MEMBERS:
            if header in request.members:
                found[name] = request.members[header].decode("latin-1")
        found = {name: value for name, value in found.items() if value != ""}
        if self._status:
            found["http.response.status_code"] = self._status
        if self._is_begun:
            found["http.response.body.size"] = self._answered
        return found
