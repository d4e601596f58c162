"""The protocols that operations can be served in: how a request becomes members, and an answer bytes."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec
from botocore.model import OperationModel

from polyport.aws import cbor, dispatch, parse, query, render
from polyport.aws.dispatch import Call
from polyport.aws.wire import Head, Response

Parse = Callable[[OperationModel, Head, bytes], dict[str, Any]]
"""The members of a request (head and body). Raises `ApiError`."""

Render = Callable[[OperationModel, Mapping[str, Any] | None, str, Call], Response]
"""The answer of an operation: model, members, request id, and the call that it answers."""


class Protocol(msgspec.Struct, frozen=True):
    """A protocol's way in and way out, and the HTTP methods that its calls come with."""

    methods: frozenset[str]
    parse: Parse
    render: Render


def _parse_json(operation: OperationModel, _: Head, body: bytes) -> dict[str, Any]:
    return parse.parse_json(operation, body)


def _render_json(operation: OperationModel, answer: Mapping[str, Any] | None, request_id: str, call: Call) -> Response:
    return render.render_json(operation, answer, request_id, call.json_version)


def _parse_query(operation: OperationModel, head: Head, body: bytes) -> dict[str, Any]:
    return query.parse_query(operation, query.parameters(head, body))


def _render_query(operation: OperationModel, answer: Mapping[str, Any] | None, request_id: str, _: Call) -> Response:
    return query.render_query(operation, answer, request_id)


def _parse_cbor(operation: OperationModel, _: Head, body: bytes) -> dict[str, Any]:
    return cbor.parse_cbor(operation, body)


def _render_cbor(operation: OperationModel, answer: Mapping[str, Any] | None, request_id: str, _: Call) -> Response:
    return cbor.render_cbor(operation, answer, request_id)


#: By botocore's name. A pre-signed query call is a GET.
PROTOCOLS = {
    "json": Protocol(frozenset({"POST"}), _parse_json, _render_json),
    "smithy-rpc-v2-cbor": Protocol(frozenset({"POST"}), _parse_cbor, _render_cbor),
    "query": Protocol(frozenset({"GET", "POST"}), _parse_query, _render_query),
}


def of(call: Call, head: Head) -> Protocol | None:
    """The protocol of a call; ``None`` when its service does not speak it, it is not served, or not by that method."""
    known = dispatch.known_service(call.service)
    protocol = PROTOCOLS.get(call.protocol)
    if known is None or protocol is None or call.protocol not in known.protocols or head.method not in protocol.methods:
        return None
    return protocol
