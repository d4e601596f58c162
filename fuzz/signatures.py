"""What botocore's own signer makes of a request: the judge of who signed what. It shares no code with Polyport's."""

import calendar
import hashlib
import re
import time
from types import SimpleNamespace
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from botocore.auth import SigV4Auth
from botocore.awsrequest import HTTPHeaders
from botocore.credentials import Credentials

_PIECE = re.compile(rb"[ \t]*(Credential|SignedHeaders|Signature)=([^,\s]*)[ \t]*")
_CREDENTIAL = re.compile(rb"([^,\s]+)/([0-9]{8})/([^/,\s]+)/([^/,\s]+)/aws4_request")
_HEX = re.compile(rb"[0-9a-f]{64}")
#: Seconds that clocks may differ.
SKEW = 300

Headers = list[tuple[bytes, bytes]]


class Statement(NamedTuple):
    """What a request says of its signature. ``expires``: seconds, of a pre-signed one."""

    key_id: str
    date: str
    region: str
    service: str
    signed: tuple[bytes, ...]
    signature: bytes
    timestamp: bytes
    expires: int | None


def statement(target: bytes, headers: Headers) -> Statement | None:
    """As plain as it can be read; ``None``: it says nothing that is certain."""
    fields = {name.lower(): value.strip() for name, value in headers}
    pairs = [pair.partition(b"=")[::2] for pair in target.partition(b"?")[2].split(b"&")]
    query = {name: unquote_to_bytes(value) for name, value in pairs}
    if b"authorization" in fields:
        stamp = fields.get(b"x-amz-date", fields.get(b"date", b""))
        return _statement(_pieces(fields[b"authorization"]), stamp, None)
    expires = query.get(b"X-Amz-Expires", b"")
    pieces = {
        b"Credential": query.get(b"X-Amz-Credential", b""),
        b"SignedHeaders": query.get(b"X-Amz-SignedHeaders", b""),
        b"Signature": query.get(b"X-Amz-Signature", b""),
    }
    return _statement(pieces, query.get(b"X-Amz-Date", b""), int(expires)) if expires.isdigit() else None


def canonical(method: bytes, target: bytes, headers: Headers, signed: tuple[bytes, ...], payload: bytes) -> bytes:
    """The canonical request, put together by botocore's signer."""
    signer = SigV4Auth(Credentials("a", "b"), "sagemaker", "us-east-1")
    path, _, query = target.partition(b"?")
    pairs = [pair for pair in query.split(b"&") if pair.partition(b"=")[0] != b"X-Amz-Signature"]
    chosen = HTTPHeaders()
    for name in signed:
        for key, value in headers:
            if key.lower() == name:
                chosen.add_header(name.decode("latin-1"), value.decode("latin-1"))
    rest = SimpleNamespace(query=b"&".join(pairs).decode("latin-1"))
    lines = (
        method.decode("latin-1"),
        signer._normalize_url_path(path.decode("latin-1")),
        signer._canonical_query_string_url(rest) if query else "",
        signer.canonical_headers(chosen) + "\n",
        signer.signed_headers(chosen),
        payload.decode("latin-1"),
    )
    return "\n".join(lines).encode("latin-1")


def signature(stated: Statement, canonical_request: bytes, secret: str) -> bytes:
    """What the signature should be."""
    signer = SigV4Auth(Credentials(stated.key_id, secret), stated.service, stated.region)
    request = SimpleNamespace(context={"timestamp": stated.timestamp.decode("latin-1")})
    text = signer.string_to_sign(request, canonical_request.decode("latin-1"))
    return bytes(signer.signature(text, request), "ascii")


def payload_hash(target: bytes, headers: Headers, body: bytes) -> bytes | None:
    """What stands for the body; ``None`` when the client says another hash than the body has."""
    true = hashlib.sha256(body).hexdigest().encode()
    said = [value.strip() for name, value in headers if name.lower() == b"x-amz-content-sha256"]
    for pair in target.partition(b"?")[2].split(b"&"):
        name, _, value = pair.partition(b"=")
        if name.lower() == b"x-amz-content-sha256":
            said.append(unquote_to_bytes(value))
    return true if all(one == true for one in said) else None


def is_signed(
    method: bytes, target: bytes, headers: Headers, body: bytes, secrets: dict[str, str], now: float
) -> str | None:
    """The key that a request was signed with, by the rules that AWS documents; ``None``: it is not."""
    stated = statement(target, headers)
    payload = payload_hash(target, headers, body)
    if stated is None or payload is None or stated.key_id not in secrets or stated.service != "sagemaker":
        return None
    try:
        at = calendar.timegm(time.strptime(stated.timestamp.decode("latin-1"), "%Y%m%dT%H%M%SZ"))
    except ValueError:
        return None
    if not at - SKEW <= now <= at + (SKEW if stated.expires is None else stated.expires):
        return None
    if not stated.timestamp.startswith(stated.date.encode()):
        return None
    made = canonical(method, target, headers, stated.signed, payload)
    return stated.key_id if signature(stated, made, secrets[stated.key_id]) == stated.signature else None


def _pieces(authorization: bytes) -> dict[bytes, bytes]:
    algorithm, _, rest = authorization.strip().replace(b"\t", b" ").partition(b" ")
    pieces: dict[bytes, bytes] = {}
    for piece in rest.split(b","):
        match = _PIECE.fullmatch(piece)
        if algorithm != b"AWS4-HMAC-SHA256" or match is None or match[1] in pieces:
            return {}
        pieces[match[1]] = match[2]
    return pieces


def _statement(pieces: dict[bytes, bytes], timestamp: bytes, expires: int | None) -> Statement | None:
    match = _CREDENTIAL.fullmatch(pieces.get(b"Credential", b""))
    signature = pieces.get(b"Signature", b"")
    if match is None or not _HEX.fullmatch(signature):
        return None
    key_id, date, region, service = (part.decode("latin-1") for part in match.groups())
    signed = tuple(pieces.get(b"SignedHeaders", b"").split(b";"))
    return Statement(key_id, date, region, service, signed, signature, timestamp, expires)
