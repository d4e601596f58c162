"""``VariantStatus``: what is going on with each variant, in the messages that SageMaker documents."""

from collections import Counter
from collections.abc import Callable, Iterator

import msgspec

from polyport.control import heal, strategy, traffic
from polyport.control import rollout as rollouts
from polyport.domain.endpoints import (
    AT_REST,
    Deployment,
    Endpoint,
    EndpointState,
    Fleet,
    InstanceRow,
    Phase,
    Status,
    Strategy,
    Variant,
)

#: ``StatusMessage`` is no longer than this.
LIMIT = 1024

Activity = tuple[str, str, float]


class Sources(msgspec.Struct, frozen=True):
    """What is known beyond the row: who is healthy, and since when one is not (epoch seconds); what an instance is
    waited for; what is fetched for a variant before it has one."""

    is_healthy: Callable[[str], bool]
    ill_since: Callable[[str], float]
    hints: Callable[[str], list[str]]
    fetching: Callable[[Variant], list[str]]


def describe(endpoint: Endpoint, sources: Sources) -> dict[str, list[Activity]]:
    """By variant name: (status, message, start in epoch seconds). Empty where nothing is going on.

    What a container is waited for is appended to the documented message, so that nobody has to guess.
    """
    state = endpoint.state
    found: dict[str, list[Activity]] = {}
    for deployment in (state.pending, state.active):
        for fleet in deployment.fleets if deployment else ():
            if deployment and (activities := list(_fleet(state, deployment, fleet, sources))):
                found.setdefault(fleet.variant.name, []).extend(activities)
    for fleet in state.active.fleets if state.active else ():
        if condemned := [row for row in fleet.instances if row.condemned]:
            found.setdefault(fleet.variant.name, []).append(_replacing(condemned))
        if ill := list(_ill(state, fleet, sources)):
            found.setdefault(fleet.variant.name, []).append(_ailing(ill, sources))
    leaving = Counter(row.variant for row in state.retired)
    for variant, count in leaving.items():
        message = f"Terminating {count} instance(s)."
        found.setdefault(variant, []).append(("Deleting", message, endpoint.modified_at))
    return found


def _replacing(condemned: list[InstanceRow]) -> Activity:
    reasons = " ".join(dict.fromkeys(row.condemned for row in condemned))
    message = f"Replacing {len(condemned)} instance(s): {reasons}"
    return "Updating", message[:LIMIT], min(row.condemned_at for row in condemned)


def _ill(state: EndpointState, fleet: Fleet, sources: Sources) -> Iterator[str]:
    """Instances of an endpoint at rest that take no calls, though no others take their place."""
    if state.status in AT_REST and state.pending is None:
        for row in heal.sound(fleet.instances):
            if not sources.is_healthy(row.id) and not heal.is_successor(row, fleet):
                yield row.id


def _ailing(ill: list[str], sources: Sources) -> Activity:
    waiting = "; ".join(dict.fromkeys(line for each in ill for line in sources.hints(each)))
    message = f"{len(ill)} instance(s) take no calls. {waiting}"
    return "Updating", message.strip()[:LIMIT], min(sources.ill_since(each) for each in ill)


def _fleet(state: EndpointState, deployment: Deployment, fleet: Fleet, sources: Sources) -> Iterator[Activity]:
    is_returning = state.rollout is not None and state.rollout.phase is Phase.RETURNING
    if deployment is state.active:
        if is_returning or state.status is Status.SYSTEM_UPDATING:
            yield from _launching(state, deployment, fleet, sources)
    elif not is_returning:
        yield from _launching(state, deployment, fleet, sources)
        yield from _shifting(state, fleet)


def _launching(state: EndpointState, deployment: Deployment, fleet: Fleet, sources: Sources) -> Iterator[Activity]:
    is_new = deployment is state.pending
    scaling = is_new and state.is_resizing
    missing = [row.id for row in fleet.instances if not sources.is_healthy(row.id)]
    due = traffic.due(state, fleet) if is_new else fleet.variant.instance_count
    # Whole fleets have no instances until their images are resolved; a change of weights alone never has any.
    if not missing and (fleet.instances or scaling or not due):
        return
    if scaling:
        message = f"Scaling out desired instance count to {fleet.variant.instance_count}."
    else:
        message = f"Launching {len(missing) or due} instance(s)."
    waiting = "; ".join([*sources.fetching(fleet.variant), *(line for each in missing for line in sources.hints(each))])
    status = "Creating" if state.active is None else "Updating"
    start = deployment.started_at
    if state.rollout and (state.rollout.step or not is_new):
        start = state.rollout.since
    yield status, f"{message} {waiting}".strip()[:LIMIT], start


def _shifting(state: EndpointState, fleet: Fleet) -> Iterator[Activity]:
    """The update's step, on the variants that are to come."""
    rollout, pending = state.rollout, state.pending
    count = traffic.taken(state, fleet)
    if rollout is None or pending is None or not rollout.step or not count:
        return
    is_last = rollout.step == len(rollout.shares)
    is_canary = rollout.strategy is Strategy.CANARY
    capacity = f"{'full' if is_last else 'canary' if is_canary else 'partial'} capacity of {count} instance(s)"
    if rollout.phase is Phase.SHIFTING:
        yield "ActivatingTraffic", f"Activating traffic on {capacity}.", rollout.since
    elif rollout.phase is Phase.BAKING:
        seconds = strategy.wait(pending.deployment_config, is_last=is_last)
        is_termination = is_last and rollout.strategy is not Strategy.ROLLING
        member = "TerminationWaitInSeconds" if is_termination else "WaitIntervalInSeconds"
        alarms = f" Watching alarms: {', '.join(sorted(rollouts.watched(state)))}." * bool(rollouts.watched(state))
        message = f"Baking for {seconds:g} seconds ({member}) with traffic enabled on {capacity}.{alarms}"
        yield "Baking", message[:LIMIT], rollout.since
