"""The condition keys that Polyport knows. Their case does not matter; ``/*`` stands for a tag's key."""

import difflib
import enum
from typing import NamedTuple


class Type(enum.Enum):
    """What a key's or an operator's values are; the text is for people."""

    STRING = "a string"
    NUMERIC = "a number"
    DATE = "a date"
    BOOL = "a boolean"
    BINARY = "binary"
    IP = "an IP address"
    ARN = "an ARN"
    NULL = "absent or not"


class Key(NamedTuple):
    """A condition key as documented, the type of its values, and whether a request may have several."""

    name: str
    type: Type
    is_list: bool = False


_KNOWN = (
    Key("sagemaker:TargetContainerHostname", Type.STRING),
    Key("sagemaker:TargetModel", Type.STRING),
    Key("sagemaker:InstanceTypes", Type.STRING, is_list=True),
    Key("sagemaker:ModelArn", Type.ARN, is_list=True),
    Key("sagemaker:VolumeKmsKey", Type.ARN),
    Key("sagemaker:NetworkIsolation", Type.BOOL),
    Key("sagemaker:VpcSubnets", Type.STRING, is_list=True),
    Key("sagemaker:VpcSecurityGroupIds", Type.STRING, is_list=True),
    Key("sagemaker:ServerlessMaxConcurrency", Type.NUMERIC),
    Key("sagemaker:ServerlessMemorySize", Type.NUMERIC),
    Key("sagemaker:TaggingAction", Type.STRING),
    Key("aws:TagKeys", Type.STRING, is_list=True),
    Key("aws:SourceIp", Type.IP),
    Key("aws:SecureTransport", Type.BOOL),
    Key("aws:CurrentTime", Type.DATE),
    Key("aws:EpochTime", Type.DATE),
    Key("aws:username", Type.STRING),
    Key("aws:userid", Type.STRING),
    Key("aws:PrincipalArn", Type.ARN),
    Key("aws:PrincipalAccount", Type.STRING),
    Key("aws:PrincipalType", Type.STRING),
    Key("aws:RequestedRegion", Type.STRING),
    Key("aws:ResourceAccount", Type.STRING),
    Key("aws:UserAgent", Type.STRING),
    Key("aws:TokenIssueTime", Type.DATE),
    Key("iam:PassedToService", Type.STRING),
    Key("sts:ExternalId", Type.STRING),
    Key("sts:RoleSessionName", Type.STRING),
)
_WITH_TAG = (
    Key("sagemaker:ResourceTag/", Type.STRING),
    Key("aws:ResourceTag/", Type.STRING),
    Key("aws:RequestTag/", Type.STRING),
)
_BY_NAME = {key.name.lower(): key for key in _KNOWN}
_BY_PREFIX = {key.name.lower(): key for key in _WITH_TAG}


def known() -> tuple[Key, ...]:
    """All of them; names that end in ``/`` are followed by a tag's key."""
    return (*_KNOWN, *_WITH_TAG)


def find(name: str) -> Key | None:
    """The key of that name, written in any case; None for one that is not known."""
    lowered = name.lower()
    prefix, slash, tag = lowered.partition("/")
    if slash:
        return _BY_PREFIX.get(prefix + slash) if tag else None
    return _BY_NAME.get(lowered)


def suggestion(name: str) -> str:
    """``; did you mean ...?`` where a known name is close, else nothing."""
    near = difflib.get_close_matches(name.lower()[:128], (*_BY_NAME, *_BY_PREFIX), n=1)
    if not near:
        return ""
    key = _BY_NAME.get(near[0]) or _BY_PREFIX[near[0]]
    return f"; did you mean {key.name}{'<tag key>' if near[0] in _BY_PREFIX else ''}?"
