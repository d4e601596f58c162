"""What DescribeEndpoint answers: a pure function of the row and of what is going on."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from polyport.api import captures
from polyport.domain.endpoints import Deployment, Endpoint, Fleet, Status, Variant
from polyport.domain.instances import Image

Activity = Mapping[str, Sequence[tuple[str, str, float]]]
#: Summaries of variants, by the member that they are in.
Lists = dict[str, list[dict[str, Any]]]

#: The shapes' own limits.
MAX_REASON, MAX_ACTIVITIES = 1024, 5
#: The `VariantStatus` of what is on its way in; the others are about what takes the traffic or leaves.
_COMING = {"Creating", "Updating", "ActivatingTraffic", "Baking"}


def describe(endpoint: Endpoint, healthy: Mapping[str, int], activity: Activity) -> dict[str, Any]:
    """``healthy`` and ``activity`` by variant name, as `polyport.api.context.Live` gives them."""
    state, wanted = endpoint.state, endpoint.wanted
    pending = _pending(endpoint)
    # What is coming belongs to the pending summary, except for a new endpoint, where people look at the variants.
    apart = pending is not None and state.active is not None
    answer: dict[str, Any] = {
        "EndpointName": endpoint.name,
        "EndpointArn": endpoint.arn,
        "EndpointConfigName": state.active.config_name if state.active else wanted.config_name,
        "EndpointStatus": endpoint.status,
        "CreationTime": endpoint.created_at,
        "LastModifiedTime": endpoint.modified_at,
        **_variants(endpoint, healthy, _select(activity, coming=not apart, others=True)),
        "DataCaptureConfig": captures.summary(endpoint),
        "LastDeploymentConfig": wanted.deployment_config,
        "FailureReason": state.failure_reason[:MAX_REASON] or None,
    }
    if pending is not None:
        answer["PendingDeploymentSummary"] = _summarize(
            pending,
            takes_traffic=state.rollout is not None and state.rollout.step > 0,
            activity=_select(activity, coming=True, others=False),
        )
    return {member: value for member, value in answer.items() if value is not None}


def _pending(endpoint: Endpoint) -> Deployment | None:
    """The deployment of another configuration that is under way, also when the reconciler has not begun it yet."""
    state, wanted = endpoint.state, endpoint.wanted
    if endpoint.status not in {Status.CREATING, Status.UPDATING}:
        return None
    if state.pending is not None:
        is_new = state.active is None or state.pending.revision != state.active.revision
        return state.pending if is_new else None
    if endpoint.generation <= state.settled or (state.active and state.active.revision == wanted.revision):
        return None
    return Deployment(
        revision=wanted.revision,
        config_name=wanted.config_name,
        started_at=endpoint.modified_at,
        fleets=tuple(Fleet(variant) for variant in wanted.variants),
    )


def _variants(endpoint: Endpoint, healthy: Mapping[str, int], activity: Activity) -> Lists:
    """What takes the traffic; of an endpoint that has nothing yet or any more, what was wanted."""
    active = endpoint.state.active
    if active is None:
        return _listed(
            (variant, _shown(variant, variant, (), 0, activity) | {"CurrentWeight": 0.0})
            for variant in endpoint.wanted.variants
        )
    current, images = _current(active)
    desired = current | _resized(endpoint, active)
    # The weights of a change are in force before its instances are there.
    taken = desired if endpoint.state.is_resizing else current
    return _listed(
        (variant, _shown(taken[name], desired[name], images[name], healthy.get(name, 0), activity))
        for name, variant in current.items()
    )


def _listed(shown: Iterable[tuple[Variant, dict[str, Any]]]) -> Lists:
    """The members that variants are shown in; that of shadow variants only if there are some."""
    lists: Lists = {"ProductionVariants": []}
    for variant, summary in shown:
        lists.setdefault("ShadowProductionVariants" if variant.shadow else "ProductionVariants", []).append(summary)
    return lists


def _current(active: Deployment) -> tuple[dict[str, Variant], dict[str, tuple[Image, ...]]]:
    """Variants and images by name. After a failed rollback there may be two fleets of one: they are shown as one."""
    variants: dict[str, Variant] = {}
    images: dict[str, tuple[Image, ...]] = {}
    for fleet in active.fleets:
        name, known = fleet.variant.name, variants.get(fleet.variant.name)
        count = fleet.variant.instance_count + (known.instance_count if known else 0)
        variants[name] = replace(known or fleet.variant, instance_count=count)
        images[name] = tuple(dict.fromkeys((*images.get(name, ()), *fleet.images)))
    return variants, images


def _resized(endpoint: Endpoint, active: Deployment) -> dict[str, Variant]:
    """The variants as wanted: at once after a change of weights and counts, until that has failed."""
    state, wanted = endpoint.state, endpoint.wanted
    resizing = wanted.revision == active.revision and endpoint.generation > state.settled
    if not resizing or state.status is Status.ROLLING_BACK:
        return {}
    return {variant.name: variant for variant in wanted.variants}


def _summarize(pending: Deployment, *, takes_traffic: bool, activity: Activity) -> dict[str, Any]:
    variants = []
    for fleet in pending.fleets:
        # "The number of instances associated with the variant", healthy or not.
        shown = _shown(fleet.variant, fleet.variant, fleet.images, len(fleet.instances), activity)
        if not takes_traffic:
            shown |= {"CurrentWeight": 0.0}
        if fleet.variant.instance_type:
            shown["InstanceType"] = fleet.variant.instance_type
        variants.append((fleet.variant, shown))
    return {
        "EndpointConfigName": pending.config_name,
        **_listed(variants),
        "StartTime": pending.started_at,
    }


def _shown(
    current: Variant, desired: Variant, images: tuple[Image, ...], count: int, activity: Activity
) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "VariantName": current.name,
        "CurrentWeight": current.weight,
        "DesiredWeight": desired.weight,
        "CurrentInstanceCount": count,
        "DesiredInstanceCount": desired.instance_count,
        "RoutingConfig": {"RoutingStrategy": current.routing_strategy},
    }
    if images:
        shown["DeployedImages"] = [
            {"SpecifiedImage": image.specified, "ResolvedImage": image.resolved, "ResolutionTime": image.resolved_at}
            for image in images
        ]
    if current.name in activity:
        shown["VariantStatus"] = [
            {"Status": status, "StatusMessage": message, "StartTime": start}
            for status, message, start in activity[current.name][:MAX_ACTIVITIES]
        ]
    return shown


def _select(activity: Activity, *, coming: bool, others: bool) -> Activity:
    """Only some kinds of activity; variants without any are left out."""
    chosen = {
        variant: [entry for entry in entries if (coming if entry[0] in _COMING else others)]
        for variant, entries in activity.items()
    }
    return {variant: entries for variant, entries in chosen.items() if entries}
