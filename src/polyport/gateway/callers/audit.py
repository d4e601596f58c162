"""Refused invocations, for the audit log, which control writes: kept until control is there to take them."""

from collections import Counter, deque
from collections.abc import Callable

from polyport.access.callers import Caller
from polyport.domain.names import Owner
from polyport.domain.routes import Refused
from polyport.errors import ApiError
from polyport.gateway.callers import guard
from polyport.gateway.calls.members import OPERATIONS
from polyport.gateway.clients.request import Request
from polyport.gateway.containers import routes
from polyport.telemetry import audit
from polyport.telemetry.audit import Identity, Record

#: Records that wait for control. What comes beyond is counted.
MOST = 10_000
#: Records in one message.
BATCH = 500
_UNKNOWN = Identity(type="Unknown")
_PARAMETERS = {
    b"x-amzn-sagemaker-target-container-hostname": "targetContainerHostname",
    b"x-amzn-sagemaker-target-variant": "targetVariant",
    b"x-amzn-sagemaker-target-model": "targetModel",
    b"x-amzn-sagemaker-inference-id": "inferenceId",
}


class Refusals:
    """``send`` tells control; false when it is away."""

    def __init__(self, send: Callable[[Refused], bool]) -> None:
        self._send = send
        self._waiting: deque[bytes] = deque()
        self._lost = 0
        #: Since the worker began, by the code of the error.
        self.counts: Counter[str] = Counter()

    def add(self, record: Record) -> None:
        """Keep it for the next `flush`."""
        self.counts[record.error_code] += 1
        if len(self._waiting) < MOST:
            self._waiting.append(audit.encode(record))
        else:
            self._lost += 1

    def flush(self) -> None:
        """Once a second, and at the end: hand over what there is."""
        while self._waiting or self._lost:
            batch = [self._waiting[place] for place in range(min(BATCH, len(self._waiting)))]
            if not self._send(Refused(tuple(batch), self._lost)):
                return
            for _ in batch:
                self._waiting.popleft()
            self._lost = 0


def describe(
    request: Request, owner: Owner, caller: Caller | None, peer: str, error: ApiError, explanation: str
) -> Record:
    """The record of a refused call. ``owner``: whose endpoint it is for, as far as that is known."""
    parsed = routes.parse_target(request.target)
    name, path = parsed or ("", b"")
    parameters = {"endpointName": audit.clip(name)} if parsed else {}
    for header, parameter in _PARAMETERS.items():
        if header in request.members:
            parameters[parameter] = audit.clip(request.members[header].decode("latin-1"))
    place = guard.find_place(owner, request.target)
    agent = next((value for header, value in request.headers if header.lower() == b"user-agent"), b"")
    return Record(
        event_time=audit.now(),
        event_source="sagemaker.amazonaws.com",
        event_name=OPERATIONS.get(path, "Unknown"),
        aws_region=owner.region,
        user_identity=caller.identity if caller else _UNKNOWN,
        source_ip_address=guard.address_of(peer),
        user_agent=audit.clip(agent.decode("latin-1")),
        request_id=request.id.decode(),
        event_id=audit.event_id(),
        read_only=False,
        management_event=False,
        event_category="Data",
        event_type="AwsApiCall",
        error_code=error.code,
        error_message=audit.clip(error.message),
        request_parameters=parameters,
        resources=({"type": "AWS::SageMaker::Endpoint", "ARN": audit.clip(place[1])},) if place else (),
        additional_event_data={"decision": explanation} if explanation else {},
        recipient_account_id=place[0][0] if place else owner.account,
    )
