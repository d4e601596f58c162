"""Counts calls, for metrics. A call that ends adds to a few numbers of its instance and container; once a second the
numbers are taken away, gathered by period, and told to control until it says that it has them.

One thread, so no locks; and on a call's way nothing is made anew.
"""

from __future__ import annotations

import secrets
import sys
from array import array
from collections import Counter
from typing import TYPE_CHECKING

from polyport.domain.counts import PERIOD, Busy, Counts, InstanceCounts, Period, Tally
from polyport.domain.distributions import STEPS, Distribution

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from polyport.gateway.containers.routes import Endpoint, Index, Instance, Variant

SERIAL = "Serial"
#: Periods that are kept while control is away; then the oldest are put together.
MOST_PERIODS = 360
#: Entries of instances in one message.
MOST_ENTRIES = 1000
#: Which two of a number's eight bytes come first, and what they are more than the number of its bucket.
_HEAD = 3 if sys.byteorder == "little" else 0
_BIAS = 1022 * STEPS


class Times:
    """Durations since they were last taken, in microseconds, as they are: a call adds 8 bytes, and what is reckoned of
    them is reckoned of all at once."""

    __slots__ = ("add", "values")

    def __init__(self) -> None:
        self.values = array("d")
        #: Takes note of one, of microseconds.
        self.add = self.values.append

    def take(self) -> Distribution:
        """All of them, each of at least one microsecond; the next begins anew."""
        values = self.values
        if not values:
            return Distribution()
        low = min(values)
        if low < 1.0:
            values, low = array("d", [max(value, 1.0) for value in values]), 1.0
        taken = Distribution(len(values), sum(values), low, max(values), _buckets(values))
        self.__init__()  # type: ignore[misc]  # as new
        return taken


def _buckets(values: array[float]) -> dict[int, float]:
    """`distributions.bucket_of` of many at once: it is in a number's first two bytes, which are its sign, its exponent
    and the first four binary places behind the leading one."""
    heads = memoryview(values).cast("B").cast("H")[_HEAD::4]
    return {head - _BIAS: count for head, count in Counter(heads).items()}


class Cell:
    """What is counted of calls to one container, or of those through a whole pipeline."""

    __slots__ = (
        "broken_streams",
        "calls",
        "client_errors",
        "first",
        "first_model",
        "first_overhead",
        "model",
        "model_errors",
        "overhead",
        "server_errors",
        "streams",
    )

    def __init__(self) -> None:
        self.calls = self.client_errors = self.server_errors = self.model_errors = 0
        self.model, self.overhead = Times(), Times()
        self.streams = self.broken_streams = 0
        self.first, self.first_model, self.first_overhead = Times(), Times(), Times()

    def fail(self, status: int) -> None:
        """A container is why a call came to nothing. ``status``: what it answered, 0 for no answer."""
        self.model_errors += 1
        if 400 <= status < 500:
            self.client_errors += 1
        elif 500 <= status < 600:
            self.server_errors += 1

    def take(self) -> Tally:
        """All of it; the next begins anew."""
        taken = Tally(
            self.calls,
            self.client_errors,
            self.server_errors,
            self.model_errors,
            self.model.take(),
            self.overhead.take(),
            self.streams,
            self.broken_streams,
            self.first.take(),
            self.first_model.take(),
            self.first_overhead.take(),
        )
        self.calls = self.client_errors = self.server_errors = self.model_errors = 0
        self.streams = self.broken_streams = 0
        return taken


class Cells:
    """Of one instance. ``stages`` are by the container's place; ``whole`` is for pipelines, whose calls go through
    several: of all others the whole is the sum of the containers."""

    __slots__ = ("endpoint", "instance", "is_serial", "stages", "variant", "whole")

    def __init__(self, endpoint: Endpoint, variant: Variant, instance: Instance) -> None:
        self.endpoint = endpoint
        self.variant = variant
        self.instance = instance
        self.stages = tuple(Cell() for _ in instance.containers)
        self.is_serial = variant.mode == SERIAL
        self.whole = Cell() if self.is_serial else self.stages[0]

    def of_call(self, place: int) -> Cell:
        """Where a call is counted whose first container has that place."""
        return self.whole if self.is_serial else self.stages[place]

    def count(
        self,
        stages: tuple[int, ...],
        position: int,
        took: Sequence[tuple[object, float]],
        began: float,
        first: float,
        ended: float,
    ) -> Cell:
        """A call is over that came to the stage at ``position``. ``took``: how long its stages were at it, the last
        one until ``first``, when the answer to the client began. Clocks in seconds; without ``took`` none counts."""
        cell = self.whole if self.is_serial else self.stages[stages[0]]
        cell.calls += 1
        if self.is_serial:
            for place in stages[: position + 1]:
                self.stages[place].calls += 1
        if took:
            # After its first byte the last container was still at it.
            rest = ended - first
            model = took[0][1] + rest if len(took) == 1 else sum(each for _, each in took) + rest
            overhead = ended - began - model
            cell.model.add(model * 1e6)
            cell.overhead.add(overhead * 1e6)
            if self.is_serial:
                self._count_stages(stages, took, rest, overhead)
        return cell

    def _count_stages(
        self, stages: tuple[int, ...], took: Sequence[tuple[object, float]], rest: float, overhead: float
    ) -> None:
        last = len(took) - 1
        for at, (place, (_, seconds)) in enumerate(zip(stages, took, strict=False)):
            stage = self.stages[place]
            stage.model.add((seconds + rest if at == last else seconds) * 1e6)
            stage.overhead.add(overhead * 1e6)

    def fail(self, place: int, status: int) -> None:
        """The container at that place is why a call came to nothing; 0: it did not answer."""
        self.stages[place].fail(status)
        if self.is_serial:
            self.whole.fail(status)

    def take(self, instances: int) -> InstanceCounts | None:
        """What was counted since the last time; ``None``: nothing."""
        containers = {
            hostname: cell.take()
            for hostname, cell in zip(self.variant.hostnames, self.stages, strict=True)
            if cell.calls
        }
        if not containers and not self.whole.calls:
            return None
        whole = self.whole.take() if self.is_serial else _sum(containers.values())
        endpoint = self.endpoint
        return InstanceCounts(
            endpoint.account,
            endpoint.region,
            endpoint.name,
            self.variant.name,
            self.instance.id,
            self.variant.mode,
            instances,
            whole,
            containers,
        )


