"""What the audit log hears of a control-plane call: names and ARNs of its request, never values that may be secret."""

from collections.abc import Mapping, Sequence
from typing import Any

from polyport.access.callers import Caller
from polyport.api.entry import Entry
from polyport.api.permissions import ANY, Need
from polyport.aws.dispatch import Call
from polyport.errors import ApiError
from polyport.telemetry import audit
from polyport.telemetry.audit import Identity, Record

#: Ends of the names of members that name something.
_TELLING = ("Name", "Arn", "Id", "Identifier", "Contains", "Equals")
_READING = ("Describe", "List", "Get", "Filter", "StartLiveTail")
_UNKNOWN = Identity(type="Unknown")


def describe(
    entry: Entry,
    call: Call,
    request_id: str,
    *,
    caller: Caller | None,
    request: Mapping[str, Any],
    needs: Sequence[Need],
    error: ApiError | None,
    explanation: str,
) -> Record:
    """The record of one call, however it ended. ``caller`` is ``None`` for one who could not be identified."""
    return Record(
        event_time=audit.now(),
        event_source=f"{call.service or 'unknown'}.amazonaws.com",
        event_name=audit.clip(call.operation or call.subject),
        aws_region=caller.owner.region if caller else call.region,
        user_identity=caller.identity if caller else _UNKNOWN,
        source_ip_address=entry.client,
        user_agent=audit.clip(entry.user_agent),
        request_id=request_id,
        event_id=audit.event_id(),
        read_only=call.operation.startswith(_READING),
        management_event=True,
        event_category="Management",
        event_type="AwsApiCall",
        error_code=error.code if error else "",
        error_message=audit.clip(error.message) if error else "",
        request_parameters=_names(request),
        resources=tuple({"ARN": audit.clip(need.resource)} for need in needs if need.resource != ANY),
        additional_event_data={"decision": explanation} if explanation else {},
        recipient_account_id=caller.account if caller else "",
    )


def _names(request: Mapping[str, Any]) -> dict[str, str]:
    return {
        name[:1].lower() + name[1:]: audit.clip(value)
        for name, value in request.items()
        if isinstance(value, str) and name.endswith(_TELLING)
    }
