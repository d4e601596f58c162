"""PutEndpointPolicy, GetEndpointPolicy, DeleteEndpointPolicy: which other accounts may invoke an endpoint."""

from typing import Any

from polyport.api import endpoints, refusals
from polyport.api.context import Context
from polyport.aws.policy import document
from polyport.domain.endpoints import Endpoint, Status
from polyport.errors import PolicyError

_WITHOUT = {Status.DELETING, Status.FAILED}


async def put_endpoint_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Replaces the one there is; in force within a second."""
    endpoint = await endpoints.get(context, request["EndpointName"])
    if endpoint.status in _WITHOUT:
        raise refusals.invalid(
            f'Cannot attach a policy to endpoint "{endpoint.arn}": its status is {endpoint.status.value}.'
        )
    text = request["ResourcePolicy"]
    try:
        document.parse(text, document.Kind.RESOURCE)
    except PolicyError as error:
        raise refusals.invalid(f"The resource policy is not valid: {error}") from error
    if not await context.store.access.put_endpoint_policy(endpoint.arn, text):
        raise refusals.not_found(context.owner, endpoints.KIND, endpoint.name)
    context.on_access_change()
    return {"EndpointArn": endpoint.arn}


async def get_endpoint_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The text as it was given."""
    endpoint = await endpoints.get(context, request["EndpointName"])
    text = await context.store.access.get_endpoint_policy(endpoint.arn)
    if text is None:
        raise refusals.invalid(f'Endpoint "{endpoint.arn}" has no policy.')
    return _described(endpoint, text)


async def delete_endpoint_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Fine if there is none."""
    endpoint = await endpoints.get(context, request["EndpointName"])
    await context.store.access.delete_endpoint_policy(endpoint.arn)
    context.on_access_change()
    return {}


def _described(endpoint: Endpoint, text: str) -> dict[str, Any]:
    return {"EndpointName": endpoint.name, "EndpointArn": endpoint.arn, "ResourcePolicy": text}
