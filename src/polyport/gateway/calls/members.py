"""What the service model says of the runtime's headers, in a form that is checked in a microsecond."""

import re
from collections.abc import Callable

from botocore.model import OperationModel, Shape

from polyport.aws import patterns, service, validate
from polyport.gateway import faults
from polyport.gateway.clients.request import API_PREFIX, MAX_HEAD, Request

OPERATIONS = {b"invocations": "InvokeEndpoint", b"invocations-response-stream": "InvokeEndpointWithResponseStream"}


class Member:
    """One member of an operation's input that travels in a header."""

    __slots__ = ("least", "matches", "most", "name")

    def __init__(self, name: str, shape: Shape) -> None:
        self.name = name
        self.least: int = shape.metadata.get("min", 0)
        self.most: int = shape.metadata.get("max", MAX_HEAD)
        self.matches = _matcher(shape.metadata.get("pattern"))

    def holds(self, value: bytes) -> bool:
        """Whether the value keeps the constraints."""
        return self.least <= len(value) <= self.most and bool(self.matches(value))


class Operation:
    """One operation: its members by the lower-case name of their header."""

    __slots__ = ("_common", "_model", "accept", "is_stream", "members")

    def __init__(self, model: OperationModel) -> None:
        self._model = model
        self.is_stream: bool = model.has_event_stream_output
        self.members = {
            shape.serialization["name"].lower().encode(): Member(name, shape)
            for name, shape in model.input_shape.members.items()
            if shape.serialization.get("location") == "header"
        }
        #: Those in headers that HTTP itself knows.
        self._common = [pair for pair in self.members.items() if not pair[0].startswith(API_PREFIX)]
        #: The header in which the client says what it accepts.
        self.accept = next(header for header, member in self.members.items() if member.name == "Accept")

    def fits(self, request: Request) -> bool:
        """Whether the request keeps the constraints. A yes is certain."""
        # Written out for the two that most requests have.
        members, fields = self.members, request.fields
        for header, member in self._common:
            value = fields.get(header)
            if value is not None and not (member.least <= len(value) <= member.most and member.matches(value)):
                return False
        return not request.members or all(
            members[header].holds(value) for header, value in request.members.items() if header in members
        )

    def check(self, name: str, request: Request) -> None:
        """Raises `ApiError` that tells all constraints of the model which are broken. ``name``: the endpoint's."""
        values: dict[str, object] = {"EndpointName": name, "Body": b""}
        for header, value in (*request.fields.items(), *request.members.items()):
            member = self.members.get(header)
            if member is not None:
                values[member.name] = value.decode("latin-1")
        found = validate.violations(self._model.input_shape, values)
        if found:
            raise faults.invalid(validate.message(found))


def load() -> dict[bytes, Operation]:
    """The operations that a gateway serves, by the last part of their path. Reads botocore's model."""
    runtime = service.load("sagemaker-runtime")
    operations = {}
    for path, name in OPERATIONS.items():
        model = runtime.operation(name)
        assert model is not None, "the operations are the model's"
        operations[path] = Operation(model)
    return operations


def _matcher(pattern: str | None) -> Callable[[bytes], object]:
    if pattern is None:
        return lambda _: True
    if pattern == r"\p{ASCII}*":
        return bytes.isascii
    return re.compile(patterns.translate(pattern).encode()).fullmatch
