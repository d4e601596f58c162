"""All copies of a worker: which calls get one, when it sets out, and what becomes of it."""

from __future__ import annotations

import logging
from collections import Counter, deque
from typing import TYPE_CHECKING

from polyport.gateway import access_log
from polyport.gateway.calls import headers, planning
from polyport.gateway.containers import choice
from polyport.gateway.shadows import tally
from polyport.gateway.shadows.budget import Budget, Hold
from polyport.gateway.shadows.copied import CopiedInvocation, Sink
from polyport.gateway.shadows.mirror import Copy, Mirror
from polyport.gateway.shadows.tally import Tally

if TYPE_CHECKING:
    from polyport.gateway.calls.course import Course
    from polyport.gateway.calls.planning import Call
    from polyport.gateway.clients.exchange import Client, Taker
    from polyport.gateway.clients.request import Request
    from polyport.gateway.deadlines import Lane
    from polyport.gateway.gateway import Gateway

log = logging.getLogger(__name__)

#: Copies that set out in one turn of the event loop: what callers wait for comes between them.
BURST = 8
#: Sweeps (one a second) between two lines of the log about copies that failed or were not made.
REPORT_SWEEPS = 60
#: The owner of no endpoint: what is looked up is an ARN.
NOBODY = ("", "")


class Shadows:
    """Calls are copied while there is room; what does not fit is counted and forgotten. No caller waits for it."""

    def __init__(self, gateway: Gateway, most_calls: int, most_bytes: int) -> None:
        self._gateway = gateway
        self.budget = Budget(most_calls, most_bytes)
        #: By the endpoint's ARN and the shadow variant's name.
        self.tallies: dict[tuple[str, str], Tally] = {}
        #: Of variants that are gone.
        self._gone: Counter[str] = Counter()
        self._due: deque[Copy] = deque()
        self._under_way: dict[Sink, tuple[Copy, Taker]] = {}
        #: The next turn begins with what is due.
        self._is_called = False
        self._sweeps = 0

    def __len__(self) -> int:
        return len(self._due) + len(self._under_way)

    def totals(self) -> Counter[str]:
        """What became of all copies since the worker began: how many were answered, failed and dropped."""
        return sum((each.totals() for each in self.tallies.values()), self._gone)

    # For calls

    def watch(self, client: Client, request: Request, call: Call) -> Mirror | None:
        """What looks on at a call whose lot it is to be copied; to the call it is the client. ``None``: it is not. A
        call of a session is none of them: the session's state is in an instance of the production variant."""
        shadow = choice.choose_shadow(call[0].shadows, self._gateway.draw)
        if shadow is None or headers.SESSION in request.members:
            return None
        counts = self._tally(call[0].arn, shadow.variant.name)
        stages = planning.copy_stages(shadow.variant, request.members)
        if not stages:
            counts.dropped[tally.NO_CONTAINER] += 1
            return None
        return Mirror(client, Copy(request, call, shadow.variant, stages, Hold(self.budget), counts), self._offer)

    # For the gateway

    def sweep(self) -> None:
        """Once a second."""
        self._sweeps += 1
        if self._sweeps >= REPORT_SWEEPS:
            self._sweeps = 0
            self._report()

    def close(self) -> None:
        """The worker ends: what was not answered never will be."""
        while self._due:
            self._due.popleft().drop(tally.ENDING)
        while self._under_way:
            _, (copy, exchange) = self._under_way.popitem()
            exchange.abandon()
            copy.drop(tally.ENDING)
        self._report()

    # Steps

    def _offer(self, copy: Copy) -> None:
        """The caller has its answer. Not at once: its connection may be about to begin with the next call."""
        if not copy.hold.begin(copy.request.size):
            copy.drop(tally.NO_ROOM)
            return
        self._due.append(copy)
        self._call()

    def _call(self) -> None:
        if self._due and not self._is_called:
            self._is_called = True
            loop = self._gateway.loop
            loop.call_at(loop.time(), self._begin)

    def _begin(self) -> None:
        self._is_called = False
        for _ in range(min(BURST, len(self._due))):
            self._set_out(self._due.popleft())
        self._call()

    def _set_out(self, copy: Copy) -> None:
        gateway, variant = self._gateway, copy.variant
        instance = choice.choose_instance(variant, gateway.draw, gateway.loop.time, None)
        if instance is None:
            copy.drop(tally.NO_INSTANCE)
            return
        client: Client
        client = sink = Sink(self._over)
        entry: access_log.Entry | None = None
        if gateway.access_log is not None:
            client = entry = access_log.Entry(gateway.access_log, sink, copy.request, is_shadow=True)
        call = (copy.endpoint, variant, instance, copy.stages, copy.accept, copy.is_stream)
        lane = gateway.streams if copy.is_stream else gateway.calls
        exchange = self._exchange(client, copy, call, lane)
        if entry is not None:
            entry.exchange = exchange
        self._under_way[sink] = copy, exchange
        try:
            exchange.start()
        except Exception:
            log.exception("the copy of request %s failed", copy.request.id.decode())
            exchange.crashed()

    def _exchange(self, client: Client, copy: Copy, call: Call, lane: Lane[Course]) -> Taker:
        """The copy itself, or the witness of it if it is captured: that is the shadow variant's own."""
        gateway, variant, request = self._gateway, copy.variant, copy.request
        witness = None
        if variant.capture is not None:
            witness = gateway.captures.watch(client, request, copy.endpoint, variant.name, variant.capture)
        invocation = CopiedInvocation(gateway, witness or client, request, call, lane)
        invocation.hold, invocation.witness = copy.hold, witness
        if witness is None:
            return invocation
        witness.exchange = invocation
        return witness

    def _over(self, sink: Sink, code: str) -> None:
        copy, _ = self._under_way.pop(sink)
        copy.hold.release()
        if code:
            copy.tally.failed[code] += 1
        else:
            copy.tally.answered += 1

    def _report(self) -> None:
        for (arn, name), counts in self.tallies.items():
            if counts.has_news():
                log.warning("%s, shadow variant %s: %s", arn, name, counts.summary())
        index = self._gateway.index
        for key in [key for key in self.tallies if not index.endpoint(NOBODY, key[0])]:
            self._gone = self._gone + self.tallies.pop(key).totals()

    def _tally(self, arn: str, variant: str) -> Tally:
        found = self.tallies.get((arn, variant))
        if found is None:
            found = self.tallies[arn, variant] = Tally()
        return found
