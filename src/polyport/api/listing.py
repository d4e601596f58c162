"""What the List operations share: filters, order and tokens."""

from typing import Any

import msgspec

from polyport.api.context import Context
from polyport.api.refusals import invalid
from polyport.aws import paginate
from polyport.store import ListQuery, Page, Position, SortBy

DEFAULT_PAGE = 10


def query(context: Context, operation: str, request: dict[str, Any]) -> ListQuery:
    """The request as a query. Raises `ApiError` for a token that is not of this listing."""
    return ListQuery(
        sort_by=SortBy(request.get("SortBy", SortBy.CREATION_TIME)),
        ascending=request.get("SortOrder") == "Ascending",
        limit=request.get("MaxResults", DEFAULT_PAGE),
        after=_position(context, operation, request),
        name_contains=request.get("NameContains", ""),
        created_before=request.get("CreationTimeBefore"),
        created_after=request.get("CreationTimeAfter"),
        modified_before=request.get("LastModifiedTimeBefore"),
        modified_after=request.get("LastModifiedTimeAfter"),
        status=request.get("StatusEquals"),
    )


def next_token(context: Context, operation: str, request: dict[str, Any], page: Page[Any]) -> str | None:
    """The token that continues after this page; ``None`` after the last."""
    return paginate.encode(scope(context, operation), request, page.next) if page.next else None


def scope(context: Context, operation: str) -> paginate.Scope:
    """What a token is good for."""
    return f"{operation} {context.owner.account} {context.owner.region}"


def _position(context: Context, operation: str, request: dict[str, Any]) -> Position | None:
    if "NextToken" not in request:
        return None
    position = paginate.decode(scope(context, operation), request, request["NextToken"])
    try:
        # The checksum is no secret: whoever forges one gets this far.
        first = float if request.get("SortBy", SortBy.CREATION_TIME) == SortBy.CREATION_TIME else str
        return msgspec.convert(position, tuple[first, str])  # type: ignore[valid-type]
    except msgspec.ValidationError as error:
        raise invalid("The NextToken is not valid.") from error
