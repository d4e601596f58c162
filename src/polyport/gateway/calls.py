"""Decides where a call goes: a pure function of the request, the table and a draw."""

from collections.abc import Mapping
from typing import NamedTuple

from polyport.errors import ApiError
from polyport.gateway import faults, headers, routes
from polyport.gateway.members import Operation
from polyport.gateway.request import Request

STREAM = b"invocations-response-stream"
ASYNC = b"async-invocations"
_CONTAINER = b"x-amzn-sagemaker-target-container-hostname"
_VARIANT = b"x-amzn-sagemaker-target-variant"
_MODEL = b"x-amzn-sagemaker-target-model"
_COMPONENT = b"x-amzn-sagemaker-inference-component"


class Call(NamedTuple):
    """A call that was found to be in order. ``stages``: the places of its containers in the instance, in order."""

    endpoint: routes.Endpoint
    variant: routes.Variant
    instance: routes.Instance
    stages: tuple[int, ...]
    accept: bytes
    is_stream: bool


def plan(
    request: Request,
    index: routes.Index,
    owner: tuple[str, str],
    operations: Mapping[bytes, Operation],
    draws: tuple[float, float],
    now: float,
) -> Call:
    """The way of a call. ``draws`` (in [0, 1)) choose the variant and the instance. Raises `ApiError`."""
    fields = request.fields
    found = index.find(owner, request.target)
    if found is None or request.method != b"POST":
        found = _resolve(request, index, owner, operations)
    endpoint, path = found
    operation = operations[path]
    _check(operation, endpoint.name, fields)
    variant = _variant(endpoint, fields, draws[0])
    stages = _stages(endpoint, variant, fields)
    instance = routes.choose_instance(variant, draws[1], now, None)
    if instance is None:
        raise faults.no_capacity(endpoint.name, variant.name)
    accept = fields.get(operation.accept) or headers.DEFAULT_ACCEPT
    return Call(endpoint, variant, instance, stages, accept, path is STREAM or path == STREAM)


def _resolve(
    request: Request, index: routes.Index, owner: tuple[str, str], operations: Mapping[bytes, Operation]
) -> tuple[routes.Endpoint, bytes]:
    """A target that is not written in the usual way, or names what is not there."""
    parsed = routes.parse_target(request.target)
    if parsed is None or request.method != b"POST" or parsed[1] not in (*operations, ASYNC):
        raise faults.no_operation(request.method, request.target)
    name, path = parsed
    if path == ASYNC:
        raise faults.no_async()
    operations[path].check(name, request.fields)
    endpoint = index.endpoint(owner, name)
    if endpoint is None:
        raise _missing(index, owner, name)
    return endpoint, path


def _missing(index: routes.Index, owner: tuple[str, str], name: str) -> ApiError:
    status = index.status(owner, name)
    return faults.not_in_service(name, owner[0], status) if status else faults.no_endpoint(name, owner[0])


def _check(operation: Operation, name: str, fields: Mapping[bytes, bytes]) -> None:
    members = operation.members
    for header, value in fields.items():
        member = members.get(header)
        if member is not None and not (member.least <= len(value) <= member.most and member.fits(value)):
            operation.check(name, fields)
    if _MODEL in fields and _MODEL in members:
        raise faults.model_not_supported(name)
    if _COMPONENT in fields:
        raise faults.component_not_allowed()


def _variant(endpoint: routes.Endpoint, fields: Mapping[bytes, bytes], draw: float) -> routes.Variant:
    wanted = fields.get(_VARIANT)
    if wanted is None:
        variant = routes.choose_variant(endpoint, draw)
        if variant is None:
            raise faults.no_capacity(endpoint.name, "")
        return variant
    name = wanted.decode("latin-1")
    for variant in endpoint.variants:
        if variant.name == name:
            return variant
    raise faults.no_variant(endpoint.name, name, [variant.name for variant in endpoint.variants])


def _stages(endpoint: routes.Endpoint, variant: routes.Variant, fields: Mapping[bytes, bytes]) -> tuple[int, ...]:
    wanted = fields.get(_CONTAINER)
    if variant.mode != "Direct":
        if wanted is not None:
            raise faults.target_not_supported(endpoint.name, variant.mode)
        return variant.all_stages
    if wanted is None:
        raise faults.target_missing(endpoint.name, list(variant.hostnames))
    stages = variant.stages.get(wanted)
    if stages is None:
        raise faults.target_unknown(endpoint.name, wanted.decode("latin-1"), list(variant.hostnames))
    return stages
