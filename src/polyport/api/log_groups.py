"""DescribeLogGroups, DescribeLogStreams, PutRetentionPolicy, DeleteRetentionPolicy, DeleteLogGroup.

A group is there from an endpoint's first line of output on, until it is deleted.
"""

import asyncio
import operator
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from polyport.api import listing
from polyport.api.context import Context
from polyport.aws import paginate
from polyport.domain import names
from polyport.domain.names import Owner
from polyport.errors import ApiError
from polyport.telemetry.logs import parts, shelf
from polyport.telemetry.logs.shelf import Group

Item = TypeVar("Item")

PAGE = 50
#: What AWS takes for ``retentionInDays``.
DAYS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)
_ARN = re.compile(r"arn:[a-z-]+:logs:([a-z0-9-]+):([0-9]{12}):log-group:([^:*]+)(?::\*)?")


async def describe_log_groups(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Sorted by name. Sizes are those of the files."""
    prefix, pattern = request.get("logGroupNamePrefix", ""), request.get("logGroupNamePattern", "")
    if prefix and pattern:
        raise invalid("logGroupNamePrefix and logGroupNamePattern cannot be given together.")
    only = {group_name(context, identifier) for identifier in request.get("logGroupIdentifiers", [])}
    if request.get("logGroupClass", "STANDARD") != "STANDARD":
        return {"logGroups": []}

    def look(after: str) -> tuple[list[Group], str | None]:
        found = [
            name
            for name in context.logs.names(context.owner)
            if name.startswith(prefix) and pattern in name and (not only or name in only)
        ]
        chosen, following = _page(found, lambda name: name, after, request)
        return [group for name in chosen if (group := context.logs.group(context.owner, name))], following

    groups, following = await asyncio.to_thread(look, _after(context, "DescribeLogGroups", request))
    return {
        "logGroups": [_describe(context.owner, group) for group in groups],
        "nextToken": _token(context, "DescribeLogGroups", request, following),
    }


async def describe_log_streams(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Sorted by name or by the time of the last event."""
    group, folder = await find(context, request)
    prefix, by_time = request.get("logStreamNamePrefix", ""), request.get("orderBy") == "LastEventTime"
    if prefix and by_time:
        raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
    after = _after(context, "DescribeLogStreams", request)

    def look() -> tuple[list[dict[str, Any]], str | None]:
        streams = {name: path for name, path in context.logs.streams(folder).items() if name.startswith(prefix)}
        keys = {name: _key(name, path, by_time=by_time) for name, path in streams.items()}
        ordered = sorted(streams, key=keys.__getitem__, reverse=request.get("descending", False))
        chosen, following = _page(ordered, keys.__getitem__, after, request)
        return [_stream(context.owner, group, name, streams[name]) for name in chosen], following

    described, following = await asyncio.to_thread(look)
    return {"logStreams": described, "nextToken": _token(context, "DescribeLogStreams", request, following)}


async def put_retention_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """Older events are not shown from now on; their files go soon."""
    days = request["retentionInDays"]
    if days not in DAYS:
        allowed = ", ".join(map(str, DAYS))
        raise invalid(f"retentionInDays must be one of {allowed}, not {days}.")
    _, folder = await find(context, request)
    await asyncio.to_thread(context.logs.retain, folder, days)
    return {}


async def delete_retention_policy(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """From now on the setting ``log_retention_days`` counts."""
    _, folder = await find(context, request)
    await asyncio.to_thread(context.logs.retain, folder, None)
    return {}


async def delete_log_group(context: Context, request: dict[str, Any]) -> dict[str, Any]:
    """With all that was printed so far; containers that run on begin a new group with their next line."""
    _, folder = await find(context, request)
    await asyncio.to_thread(context.logs.delete, folder)
    return {}


async def find(context: Context, request: dict[str, Any]) -> tuple[str, Path]:
    """The group that a request names, and its folder. Raises `ApiError`."""
    name, identifier = request.get("logGroupName"), request.get("logGroupIdentifier")
    if (name is None) == (identifier is None):
        raise invalid("Either logGroupName or logGroupIdentifier must be given, not both.")
    group = name if name is not None else group_name(context, identifier or "")
    folder = await asyncio.to_thread(context.logs.folder, context.owner, group)
    if folder is None:
        raise ApiError("ResourceNotFoundException", "The specified log group does not exist.")
    return group, folder


def group_name(context: Context, identifier: str) -> str:
    """The name in a name or an ARN. Raises `ApiError` for one of another account or region."""
    match = _ARN.fullmatch(identifier)
    if match is None:
        return identifier
    if (match[2], match[1]) != (context.owner.account, context.owner.region):
        raise ApiError("ResourceNotFoundException", "The specified log group does not exist.")
    return match[3]


def group_arn(owner: Owner, name: str) -> str:
    """Without the ``:*`` that some members have at its end."""
    return f"arn:{names.partition(owner.region)}:logs:{owner.region}:{owner.account}:log-group:{name}"


def invalid(message: str) -> ApiError:
    """What CloudWatch Logs answers to what is wrong with a call."""
    return ApiError("InvalidParameterException", message)


def milliseconds(seconds: float) -> int:
    """As CloudWatch Logs counts."""
    return int(seconds * 1000)


def _describe(owner: Owner, group: Group) -> dict[str, Any]:
    arn = group_arn(owner, group.name)
    return {
        "logGroupName": group.name,
        "creationTime": milliseconds(group.created_at),
        "retentionInDays": group.retention_days,
        "metricFilterCount": 0,
        "arn": f"{arn}:*",
        "storedBytes": group.size,
        "logGroupClass": "STANDARD",
        "logGroupArn": arn,
    }


def _stream(owner: Owner, group: str, name: str, path: Path) -> dict[str, Any]:
    with parts.Log(path) as log:
        last = next(log.backward(), None)
        first = milliseconds(log.start.file / 1_000_000)
    latest = last.micros // 1000 if last is not None else None
    return {
        "logStreamName": name,
        "creationTime": first,
        "firstEventTimestamp": first if last is not None else None,
        "lastEventTimestamp": latest,
        "lastIngestionTime": latest,
        "arn": f"{group_arn(owner, group)}:log-stream:{name}",
        "storedBytes": 0,  # since 2019, for every stream
    }


def _key(name: str, path: Path, *, by_time: bool) -> str:
    """What streams are sorted by, as text that a token can hold."""
    if not by_time:
        return name
    times = shelf.begun(path)
    return f"{int(times[1] * 1_000_000) if times else 0:020d} {name}"


def _page(
    items: Sequence[Item], key: Callable[[Item], str], after: str, request: dict[str, Any]
) -> tuple[list[Item], str | None]:
    """What comes after a key, and the key to go on from. Both orders: whatever is listed after it comes next."""
    limit = request.get("limit", PAGE)
    is_past = operator.lt if request.get("descending") else operator.gt
    rest = [item for item in items if not after or is_past(key(item), after)]
    return rest[:limit], key(rest[limit - 1]) if len(rest) > limit else None


def _after(context: Context, operation: str, request: dict[str, Any]) -> str:
    if "nextToken" not in request:
        return ""
    position = read_token(context, operation, request)
    if not isinstance(position, str):
        raise invalid("The specified nextToken is invalid.")
    return position


def read_token(context: Context, operation: str, request: dict[str, Any]) -> Any:
    """The position in a token of this listing. Raises `ApiError`."""
    try:
        return paginate.decode(listing.scope(context, operation), _filters(request), request["nextToken"])
    except ApiError as error:
        raise invalid("The specified nextToken is invalid.") from error


def _token(context: Context, operation: str, request: dict[str, Any], position: Any) -> str | None:
    return make_token(context, operation, request, position) if position is not None else None


def make_token(context: Context, operation: str, request: dict[str, Any], position: Any) -> str:
    """A token that goes on from a position."""
    return paginate.encode(listing.scope(context, operation), _filters(request), position)


def _filters(request: dict[str, Any]) -> dict[str, Any]:
    """The members that must stay the same from page to page."""
    free = ("nextToken", "limit", "startFromHead", "interleaved", "unmask")
    return {name: value for name, value in request.items() if name not in free}
