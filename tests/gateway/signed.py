"""A world with keys, and requests that are signed as botocore signs them."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from gateway.fakes import ACCOUNT, REGION
from polyport.domain.access import AccessTable, Grantee, Key, PolicyText, PrincipalKind

OTHER = "210987654321"
HOST = "polyport.example:7070"
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


def arn(name: str, account: str = ACCOUNT, region: str = REGION) -> str:
    """Of an endpoint."""
    return f"arn:aws:sagemaker:{region}:{account}:endpoint/{name}"


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


def signed(
    user: User | Credentials,
    name: str = "single",
    body: bytes = b"{}",
    *,
    path: str | None = None,
    region: str = REGION,
    service: str = "sagemaker",
    at: float | None = None,
    sent: bytes | None = None,
    after: Iterable[tuple[str, str]] = (),
    presigned: bool = False,
    operation: str = "invocations",
    **headers: str,
) -> bytes:
    """A signed invocation on the wire. ``sent``: another body than the one that was signed; ``after``: headers that are
    added later; ``at``: epoch seconds of the signature."""
    credentials = user.credentials if isinstance(user, User) else user
    path = path or f"/endpoints/{name}/{operation}"
    plain = {key.replace("_", "-"): value for key, value in headers.items()}
    request = AWSRequest(method="POST", url=f"http://{HOST}{path}", headers={"Host": HOST, **plain}, data=body)
    auth = (SigV4QueryAuth if presigned else SigV4Auth)(credentials, service, region)
    if at is None:
        auth.add_auth(request)
    else:
        _sign_at(auth, request, at)
    target = request.url.partition(HOST)[2]
    wire = sent if sent is not None else body
    lines = [f"POST {target} HTTP/1.1", *(f"{key}: {value}" for key, value in request.headers.items())]
    lines += [f"{key}: {value}" for key, value in after]
    return "\r\n".join([*lines, f"Content-Length: {len(wire)}", "", ""]).encode("latin-1") + wire


def _sign_at(auth: Any, request: AWSRequest, at: float) -> None:
    """botocore signs at its own clock's time."""
    from botocore import auth as module

    before = module.get_current_datetime
    module.get_current_datetime = lambda *_: datetime.fromtimestamp(at, UTC).replace(tzinfo=None)
    try:
        auth.add_auth(request)
    finally:
        module.get_current_datetime = before