def _sum(tallies: Iterable[Tally]) -> Tally:
    found = Tally()
    for tally in tallies:
        found.merge(tally)
    return found


class Ledger:
    """All counts of a worker. ``send`` passes a message on and returns whether it went."""

    def __init__(self, send: Callable[[Counts], bool]) -> None:
        self._send = send
        self._run = secrets.token_hex(8)
        self._number = 0
        self._open: list[Cells] = []
        self._periods: dict[int, dict[str, InstanceCounts]] = {}
        #: What control has not yet said that it has.
        self._unsettled: Counts | None = None
        self._was_busy = False

    # For calls

    def open(self, endpoint: Endpoint, variant: Variant, instance: Instance) -> Cells:
        """The cells of an instance that has none."""
        cells = instance.cells = Cells(endpoint, variant, instance)
        self._open.append(cells)
        return cells

    # For the gateway

    def gather(self, index: Index, now: float) -> None:
        """Once a second: take what was counted, and tell it. ``now`` in epoch seconds."""
        entries = self._periods.setdefault(int(now) // PERIOD * PERIOD, {})
        for cells in self._open:
            counts = cells.take(_active(index, cells))
            if counts is None:
                continue
            if cells.instance.id in entries:
                entries[cells.instance.id].merge(counts)
            else:
                entries[cells.instance.id] = counts
        if not entries:
            del self._periods[int(now) // PERIOD * PERIOD]
        self._put_together()
        busy = _busy(self._open)
        self._forget()
        self._tell(busy)

    def settle(self, number: int) -> None:
        """Control has the message of that number."""
        if self._unsettled is not None and self._unsettled.number == number:
            self._unsettled = None

    def repeat(self) -> None:
        """There is a new connection to control: say again what it may not have heard."""
        if self._unsettled is not None:
            self._send(self._unsettled)

    # Steps

    def _tell(self, busy: tuple[Busy, ...]) -> None:
        """Nothing new before control has the last; what comes in the meantime goes together."""
        if self._unsettled is not None or not (self._periods or busy or self._was_busy):
            return
        self._was_busy = bool(busy)
        self._number += 1
        message = Counts(self._run, self._number, tuple(self._next_periods()), busy)
        self._unsettled = message
        self._send(message)

    def _next_periods(self) -> Iterator[Period]:
        size = 0
        for start in sorted(self._periods):
            if size < MOST_ENTRIES:
                entries = tuple(self._periods.pop(start).values())
                size += len(entries)
                yield Period(start, entries)

    def _put_together(self) -> None:
        while len(self._periods) > MOST_PERIODS:
            oldest, next_oldest = sorted(self._periods)[:2]
            into = self._periods[next_oldest]
            for instance, counts in self._periods.pop(oldest).items():
                if instance in into:
                    into[instance].merge(counts)
                else:
                    into[instance] = counts

    def _forget(self) -> None:
        """Instances that are gone count no more."""
        kept = []
        for cells in self._open:
            if cells.instance.is_retired and not cells.instance.outstanding:
                cells.instance.cells = None
            else:
                kept.append(cells)
        self._open = kept


def _active(index: Index, cells: Cells) -> int:
    endpoint = index.endpoint((cells.endpoint.account, cells.endpoint.region), cells.endpoint.name)
    fleets = endpoint.fleets if endpoint is not None else ()
    return sum(len(fleet.instances) for fleet in fleets if fleet.name == cells.variant.name) or 1


def _busy(opened: Sequence[Cells]) -> tuple[Busy, ...]:
    calls: dict[tuple[str, str, str, str], int] = {}
    for cells in opened:
        if cells.instance.outstanding:
            endpoint = cells.endpoint
            key = (endpoint.account, endpoint.region, endpoint.name, cells.variant.name)
            calls[key] = calls.get(key, 0) + cells.instance.outstanding
    return tuple(Busy(*key, count) for key, count in calls.items())
