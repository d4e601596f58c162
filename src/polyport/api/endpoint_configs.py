"""CreateEndpointConfig, DescribeEndpointConfig, ListEndpointConfigs, DeleteEndpointConfig."""

from typing import Any

from polyport.api import ineffective, listing, refusals, tags, variants
from polyport.api.context import Context
from polyport.domain import names
from polyport.domain.resources import EndpointConfig
from polyport.errors import AlreadyExists

KIND = "endpoint-config"


async def create_endpoint_config(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Every variant's model must exist now; deleting it later is no harm until an endpoint is made."""
    name = request["EndpointConfigName"]
    definition = {member: value for member, value in request.items() if member not in {"EndpointConfigName", "Tags"}}
    variants.check(definition)
    given_tags = tags.from_request(request)
    # DescribeEndpointConfig shows the weight that is in force.
    definition |= variants.with_weights(definition)
    for model_name in dict.fromkeys(variants.model_names(definition)):
        if await context.store.get_model(context.owner, model_name) is None:
            raise refusals.not_found(context.owner, "model", model_name)
    arn = names.arn(context.owner, KIND, name)
    config = EndpointConfig(context.owner, name, arn, context.clock(), definition)
    try:
        await context.store.add_endpoint_config(config, given_tags)
    except AlreadyExists as error:
        raise refusals.already_exists(context.owner, KIND, name) from error
    ineffective.report(arn, definition)
    return {"EndpointConfigArn": arn}


async def describe_endpoint_config(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The members as they were given, with the default weights."""
    name = request["EndpointConfigName"]
    config = await context.store.get_endpoint_config(context.owner, name)
    if config is None:
        raise refusals.not_found(context.owner, KIND, name)
    return {
        **config.definition,
        "EndpointConfigName": config.name,
        "EndpointConfigArn": config.arn,
        "CreationTime": config.created_at,
    }


async def list_endpoint_configs(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """One page."""
    operation = "ListEndpointConfigs"
    page = await context.store.list_endpoint_configs(context.owner, listing.query(context, operation, request))
    items = [
        {"EndpointConfigName": item.name, "EndpointConfigArn": item.arn, "CreationTime": item.created_at}
        for item in page.items
    ]
    return {"EndpointConfigs": items, "NextToken": listing.next_token(context, operation, request, page)}


async def delete_endpoint_config(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Never refused for being in use: an endpoint keeps its copy, and SDKs delete the configuration first."""
    name = request["EndpointConfigName"]
    if not await context.store.delete_endpoint_config(context.owner, name):
        raise refusals.not_found(context.owner, KIND, name)
    return {}
