"""Create, describe, list, update, resize (UpdateEndpointWeightsAndCapacities) and delete endpoints."""

import secrets
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from polyport.api import deployments, description, endpoint_configs, listing, refusals, tags, variants
from polyport.api.context import Context
from polyport.domain import names
from polyport.domain.endpoints import AT_REST, Deployment, Endpoint, EndpointState, Status, Variant, Wanted
from polyport.errors import AlreadyExists, ApiError, StaleWrite

KIND = "endpoint"

#: How often a lost race with the reconciler is run again. It writes a few times a second at most.
MAX_RACES = 50

_ON_ITS_WAY = {Status.CREATING, Status.UPDATING, Status.ROLLING_BACK, Status.SYSTEM_UPDATING}


async def create_endpoint(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Copies the configuration and its models, and returns; the reconciler does the rest."""
    name, config_name = request["EndpointName"], request["EndpointConfigName"]
    deployments.check(request.get("DeploymentConfig", {}))
    given_tags = tags.from_request(request)
    copies = await _snapshot(context, config_name)
    variants.check_limits(copies)
    now = context.clock()
    endpoint = Endpoint(
        id=secrets.token_hex(8),
        owner=context.owner,
        name=name,
        arn=names.arn(context.owner, KIND, name),
        created_at=now,
        modified_at=now,
        generation=1,
        wanted=Wanted(1, config_name, copies, request.get("DeploymentConfig")),
        state=EndpointState(),
        version=1,
    )
    try:
        await context.store.add_endpoint(endpoint, given_tags)
    except AlreadyExists as error:
        raise refusals.already_exists(context.owner, KIND, name) from error
    return {"EndpointArn": endpoint.arn}


async def describe_endpoint(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """From the row and from what is going on."""
    endpoint = await get(context, request["EndpointName"])
    live = context.live
    return description.describe(endpoint, live.healthy_counts(endpoint.id), live.activity(endpoint.id))


async def list_endpoints(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """One page."""
    page = await context.store.list_endpoints(context.owner, listing.query(context, "ListEndpoints", request))
    items = [
        {
            "EndpointName": item.name,
            "EndpointArn": item.arn,
            "CreationTime": item.created_at,
            "LastModifiedTime": item.modified_at,
            "EndpointStatus": item.status,
        }
        for item in page.items
    ]
    return {"Endpoints": items, "NextToken": listing.next_token(context, "ListEndpoints", request, page)}


async def update_endpoint(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Asks for new fleets by another (or the same) configuration."""
    deployments.check(request.get("DeploymentConfig", {}))
    # A missing endpoint and one that may not be updated are told of before a missing configuration.
    _updatable(await get(context, request["EndpointName"]))
    copies = await _snapshot(context, request["EndpointConfigName"])
    endpoint = await _want(context, request["EndpointName"], lambda current: _updated(current, request, copies))
    return {"EndpointArn": endpoint.arn}


async def update_endpoint_weights_and_capacities(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Asks for other weights and counts of the fleets that there are."""
    wishes = request["DesiredWeightsAndCapacities"]
    variants.check_wishes(wishes)
    endpoint = await _want(context, request["EndpointName"], lambda current: _resized(current, wishes))
    return {"EndpointArn": endpoint.arn}


async def delete_endpoint(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Fine while it is being deleted already: a client that lost the first answer asks again."""
    await _want(context, request["EndpointName"], _deleted)
    return {}


def _updated(endpoint: Endpoint, request: dict[str, Any], copies: tuple[Variant, ...]) -> Wanted:
    active = _updatable(endpoint)
    if request.get("RetainAllVariantProperties", False):
        excluded = {entry["VariantPropertyType"] for entry in request.get("ExcludeRetainedVariantProperties", [])}
        copies = variants.retain(copies, _current(active), excluded)
    variants.check_limits(copies)
    retained = endpoint.wanted.deployment_config if request.get("RetainDeploymentConfig", False) else None
    return Wanted(
        # Never used before, also not by an update that was rolled back.
        revision=endpoint.generation + 1,
        config_name=request["EndpointConfigName"],
        variants=copies,
        deployment_config=request.get("DeploymentConfig", retained),
    )


def _resized(endpoint: Endpoint, wishes: list[dict[str, Any]]) -> Wanted:
    """From what is deployed, not from what was wanted last: that may have been rolled back."""
    active = _updatable(endpoint)
    if active.mixed:
        raise refusals.invalid(
            f'Endpoint "{endpoint.arn}" is {endpoint.status}: it serves a mix of two deployments. '
            "Call UpdateEndpoint, or delete it."
        )
    resized = variants.resize(_current(active), wishes, active.config_name)
    variants.check_limits(resized)
    return replace(
        endpoint.wanted,
        revision=active.revision,
        config_name=active.config_name,
        variants=resized,
        restart=None,
        cancelled="",
    )


def _deleted(endpoint: Endpoint) -> Wanted | None:
    if endpoint.status is Status.DELETING:
        return None
    if endpoint.status in _ON_ITS_WAY:
        raise refusals.in_progress(endpoint.arn)
    return replace(endpoint.wanted, deleted=True)


def _updatable(endpoint: Endpoint) -> Deployment:
    """What is deployed now. Raises `ApiError` unless the endpoint may be updated."""
    if endpoint.status is Status.FAILED:
        raise refusals.invalid(f'Cannot update failed endpoint "{endpoint.arn}": it can only be deleted.')
    if endpoint.status not in AT_REST or endpoint.state.active is None:
        raise refusals.in_progress(endpoint.arn)
    return endpoint.state.active


def _current(active: Deployment) -> tuple[Variant, ...]:
    """The variants as they are deployed. What a failed rollback left counts together, old and new."""
    found: dict[str, Variant] = {}
    for variant in (fleet.variant for fleet in active.fleets):
        known = found.get(variant.name)
        count = variant.instance_count + (known.instance_count if known else 0)
        found[variant.name] = replace(known or variant, instance_count=count)
    return tuple(found.values())


async def get(context: Context, name: str) -> Endpoint:
    """The endpoint of that name. Raises `ApiError`."""
    endpoint = await context.store.get_endpoint(context.owner, name)
    if endpoint is None:
        raise refusals.not_found(context.owner, KIND, name)
    return endpoint


async def _want(context: Context, name: str, decide: Callable[[Endpoint], Wanted | None]) -> Endpoint:
    """Decide on the row as it is, and write; when the row was written in between, decide again."""
    for _ in range(MAX_RACES):
        endpoint = await get(context, name)
        wanted = decide(endpoint)
        if wanted is None:
            return endpoint
        try:
            return await context.store.want(endpoint, wanted, context.clock())
        except StaleWrite:
            continue
    raise ApiError("ThrottlingException", "Rate exceeded")


async def _snapshot(context: Context, config_name: str) -> tuple[Variant, ...]:
    found = await context.store.get_config_with_models(
        context.owner, config_name, lambda config: variants.model_names(config.definition)
    )
    if found is None:
        raise refusals.not_found(context.owner, endpoint_configs.KIND, config_name)
    return variants.snapshot(context.owner, *found)
