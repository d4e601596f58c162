"""Requests that are signed as botocore signs them, on the wire."""

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from support.people import REGION, User

HOST = "polyport.example:7070"


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
