"""Decides where a call goes: a pure function of the request, the table and a draw."""

from collections.abc import Mapping

from polyport.errors import ApiError
from polyport.gateway import faults
from polyport.gateway.calls import headers, sessions
from polyport.gateway.calls.members import Operation
from polyport.gateway.clients.request import Fields, Request
from polyport.gateway.containers import choice, routes
from polyport.gateway.containers.choice import Draw, Time

ASYNC = b"async-invocations"
DIRECT = "Direct"
_CONTAINER = b"x-amzn-sagemaker-target-container-hostname"
_VARIANT = b"x-amzn-sagemaker-target-variant"
_MODEL = b"x-amzn-sagemaker-target-model"
_COMPONENT = b"x-amzn-sagemaker-inference-component"


Call = tuple[routes.Endpoint, routes.Variant, routes.Instance, tuple[int, ...], bytes, bool]
"""A call that was found to be in order: endpoint, variant, instance, the places of its containers in the instance (in
order), what it accepts, and whether it wants a stream. A plain tuple: one is made for every call."""


def plan(
    request: Request,
    index: routes.Index,
    owner: tuple[str, str],
    operations: Mapping[bytes, Operation],
    draw: Draw,
    time: Time,
) -> Call:
    """The way of a call. ``draw`` chooses variant and instance. Raises `ApiError`."""
    found = index.find(owner, request.target)
    if found is None or request.method != b"POST":
        found = _resolve(request, index, owner, operations)
    endpoint, path = found
    operation = operations[path]
    known = request.known
    if known is None or known.keeps is not operation:
        if not operation.fits(request):
            operation.check(endpoint.name, request)
        if known is not None:
            known.keeps = operation
    members = request.members
    if members:
        _refuse_others(operation, endpoint.name, members)
    held = _held(endpoint, members) if headers.SESSION in members else None
    variant = held[0] if held else _variant(endpoint, members, draw)
    stages = variant.all_stages if not members and variant.mode != DIRECT else _stages(endpoint, variant, members)
    instance = held[1] if held else choice.choose_instance(variant, draw, time, None)
    if instance is None:
        raise faults.no_capacity(endpoint.name, variant.name)
    accept = (members if operation.is_stream else request.fields).get(operation.accept) or headers.DEFAULT_ACCEPT
    return endpoint, variant, instance, stages, accept, operation.is_stream


def copy_stages(variant: routes.Variant, members: Fields) -> tuple[int, ...]:
    """The places of the containers that a copy of a call goes to in a shadow variant; none if it has no container of
    the name that the call asks for. What is not invoked by name gets the copy whatever the call names."""
    if variant.mode != DIRECT:
        return variant.all_stages
    return variant.stages.get(members.get(_CONTAINER, b""), ())


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
    # By its ARN, an endpoint of any account.
    operations[path].check(name.rpartition("/")[2] if routes.parse_arn(name) else name, request)
    endpoint = index.endpoint(owner, name)
    if endpoint is None:
        raise _missing(index, owner, name)
    return endpoint, path


def _missing(index: routes.Index, owner: tuple[str, str], name: str) -> ApiError:
    status = index.status(owner, name)
    return faults.not_in_service(name, owner[0], status) if status else faults.no_endpoint(name, owner[0])


def _refuse_others(operation: Operation, name: str, members: Fields) -> None:
    """What is for kinds of endpoints that there are none of."""
    if _MODEL in members and _MODEL in operation.members:
        raise faults.model_not_supported(name)
    if _COMPONENT in members:
        raise faults.component_not_allowed()


def _held(endpoint: routes.Endpoint, members: Fields) -> tuple[routes.Variant, routes.Instance] | None:
    """Where the session is that a call belongs to. ``None``: it wants a new one, or says an id that no container here
    gave it, and which only a container can judge."""
    session, wanted = members[headers.SESSION], members.get(_VARIANT)
    mark = sessions.split(session)[1]
    if not mark:
        return None
    for variant in endpoint.variants:
        if wanted is None or variant.name.encode() == wanted:
            for instance in variant.instances:
                if instance.mark == mark:
                    return variant, instance
    raise faults.no_session(endpoint.name, session.decode("latin-1"))


def _variant(endpoint: routes.Endpoint, members: Fields, draw: Draw) -> routes.Variant:
    wanted = members.get(_VARIANT)
    if wanted is None:
        variant = choice.choose_variant(endpoint.shares, draw)
        if variant is None:
            raise faults.no_capacity(endpoint.name, "")
        return variant
    shares = endpoint.named.get(wanted)
    variant = choice.choose_variant(shares, draw) if shares is not None else None
    if variant is None:
        known = list(dict.fromkeys(variant.name for variant in endpoint.variants))
        raise faults.no_variant(endpoint.name, wanted.decode("latin-1"), known)
    return variant


def _stages(endpoint: routes.Endpoint, variant: routes.Variant, members: Fields) -> tuple[int, ...]:
    wanted = members.get(_CONTAINER)
    if variant.mode != DIRECT:
        if wanted is not None:
            raise faults.target_not_supported(endpoint.name, variant.mode)
        return variant.all_stages
    if wanted is None:
        raise faults.target_missing(endpoint.name, list(variant.hostnames))
    stages = variant.stages.get(wanted)
    if stages is None:
        raise faults.target_unknown(endpoint.name, wanted.decode("latin-1"), list(variant.hostnames))
    return stages
