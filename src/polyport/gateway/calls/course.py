"""Which way a call takes: its containers, its instance, its time, and how it ends.

A request goes to a second connection only when it cannot have reached a container by the first: refused, or kept alive
from before and closed without a byte of an answer.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from polyport.gateway import access_log, faults
from polyport.gateway.calls import headers, sessions, timing
from polyport.gateway.clients.request import NO_FIELDS, Fields
from polyport.gateway.containers import choice, routes
from polyport.gateway.containers.upstream import STARVED

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.calls.inflow import Inflow
    from polyport.gateway.calls.planning import Call
    from polyport.gateway.captures.witness import Witness
    from polyport.gateway.clients.exchange import Client
    from polyport.gateway.clients.request import Request
    from polyport.gateway.containers.upstream import Upstream
    from polyport.gateway.counting import Cell, Cells
    from polyport.gateway.deadlines import Lane
    from polyport.gateway.gateway import Gateway


class Course:
    """One call, but for what is sent and received: that is `Invocation`'s. It knows its way from the start; what
    changes is at which stage, and which instance, it is."""

    __slots__ = (
        "_accept",
        "_began",
        "_begun",
        "_body",
        "_client",
        "_collected",
        "_collected_size",
        "_content_type",
        "_done",
        "_endpoint",
        "_extra",
        "_first",
        "_gateway",
        "_inflow",
        "_instance",
        "_is_chunked",
        "_is_repeatable",
        "_lane",
        "_last",
        "_paused",
        "_position",
        "_request",
        "_said",
        "_sent",
        "_size",
        "_stage",
        "_stages",
        "_took",
        "_tried",
        "_upstream",
        "_variant",
        "failure",
        "witness",
    )

    def __init__(self, gateway: Gateway, client: Client, request: Request, call: Call, lane: Lane[Course]) -> None:
        self._gateway = gateway
        self._client = client
        self._request = request
        self._lane = lane
        # The way
        self._endpoint, self._variant, self._instance, self._stages, self._accept, _ = call
        self._last = len(self._stages) - 1
        self._position = 0
        #: The container whose turn it is.
        self._stage = self._instance.containers[self._stages[0]]
        self._tried: list[routes.Instance] | None = None
        self._upstream: Upstream | None = None
        # Where the time goes (seconds, monotonic): since the call began, and since the stage's request was sent
        self._began = monotonic()
        self._sent = 0.0
        #: When the first byte of the answer went to the client.
        self._first = 0.0
        #: The stages that are over, and how long each took.
        self._took: list[tuple[routes.Container, float]] = []
        # What the container whose turn it is gets
        self._content_type = request.fields.get(headers.TYPE) or headers.DEFAULT_TYPE
        self._extra = headers.to_container(request.members)
        self._body = request.body
        self._size = request.size
        #: The rest of the body, if it is still coming.
        self._inflow: Inflow | None = None
        #: The body is in memory from its first byte.
        self._is_repeatable = True
        # What has come back: of a stage whose answer is not passed on, and of headers for the client
        self._collected: list[bytes] = []
        self._collected_size = 0
        self._said: Fields = NO_FIELDS
        # The answer to the client
        self._begun = False
        self._is_chunked = False
        self._paused = False
        self._done = False
        #: The code of the error that ended it.
        self.failure = ""
        #: Is shown what the last container answers, if the call is captured; set before it starts.
        self.witness: Witness | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._request.id!r} at stage {self._position} in {self._instance!r}>"

    def way(self) -> access_log.Way:
        """For the access log."""
        containers = self._instance.containers
        return access_log.Way(
            self._endpoint.name,
            self._variant.name,
            self._instance.id,
            [containers[place].hostname for place in self._stages],
            {container.hostname: access_log.milliseconds(seconds) for container, seconds in self._took},
            self.failure,
        )

    if TYPE_CHECKING:
        # What the upstream does is `Invocation`'s.
        def connected(self, upstream: Upstream) -> None: ...
        def clogged(self) -> None: ...
        def cleared(self) -> None: ...
        def received(self, upstream: Upstream) -> None: ...
        def broken(self, upstream: Upstream, reason: str) -> None: ...

    # What the client and the clock do

    def pause(self) -> None:
        """The client takes no more: nor do we."""
        self._paused = True
        if self._upstream is not None:
            self._upstream.transport.pause_reading()

    def resume(self) -> None:
        """The client takes more."""
        self._paused = False
        if self._upstream is not None:
            self._upstream.transport.resume_reading()

    def abandon(self) -> None:
        """The client is gone: closing the connection tells the container."""
        if not self._done:
            self._cells().count(self._stages, self._position, (), 0.0, 0.0, 0.0)
        self._leave()

    def stalled(self) -> None:
        """The client does not go on with its body."""
        self._end_badly(faults.too_slow(), faults.STREAM_BROKEN)

    def expire(self) -> None:
        """The call's time is over."""
        inflow, container = self._inflow, self._stage
        if inflow is not None and self._upstream is not None and not inflow.is_clogged:
            if inflow.giver is None:
                # The container waits for the client, whose time its connection keeps.
                self._renew()
                return
            container = inflow.giver[1]
        self._end_badly(faults.timed_out(self._place(container)), faults.TIME_EXCEEDED, container)

    # What goes wrong

    def crashed(self) -> None:
        """A mistake of ours."""
        self._end_badly(faults.internal(), faults.STREAM_BROKEN)

    def refused(self, reason: str) -> None:
        """Nothing was sent, so another instance may be tried."""
        if self._done:
            return
        if reason == STARVED:
            self._end_badly(faults.starved(), faults.STREAM_BROKEN)
            return
        gateway, instance = self._gateway, self._instance
        gateway.report(instance, self._stage.hostname, reason)
        instance.avoid_until = gateway.loop.time() + routes.AVOIDED_FOR
        if not self._turn():
            self._end_badly(faults.no_answer(self._place()), faults.STREAM_BROKEN)

    def crowded(self, *, has_waited: bool) -> None:
        """The container has enough to do. Whoever has waited in its line need not wait in another."""
        if not self._done and (has_waited or not self._turn()):
            self._end_badly(faults.throttled(self._place()), faults.STREAM_BROKEN)

    # Steps

    def _turn(self) -> bool:
        """Go on in another instance, at the same stage, if there is one that was not tried."""
        gateway, instance = self._gateway, self._instance
        if sessions.split(self._request.members.get(headers.SESSION, b""))[1]:
            # No other has the session.
            return False
        self._tried = [*(self._tried or ()), instance]
        other = choice.choose_instance(self._variant, gateway.draw, gateway.loop.time, self._tried)
        if other is None and not self._position:
            # Nothing has run yet: the other fleet of the variant will do, while an update has two.
            beside = choice.choose_beside(self._variant, gateway.draw, gateway.loop.time, self._tried)
            if beside is not None:
                self._variant, other = beside
        if other is None:
            return False
        self._instance = other
        self._stage = other.containers[self._stages[self._position]]
        other.outstanding += 1
        gateway.release(instance)
        self._go()
        return True

    def _go(self) -> None:
        upstream = self._stage.pool.take()
        if upstream is None:
            self._stage.pool.open(self)
        else:
            self.connected(upstream)

    def _renew(self) -> None:
        """A container's time begins when the client has done its part."""
        self._lane.discard(self)
        self._lane.add(self)

    def _limit_stage(self, stages: Lane[Course]) -> None:
        """The container has its whole request; now its time runs. Anew, if it is another stage or connection."""
        stages.discard(self)
        stages.add(self)

    def _timing_line(self) -> bytes:
        """Where the time went. Ends the time of the stage whose turn it is."""
        now = self._first = monotonic()
        if self._sent:
            self._took.append((self._stage, now - self._sent))
            self._sent = 0.0
        return timing.line(now - self._began, self._took) if self._gateway.options.server_timing else b""

    def _end_badly(
        self, error: ApiError, reason: faults.Interruption, container: routes.Container | None = None
    ) -> None:
        """Tell the client: by an error if nothing was answered yet, else as the answer's form permits."""
        if self._done:
            return
        label = (container or self._stage).label
        client = self._client
        self.failure = error.code
        lines = b"" if self._begun else self._timing_line()
        self._count_failure(error, container)
        self._leave()
        if self._begun:
            self._interrupt(reason, label)
        else:
            client.fail(error, lines)

    # What is counted

    def _cells(self) -> Cells:
        instance = self._instance
        return instance.cells or self._gateway.ledger.open(self._endpoint, self._variant, instance)

    def _count(self, ended: float) -> Cell:
        """The call came to its end at that time, well or badly."""
        cells, took = self._instance.cells, self._took
        if cells is not None and not cells.is_serial and len(took) == 1:
            # As `Cells.count` does it, for by far the most calls.
            cell = cells.stages[self._stages[0]]
            cell.calls += 1
            model = took[0][1] + ended - self._first
            cell.model.add(model * 1e6)
            cell.overhead.add((ended - self._began - model) * 1e6)
            return cell
        return self._cells().count(self._stages, self._position, self._took, self._began, self._first, ended)

    def _count_failure(self, error: ApiError, container: routes.Container | None) -> None:
        self._count(monotonic() if self._begun else self._first)
        if error.code == faults.MODEL_ERROR:
            before = container is not None and container is not self._stage
            status = int(str(error.members["OriginalStatusCode"]))
            self._cells().fail(self._stages[self._position - before], status)

    def _interrupt(self, reason: faults.Interruption, label: str) -> None:  # noqa: ARG002  streams tell
        """The answer cannot be ended; a client must not take the part for the whole."""
        self._client.cut()

    def _leave(self) -> None:
        """Let go of everything. The upstream keeps its connection only if the exchange on it is complete."""
        if self._done:
            return
        self._done = True
        upstream, self._upstream = self._upstream, None
        if upstream is None:
            self._stage.pool.leave(self)
        else:
            if self._paused:
                upstream.transport.resume_reading()
            if self._inflow is not None:
                upstream.spoil()
            upstream.release()
        if self._inflow is not None:
            self._inflow.end()
            self._inflow = None
        self._lane.discard(self)
        if self._gateway.stages is not None:
            self._gateway.stages.discard(self)
        self._gateway.release(self._instance)

    def _place(self, container: routes.Container | None = None) -> faults.Place:
        endpoint, label = self._endpoint, (container or self._stage).label
        return faults.Place(endpoint.account, endpoint.region, endpoint.name, label)
