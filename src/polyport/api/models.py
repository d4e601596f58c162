"""CreateModel, DescribeModel, ListModels, DeleteModel."""

import asyncio
import logging
from typing import Any

from polyport.api import containers, ineffective, listing, refusals, tags
from polyport.api.context import Context
from polyport.domain import names
from polyport.domain.instances import ContainerSpec, ModelSource
from polyport.domain.resources import Model
from polyport.errors import AlreadyExists, ArtifactError, ImageError

log = logging.getLogger(__name__)

KIND = "model"


async def create_model(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Looks at images, model data and isolation too: what cannot be had is refused now, not while deploying."""
    name = request["ModelName"]
    definition = {member: value for member, value in request.items() if member not in {"ModelName", "Tags"}}
    containers.check(definition)
    given_tags = tags.from_request(request)
    specs = containers.specify(definition)
    if definition.get("EnableNetworkIsolation") and (problem := context.why_no_network_isolation()):
        raise refusals.invalid(problem)
    await _check_images(context, specs)
    await _check_model_data(context, specs)
    arn = names.arn(context.owner, KIND, name)
    model = Model(context.owner, name, arn, context.clock(), definition)
    try:
        await context.store.add_model(model, given_tags)
    except AlreadyExists as error:
        raise refusals.already_exists(context.owner, KIND, name) from error
    ineffective.report(arn, definition)
    return {"ModelArn": arn}


async def describe_model(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """The members as they were given."""
    name = request["ModelName"]
    model = await context.store.get_model(context.owner, name)
    if model is None:
        raise refusals.not_found(context.owner, KIND, name)
    return {
        "EnableNetworkIsolation": False,
        **model.definition,
        "ModelName": model.name,
        "ModelArn": model.arn,
        "CreationTime": model.created_at,
    }


async def list_models(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """One page."""
    page = await context.store.list_models(context.owner, listing.query(context, "ListModels", request))
    items = [{"ModelName": item.name, "ModelArn": item.arn, "CreationTime": item.created_at} for item in page.items]
    return {"Models": items, "NextToken": listing.next_token(context, "ListModels", request, page)}


async def delete_model(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Endpoints that were made from it keep their copy."""
    name = request["ModelName"]
    if not await context.store.delete_model(context.owner, name):
        raise refusals.not_found(context.owner, KIND, name)
    return {}


async def _check_images(context: Context, specs: tuple[ContainerSpec, ...]) -> None:
    for image in dict.fromkeys(spec.image for spec in specs):
        try:
            known = await context.images.check(image)
        except ImageError as error:
            raise refusals.invalid(f'ECR image "{image}" is invalid. {error}') from error
        for warning in known.warnings:
            log.warning("image %s: %s", image, warning)


async def _check_model_data(context: Context, specs: tuple[ContainerSpec, ...]) -> None:
    """All at once: each look may take a round trip to a store."""
    sources = {source: None for spec in specs for source in (spec.model, *spec.additional.values()) if source}
    results = await asyncio.gather(*(_look(context, source) for source in sources))
    for problem in results:
        if problem:
            raise refusals.invalid(problem)


async def _look(context: Context, source: ModelSource) -> str:
    try:
        await context.artifacts.check(source)
    except ArtifactError as error:
        return f"Could not access model data at {source.url}. {error}"
    return ""
