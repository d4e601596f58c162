"""AddTags, ListTags, DeleteTags, and tags given on creation."""

from typing import Any

from polyport.api import containers, listing, refusals
from polyport.api.context import Context
from polyport.aws import paginate
from polyport.domain import names
from polyport.store import MAX_TAGS, TooManyTags

RESERVED = "aws:"


async def add_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Answers with all tags of the resource."""
    arn = normal_arn(context, request["ResourceArn"])
    try:
        tags = await context.store.put_tags(arn, from_request(request))
    except TooManyTags as error:
        raise refusals.invalid(f"A resource can have at most {MAX_TAGS} tags: {error}") from error
    return {"Tags": _to_list(_expect(context, arn, tags))}


async def list_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """All of them: the smallest page holds as many as a resource can have."""
    arn = normal_arn(context, request["ResourceArn"])
    if "NextToken" in request:
        # We never give one out; this says so in the words of the other lists.
        paginate.decode(listing.scope(context, "ListTags"), request, request["NextToken"])
    return {"Tags": _to_list(_expect(context, arn, await context.store.get_tags(arn)))}


async def delete_tags(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Keys that are not there are fine."""
    arn = normal_arn(context, request["ResourceArn"])
    found = await context.store.delete_tags(arn, request["TagKeys"])
    _expect(context, arn, {} if found else None)
    return {}


def from_request(request: dict[str, Any]) -> dict[str, str]:
    """The ``Tags`` of a request by key. Raises `ApiError` for what only AWS may use, and for keys given twice."""
    given = request.get("Tags", [])
    reserved = [tag["Key"] for tag in given if tag["Key"].lower().startswith(RESERVED)]
    if reserved:
        raise refusals.invalid(f'Tag keys that start with "{RESERVED}" are reserved: "{reserved[0]}".')
    twice = containers.repeated(tag["Key"] for tag in given)
    if twice:
        raise refusals.invalid(f"Tag keys must be unique; given more than once: {twice}.")
    return {tag["Key"]: tag["Value"] for tag in given}


def normal_arn(context: Context, arn: str) -> str:
    """The ARN as it is stored: its resource part in lower case. Raises `ApiError` for what cannot be tagged here."""
    kind, _, name = arn.split(":", 5)[5].partition("/")
    normal = names.arn(context.owner, kind, name)
    given = f"{arn.rpartition('/')[0]}/{name.lower()}"
    if kind not in refusals.KINDS or not name or given != normal:
        raise refusals.invalid(f'Could not find resource "{arn}".')
    return normal


def _expect(context: Context, arn: str, tags: dict[str, str] | None) -> dict[str, str]:
    if tags is None:
        kind, _, name = arn.split(":", 5)[5].partition("/")
        raise refusals.not_found(context.owner, kind, name)
    return tags


def _to_list(tags: dict[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in tags.items()]
