"""Users with keys and policies, for tests of who may do what."""

import json
from typing import Any

from botocore.credentials import Credentials

from polyport.domain.access import AccessTable, Grantee, Key, PolicyText, PrincipalKind

ACCOUNT = "123456789012"
OTHER = "210987654321"
REGION = "us-east-1"
ALLOW_ALL = {"Effect": "Allow", "Action": "*", "Resource": "*"}


def allow(*resources: str, action: str = "sagemaker:InvokeEndpoint", **conditions: Any) -> dict[str, Any]:
    """A statement."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": action, "Resource": list(resources) or "*"}
    return statement | ({"Condition": conditions} if conditions else {})


def deny(*resources: str, action: str = "sagemaker:InvokeEndpoint", **conditions: Any) -> dict[str, Any]:
    """A statement."""
    return allow(*resources, action=action, **conditions) | {"Effect": "Deny"}


def policy(*statements: dict[str, Any], name: str = "policy") -> PolicyText:
    """A document."""
    return PolicyText(name, json.dumps({"Version": "2012-10-17", "Statement": list(statements)}))


def arn(name: str, kind: str = "endpoint", account: str = ACCOUNT, region: str = REGION) -> str:
    """Of an endpoint, or of another resource."""
    return f"arn:aws:sagemaker:{region}:{account}:{kind}/{name}"


class User:
    """A user with a key, and what it may do."""

    def __init__(
        self, name: str, *statements: dict[str, Any], account: str = ACCOUNT, expires_at: float | None = None
    ) -> None:
        self.name = name
        self.account = account
        self.key = Key(f"AKIA{name.upper()}", f"secret of {name}", account, name, expires_at)
        texts = (policy(*statements),) if statements else ()
        self.grantee = Grantee(account, PrincipalKind.USER, name, f"AIDA{name.upper()}", texts)

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.key.id, self.key.secret)


def table(*users: User, **fields: Any) -> AccessTable:
    """Those and nobody else."""
    return AccessTable(
        is_open=False,
        account=ACCOUNT,
        keys=tuple(user.key for user in users),
        grantees=(*(user.grantee for user in users), *fields.pop("roles", ())),
        **fields,
    )
