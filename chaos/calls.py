"""What a client saw of each call, and which losses a fault excuses. Pure."""

from collections import Counter
from collections.abc import Iterable

import msgspec

OK = "ok"
#: The client's connection was broken or refused, or its answer broke off.
CONNECTION = "connection"
#: A container gave no answer (SageMaker's `ModelError`).
MODEL_ERROR = "ModelError"
UNAVAILABLE = "ServiceUnavailable"
#: An answer that is not the one to what was asked.
WRONG = "wrong answer"


class Call(msgspec.Struct, frozen=True, array_like=True):
    """One invocation. Times are the machine's monotonic clock, in seconds."""

    id: str
    endpoint: str
    began: float
    ended: float
    outcome: str
    #: What was wrong.
    text: str = ""
    #: The model that answered last.
    by: str = ""


class Fault(msgspec.Struct, frozen=True):
    """Something that was done to the server.

    From ``began`` until ``over`` it excuses calls of these ``outcomes``: for a killed process until it is really gone,
    since what is sent to it meanwhile is lost with it. ``endpoint``: of that one alone.
    """

    kind: str
    target: str
    began: float
    over: float
    outcomes: tuple[str, ...] = ()
    endpoint: str = ""


class Verdict(msgspec.Struct, frozen=True):
    """Of all calls of a run. ``excused`` counts by fault and outcome; ``broken`` should not have failed."""

    calls: int
    excused: dict[str, int]
    broken: tuple[Call, ...]
    #: Ids that more than one container process, or one of them more than once, has got, without an excuse.
    doubled: tuple[str, ...] = ()


def judge(calls: Iterable[Call], faults: Iterable[Fault], got: Counter[str] | None = None) -> Verdict:
    """``got``: how often containers got each call at one stage."""
    faults = tuple(faults)
    excused: Counter[str] = Counter()
    broken: list[Call] = []
    doubled: list[str] = []
    count = 0
    for call in calls:
        count += 1
        if call.outcome != OK:
            fault = next((one for one in faults if _excuses(one, call)), None)
            if fault is None:
                broken.append(call)
            else:
                excused[f"{fault.kind}: {call.outcome}"] += 1
        if got and got[call.id] > 1 and not any(MODEL_ERROR in one.outcomes and _meets(one, call) for one in faults):
            # A container that dies may have got a call whose connection the gateway then tries anew.
            doubled.append(call.id)
    return Verdict(count, dict(excused), tuple(broken), tuple(doubled))


def in_flight(calls: Iterable[Call], fault: Fault) -> int:
    """How many calls were on their way while it went on."""
    return sum(_meets(fault, call) for call in calls)


def _excuses(fault: Fault, call: Call) -> bool:
    return call.outcome in fault.outcomes and _meets(fault, call)


def _meets(fault: Fault, call: Call) -> bool:
    is_its = not fault.endpoint or fault.endpoint == call.endpoint
    return is_its and call.began <= fault.over and call.ended >= fault.began
