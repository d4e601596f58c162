"""Policies, callers and requests in few words."""

import json
from typing import Any

from polyport.aws.policy import compiled, document, evaluate
from polyport.aws.policy.document import Kind
from polyport.aws.policy.principals import Principal, PrincipalKind

OWN, OTHER = "111111111111", "222222222222"
ENDPOINT = f"arn:aws:sagemaker:eu-west-1:{OWN}:endpoint/team-a-main"
INVOKE = "sagemaker:InvokeEndpoint"
ROLE_ARN = f"arn:aws:iam::{OWN}:role/teams/caller"

USER = Principal(PrincipalKind.USER, OWN, f"arn:aws:iam::{OWN}:user/ann")
SESSION = Principal(PrincipalKind.ROLE_SESSION, OWN, f"arn:aws:sts::{OWN}:assumed-role/caller/s1", ROLE_ARN)
ROOT = Principal(PrincipalKind.ROOT, OWN, f"arn:aws:iam::{OWN}:root")
STRANGER = Principal(PrincipalKind.USER, OTHER, f"arn:aws:iam::{OTHER}:user/eve")
OTHER_ROOT = Principal(PrincipalKind.ROOT, OTHER, f"arn:aws:iam::{OTHER}:root")
SERVICE = Principal(PrincipalKind.SERVICE, service="sagemaker.amazonaws.com")


def statement(effect: str, **elements: Any) -> dict[str, Any]:
    """A statement; what is not given stays away."""
    return {"Effect": effect, **elements}


def allow(action: Any = INVOKE, resource: Any = "*", **elements: Any) -> dict[str, Any]:
    """For an identity or a session policy."""
    return statement("Allow", Action=action, Resource=resource, **elements)


def deny(action: Any = INVOKE, resource: Any = "*", **elements: Any) -> dict[str, Any]:
    """For an identity or a session policy."""
    return statement("Deny", Action=action, Resource=resource, **elements)


def text(*statements: dict[str, Any], version: str = "2012-10-17") -> str:
    """A document."""
    return json.dumps({"Version": version, "Statement": list(statements)})


def policies(*statements: dict[str, Any], kind: Kind = Kind.IDENTITY, version: str = "2012-10-17") -> compiled.Policies:
    """One policy named ``p``, ready for deciding; without statements none is attached."""
    if not statements:
        return compiled.compile([])
    return compiled.compile([("p", document.parse(text(*statements, version=version), kind))])


def request(action: str = INVOKE, resource: str = ENDPOINT, context: dict[str, Any] | None = None) -> evaluate.Request:
    """A call to the endpoint."""
    return evaluate.Request(action, resource, context or {})


def decided(identity: compiled.Policies, **parts: Any) -> evaluate.Decision:
    """What is decided for the user in the endpoint's account."""
    return evaluate.decide(request(**parts), USER, identity, None, None, OWN)
