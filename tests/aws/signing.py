"""Requests as botocore signs and sends them, and a verifier put together as `polyport.aws.sigv4` says."""

import hashlib
from collections.abc import Iterator
from datetime import datetime
from typing import Any, NamedTuple

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest, create_request_object, prepare_request_dict
from botocore.credentials import Credentials
from botocore.model import OperationModel
from botocore.serialize import create_serializer
from hypothesis import strategies as st

from aws.shapes import EPOCH
from polyport.aws import claims, service, sigv4
from polyport.errors import ApiError

NOW = datetime(2026, 1, 2, 12, 30, 15)  # noqa: DTZ001  # botocore's clock is naive UTC
SECONDS = (NOW - EPOCH.replace(tzinfo=None)).total_seconds()
Headers = list[tuple[bytes, bytes]]


class Sent(NamedTuple):
    """A request on the wire."""

    method: bytes
    target: bytes
    headers: Headers
    body: bytes

    def without(self, *names: bytes) -> "Sent":
        return self._replace(headers=[(name, value) for name, value in self.headers if name.lower() not in names])

    def plus(self, *headers: tuple[bytes, bytes]) -> "Sent":
        return self._replace(headers=[*self.headers, *headers])


class Caller(NamedTuple):
    """Who signs, and for which region and service; where the client is pointed."""

    access_key: str
    secret: str
    token: str | None
    region: str
    service: str
    endpoint: str


class _Clock:
    """botocore's `get_current_datetime`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = NOW
        monkeypatch.setattr(auth, "get_current_datetime", lambda *_: self.now)


def stop_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """botocore signs at `NOW` from here on."""
    _Clock(monkeypatch)


def callers(signing_name: str) -> st.SearchStrategy[Caller]:
    """With and without session, in any region, at any port."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
    base64 = letters + letters.lower() + "0189+/="
    endpoints = st.tuples(
        st.sampled_from(["http", "https"]),
        st.sampled_from(["127.0.0.1", "[::1]", "polyport.example.com", "localhost"]),
        st.sampled_from(["", ":7070", ":443", ":80", ":65535"]),
    )
    return st.builds(
        Caller,
        st.text(letters, min_size=16, max_size=20),
        st.text(base64, min_size=1, max_size=64),
        st.none() | st.text(base64, min_size=1, max_size=300),
        st.sampled_from(["us-east-1", "eu-west-1", "cn-north-1", "us-gov-west-1", "eusc-de-east-1", "local"]),
        st.just(signing_name),
        endpoints.map(lambda parts: f"{parts[0]}://{parts[1]}{parts[2]}"),
    )


def described(name: str, operation: str) -> OperationModel:
    """An operation of a service."""
    found = service.load(name).operation(operation)
    assert found is not None
    return found


def serialized(described: OperationModel, arguments: dict[str, Any], caller: Caller) -> AWSRequest:
    """An unsigned request as botocore makes it of a call."""
    protocol = described.service_model.metadata["protocol"]
    parts = create_serializer(protocol).serialize_to_request(arguments, described)
    prepare_request_dict(parts, caller.endpoint, context={}, user_agent="Boto3/1 md/Botocore")
    return create_request_object(parts)


def sign(request: AWSRequest, caller: Caller, signer: type[auth.SigV4Auth] = auth.SigV4Auth) -> Sent:
    """Sign it, and send it: what urllib3 and the retry handler add included."""
    credentials = Credentials(caller.access_key, caller.secret, caller.token)
    signer(credentials, caller.service, caller.region).add_auth(request)
    return sent(request)


def sent(request: AWSRequest) -> Sent:
    """As it goes over the wire."""
    prepared = request.prepare()
    rest = prepared.url.partition("://")[2]
    path = rest[rest.index("/") :] if "/" in rest.partition("?")[0] else "/" + rest[len(rest.partition("?")[0]) :]
    body = prepared.body or b""
    headers = [(b"Host", auth._host_from_url(prepared.url).encode()), (b"Accept-Encoding", b"identity")]
    # A prepared request forgets repeated headers.
    for name, value in request.headers.items():
        headers.append((name.encode(), value if isinstance(value, bytes) else str(value).encode()))
    headers.append((b"Content-Length", b"%d" % len(body)))
    headers += [(b"amz-sdk-request", b"attempt=1"), (b"X-Amzn-Trace-Id", b"Root=1-5759e988-bd862e3fe1be46a994272793")]
    return Sent(prepared.method.encode(), path.encode(), headers, body.encode() if isinstance(body, str) else body)


def verify(request: Sent, secrets: dict[str, str], service: str, now: float = SECONDS) -> bool:
    """Whether a request is signed by one of those whose ``secrets`` are known by access key."""
    try:
        claim = claims.parse(request.target, request.headers)
        if claim is None:
            return False
        sigv4.check(claim, now, service)
        secret = secrets.get(claim.credential.access_key)
        if secret is None:
            return False
        payload = sigv4.payload_hash(claim, hashlib.sha256(request.body).hexdigest().encode(), secure=False)
    except ApiError:
        return False
    canonical = sigv4.canonical_request(claim, request.method, request.target, payload)
    return sigv4.matches(claim, canonical, sigv4.signing_key(secret, claim.credential))


def mutations(request: Sent) -> Iterator[tuple[str, Sent]]:
    """The request with one byte changed, for every byte that the signature must cover: where, and the request."""
    for at, changed in _changed(request.method):
        yield f"method {at}", request._replace(method=changed)
    for at, changed in _changed(request.target):
        yield f"target {at}", request._replace(target=changed)
    for at, changed in _changed(request.body):
        yield f"body {at}", request._replace(body=changed)
    yield "longer body", request._replace(body=request.body + b"x")
    claim = claims.parse(request.target, request.headers)
    assert claim is not None
    for index, (name, value) in enumerate(request.headers):
        if name.lower() not in claim.terms.names and name != b"Authorization":
            continue
        for at, changed in _changed(value):
            yield f"{name!r} {at}", _with_header(request, index, (name, changed))
        for at, changed in _changed(name):
            yield f"name {name!r} {at}", _with_header(request, index, (changed, value))
        yield f"without {name!r}", request._replace(headers=request.headers[:index] + request.headers[index + 1 :])
        yield f"{name!r} twice", request.plus((name.lower(), value))


def _with_header(request: Sent, index: int, header: tuple[bytes, bytes]) -> Sent:
    headers = list(request.headers)
    headers[index] = header
    return request._replace(headers=headers)


def _changed(value: bytes) -> Iterator[tuple[int, bytes]]:
    """Each byte in turn with its lowest bit turned, which leaves nothing equal to what it was: no blank for a blank,
    no letter in the other case."""
    for at, byte in enumerate(value):
        yield at, value[:at] + bytes([byte ^ 1]) + value[at + 1 :]
