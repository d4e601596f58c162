"""Which permissions a call needs: IAM actions on resources, with what conditions may ask for. Pure.

Taken from the request as it was read, before its members were validated: who may not call is not told what is wrong.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from polyport.access.authority import PASS_ROLE
from polyport.aws.dispatch import CONTROL_PLANE
from polyport.domain import alarms, names
from polyport.domain.names import Owner

Keys = dict[str, str | tuple[str, ...]]
"""Values of condition keys, by their lower-case name."""

Request = Mapping[str, Any]

ANY = "*"
#: CloudWatch's signing name.
MONITORING = "monitoring"
LOGS = "logs"
_OF_ALARM_TAGS = frozenset({"TagResource", "UntagResource", "ListTagsForResource"})
#: Which member names the resource, and of which kind it is, by what follows the verb in an operation's name.
_NAMED = {
    "Model": ("ModelName", "model"),
    "EndpointConfig": ("EndpointConfigName", "endpoint-config"),
    "Endpoint": ("EndpointName", "endpoint"),
    "EndpointWeightsAndCapacities": ("EndpointName", "endpoint"),
    "EndpointPolicy": ("EndpointName", "endpoint"),
}
_VERBS = ("Create", "Describe", "Update", "Delete", "Put", "Get")
#: Those that work on what is there already, whose tags conditions may ask for.
_TAGGED = ("Describe", "Update", "Delete", "Put", "Get", "Add", "List")


class Need(msgspec.Struct, frozen=True):
    """One permission. ``is_there``: the resource exists before the call, and may have tags."""

    action: str
    resource: str
    keys: Keys = {}
    is_there: bool = True


def needed(service: str, operation: str, owner: Owner, request: Request) -> tuple[Need, ...]:
    """All of them must be granted. None at all: whoever is known may call."""
    if service == MONITORING:
        return _of_monitoring(operation, owner, request)
    if service == LOGS:
        return _of_logs(operation, owner, request)
    if service != CONTROL_PLANE:
        return ()
    find = _SPECIAL.get(operation, _usual)
    return find(operation, owner, request)


def _of_monitoring(operation: str, owner: Owner, request: Request) -> tuple[Need, ...]:
    """``cloudwatch:Operation`` on everything; for tags on the alarm, also for those that a new alarm is given."""
    if operation in _OF_ALARM_TAGS:
        return (Need(f"cloudwatch:{operation}", request.get("ResourceARN", ""), _given_tags(request), is_there=False),)
    needs = [Need(f"cloudwatch:{operation}", ANY, is_there=False)]
    if request.get("Tags"):
        alarm = alarms.arn(owner, request.get("AlarmName", ""))
        needs.append(Need("cloudwatch:TagResource", alarm, _given_tags(request), is_there=False))
    return tuple(needs)


def _of_logs(operation: str, owner: Owner, request: Request) -> tuple[Need, ...]:
    """``logs:Operation`` on the groups, or on the stream, that the request names: what policies end in ``:*`` for."""
    given = request.get("logGroupIdentifiers") or [request.get("logGroupName") or request.get("logGroupIdentifier")]
    stream = request.get("logStreamName", "")
    prefix = f"arn:{names.partition(owner.region)}:logs:{owner.region}:{owner.account}:log-group:"
    arns = [group.removesuffix(":*") if group.startswith("arn:") else prefix + group for group in map(_or_empty, given)]
    return tuple(Need(f"logs:{operation}", f"{arn}:log-stream:{stream}", is_there=False) for arn in arns)


def _or_empty(value: str | None) -> str:
    return value or ""


def _usual(operation: str, owner: Owner, request: Request) -> tuple[Need, ...]:
    """``sagemaker:Operation`` on what the request names; lists are on everything."""
    return (Need(f"sagemaker:{operation}", _resource(operation, owner, request), is_there=_is_there(operation)),)


def _create(operation: str, owner: Owner, request: Request) -> tuple[Need, ...]:
    """Tags given on creation are conditions of the creation, and a permission of their own."""
    resource = _resource(operation, owner, request)
    keys = {**_tag_keys(request), **_definition_keys(owner, request)}
    needs = [Need(f"sagemaker:{operation}", resource, keys, is_there=False)]
    if request.get("Tags"):
        tagging: Keys = {**_tag_keys(request), "sagemaker:taggingaction": operation}
        needs.append(Need("sagemaker:AddTags", resource, tagging, is_there=False))
    if role := request.get("ExecutionRoleArn"):
        needs.append(Need(PASS_ROLE, role, {"iam:passedtoservice": "sagemaker.amazonaws.com"}, is_there=False))
    return tuple(needs)


def _with_config(operation: str, owner: Owner, request: Request) -> tuple[Need, ...]:
    """An endpoint is made of a configuration, which the caller must be allowed to use for that."""
    find = _create if operation.startswith("Create") else _usual
    config = names.arn(owner, "endpoint-config", request.get("EndpointConfigName", ""))
    return (*find(operation, owner, request), Need(f"sagemaker:{operation}", config))


def _tagging(operation: str, _: Owner, request: Request) -> tuple[Need, ...]:
    prefix, slash, name = request.get("ResourceArn", "").rpartition("/")
    return (Need(f"sagemaker:{operation}", f"{prefix}{slash}{name.lower()}", _given_tags(request)),)


_SPECIAL: dict[str, Callable[[str, Owner, Request], tuple[Need, ...]]] = {
    "CreateModel": _create,
    "CreateEndpointConfig": _create,
    "CreateEndpoint": _with_config,
    "UpdateEndpoint": _with_config,
    "AddTags": _tagging,
    "ListTags": _tagging,
    "DeleteTags": _tagging,
}


def _resource(operation: str, owner: Owner, request: Request) -> str:
    for verb in _VERBS:
        named = _NAMED.get(operation.removeprefix(verb))
        if named is not None:
            member, kind = named
            return names.arn(owner, kind, request.get(member, ""))
    return ANY


def _is_there(operation: str) -> bool:
    return operation.startswith(_TAGGED)


def _given_tags(request: Request) -> Keys:
    if "TagKeys" in request:
        return {"aws:tagkeys": tuple(filter(None, request["TagKeys"]))}
    return _tag_keys(request)


def _tag_keys(request: Request) -> Keys:
    tags = {tag.get("Key", ""): tag.get("Value", "") for tag in filter(None, request.get("Tags", ()))}
    keys: Keys = {f"aws:requesttag/{key.lower()}": value for key, value in tags.items()}
    if tags:
        keys["aws:tagkeys"] = tuple(tags)
    return keys


def _definition_keys(owner: Owner, request: Request) -> Keys:
    """What conditions may ask of a model or a configuration."""
    keys: Keys = {}
    members = ("ProductionVariants", "ShadowProductionVariants")
    variants = [variant for member in members for variant in request.get(member, ()) if variant]
    types = [variant["InstanceType"] for variant in variants if "InstanceType" in variant]
    models = [names.arn(owner, "model", variant["ModelName"]) for variant in variants if "ModelName" in variant]
    _add(keys, "sagemaker:instancetypes", tuple(types))
    _add(keys, "sagemaker:modelarn", tuple(models))
    _add(keys, "sagemaker:volumekmskey", request.get("KmsKeyId", ""))
    if "EnableNetworkIsolation" in request:
        keys["sagemaker:networkisolation"] = str(request["EnableNetworkIsolation"]).lower()
    network = request.get("VpcConfig", {})
    _add(keys, "sagemaker:vpcsubnets", tuple(filter(None, network.get("Subnets", ()))))
    _add(keys, "sagemaker:vpcsecuritygroupids", tuple(filter(None, network.get("SecurityGroupIds", ()))))
    return keys


def _add(keys: Keys, name: str, value: str | tuple[str, ...]) -> None:
    if value:
        keys[name] = value
