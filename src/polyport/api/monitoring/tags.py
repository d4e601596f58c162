"""TagResource, UntagResource and ListTagsForResource: tags of alarms."""

from typing import Any

from polyport.api import tags
from polyport.api.context import Context
from polyport.domain import alarms
from polyport.errors import ApiError
from polyport.store import MAX_TAGS, TooManyTags


async def tag_resource(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Add or overwrite tags of an alarm."""
    given = tags.from_request(request)
    try:
        found = await context.store.alarms.put_tags(context.owner, _name(context, request), given)
    except TooManyTags as error:
        raise too_many(error) from error
    if not found:
        raise _not_found(request)
    return {}


async def untag_resource(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Keys that are not there are fine."""
    found = await context.store.alarms.delete_tags(context.owner, _name(context, request), request["TagKeys"])
    if not found:
        raise _not_found(request)
    return {}


async def list_tags_for_resource(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """All of them, by key."""
    found = await context.store.alarms.tags(context.owner, _name(context, request))
    if found is None:
        raise _not_found(request)
    return {"Tags": [{"Key": key, "Value": value} for key, value in found.items()]}


def too_many(error: TooManyTags) -> ApiError:
    """As callers are told."""
    return ApiError("InvalidParameterValueException", f"An alarm can have at most {MAX_TAGS} tags: {error}")


def _name(context: Context, request: dict[str, Any]) -> str:
    """Raises `ApiError` for what is no alarm of the caller's."""
    given = request["ResourceARN"]
    prefix = alarms.arn(context.owner, "")
    if not given.startswith(prefix) or given == prefix:
        raise _not_found(request)
    return str(given.removeprefix(prefix))


def _not_found(request: dict[str, Any]) -> ApiError:
    return ApiError("ResourceNotFoundException", f"There is no alarm {request['ResourceARN']} to have tags.", 404)
