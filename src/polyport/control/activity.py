"""``VariantStatus``: what is going on with each variant, in the messages that SageMaker documents."""

from collections import Counter
from collections.abc import Callable

from polyport.domain.endpoints import Deployment, Endpoint, Fleet, Status, Variant

#: ``StatusMessage`` is no longer than this.
LIMIT = 1024

Activity = tuple[str, str, float]


def describe(
    endpoint: Endpoint,
    is_healthy: Callable[[str], bool],
    hints: Callable[[str], list[str]],
    fetching: Callable[[Variant], list[str]],
) -> dict[str, list[Activity]]:
    """By variant name: (status, message, start in epoch seconds). Empty where nothing is going on.

    What a container is waited for is appended to the documented message, so that nobody has to guess: ``hints`` are
    about an instance, ``fetching`` about what a variant needs before there is one.
    """
    state = endpoint.state
    found: dict[str, list[Activity]] = {}
    for deployment in (state.pending, state.active if state.status is Status.SYSTEM_UPDATING else None):
        for fleet in deployment.fleets if deployment else ():
            if deployment and (activity := _launching(state.active, deployment, fleet, is_healthy, hints, fetching)):
                found.setdefault(fleet.variant.name, []).append(activity)
    leaving = Counter(row.variant for row in state.retired)
    for variant, count in leaving.items():
        message = f"Terminating {count} instance(s)."
        found.setdefault(variant, []).append(("Deleting", message, endpoint.modified_at))
    return found


def _launching(
    active: Deployment | None,
    deployment: Deployment,
    fleet: Fleet,
    is_healthy: Callable[[str], bool],
    hints: Callable[[str], list[str]],
    fetching: Callable[[Variant], list[str]],
) -> Activity | None:
    count = fleet.variant.instance_count
    missing = [row.id for row in fleet.instances if not is_healthy(row.id)]
    scaling = active is not None and active is not deployment and active.revision == deployment.revision
    # Whole fleets have no instances until their images are resolved; a change of weights alone never has any.
    if not missing and (fleet.instances or scaling or not count):
        return None
    if scaling:
        message = f"Scaling out desired instance count to {count}."
    else:
        message = f"Launching {len(missing) or count} instance(s)."
    waiting = "; ".join([*fetching(fleet.variant), *(line for instance in missing for line in hints(instance))])
    status = "Creating" if active is None else "Updating"
    return status, f"{message} {waiting}".strip()[:LIMIT], deployment.started_at
