"""Whether a request is signed by whom it says (AWS Signature Version 4). Pure: no keys are kept here, no clock is read.

A caller goes through these steps; each raises `Denial`, which can be told in the protocol of the call::

    claim = claims.parse(target, headers)               # None: not signed at all
    sigv4.check(claim, now, "sagemaker")                # time, scope, whether all that matters is signed
    key = sigv4.signing_key(secret, claim.credential)   # the same all day: to be kept, by credential
    payload = sigv4.payload_hash(claim, hash_of_body, secure=False)
    if not sigv4.matches(claim, sigv4.canonical_request(claim, method, target, payload), key):
        raise denials.mismatch()

An unknown access key is told from a wrong signature by AWS's own codes; nothing else here tells them apart. The access
key itself is not part of what is signed.

The path is encoded once more than it is on the wire, after dot segments and repeated slashes are taken out: as AWS's
SDKs sign for every service but S3. So ``/a//b`` has the signature of ``/a/b``: whoever acts on a path must take it as
it is on the wire. The query is taken as it is there too, but sorted; SDKs send it in canonical form.
"""

import hashlib
import hmac
import re
import time
from functools import lru_cache
from urllib.parse import quote_from_bytes

import msgspec
from msgspec.structs import replace

from polyport.aws import claims, denials
from polyport.aws.claims import Claim, Credential

#: Seconds that a client's clock may be wrong, both ways.
MAX_SKEW = 300
#: Headers that mean something to AWS's services: they must be signed if they are there. What SDKs add after signing
#: (``amz-sdk-request``, ``x-amzn-trace-id``) begins otherwise.
_SENSITIVE = (b"x-amz-", b"x-amzn-sagemaker-")
_HASH = re.compile(rb"[0-9a-f]{64}")
#: Paths that are kept, and bytes of one.
_MOST_KEPT = 1024
_LONGEST_KEPT = 256
_BLOCK = 64
_INNER = bytes(byte ^ 0x36 for byte in range(256))
_OUTER = bytes(byte ^ 0x5C for byte in range(256))


class Key:
    """A signing key. It signs as HMAC-SHA-256 does, with the part of the work that is always the same done before."""

    __slots__ = ("_inner", "_outer")

    def __init__(self, raw: bytes) -> None:
        padded = raw.ljust(_BLOCK, b"\0")
        if len(padded) > _BLOCK:
            raise ValueError(f"a key has at most {_BLOCK} bytes")
        self._inner = hashlib.sha256(padded.translate(_INNER))
        self._outer = hashlib.sha256(padded.translate(_OUTER))

    def sign(self, message: bytes) -> bytes:
        """The signature: 64 hexadecimal digits."""
        inner = self._inner.copy()
        inner.update(message)
        outer = self._outer.copy()
        outer.update(inner.digest())
        return outer.hexdigest().encode()


def check(claim: Claim, now: float, service: str) -> None:
    """All that can be said without a key. ``now`` is in epoch seconds, ``service`` the signing name of what is called.

    Raises `Denial` ``InvalidSignatureException``.
    """
    terms = claim.terms
    if claim.credential.service != service:
        raise denials.mismatch(f"Credential should be scoped to correct service: '{service}'.")
    for name in claim.fields:
        if name.startswith(b"x-am") and name not in terms.names and name.startswith(_SENSITIVE):
            raise _not_signed(claim)
    check_time(claim.timestamp, claim.signed_at, claim.expires, terms.scope, now)


def check_time(timestamp: bytes, signed_at: int, expires: int | None, scope: bytes, now: float) -> None:
    """Whether a signature of that time is good now; arguments as in `Claim`. Raises `Denial`
    ``InvalidSignatureException``."""
    if not scope.startswith(timestamp[:8]):
        raise denials.mismatch(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{scope[:8].decode()}' != '{timestamp[:8].decode()}', from '{timestamp.decode()}'."
        )
    if signed_at > now + MAX_SKEW:
        raise denials.mismatch(
            f"Signature not yet current: {timestamp.decode()} is still later than {_iso(now + MAX_SKEW)} "
            f"({_iso(now)} + 5 min.)"
        )
    if expires is None:
        if signed_at < now - MAX_SKEW:
            raise _expired(timestamp, now, MAX_SKEW, "5 min.")
    elif signed_at + expires < now:
        raise _expired(timestamp, now, expires, f"{expires} sec.")


def payload_hash(claim: Claim, body_hash: bytes, *, secure: bool) -> bytes:
    """What stands for the body in the canonical request. ``body_hash`` is the SHA-256 of the whole body in hexadecimal
    digits, and not looked at unless ``claim.covers_body``; ``secure``: the request came over TLS.

    Raises `Denial` ``InvalidSignatureException``.
    """
    said = claim.content_hash
    if said is None:
        return body_hash
    if not claim.covers_body:
        if secure:
            return said
        raise denials.mismatch("UNSIGNED-PAYLOAD is for requests over TLS: sign the body.")
    if said.startswith(b"STREAMING-"):
        raise denials.mismatch("Payloads signed in chunks (STREAMING-...) are not supported: sign the body as a whole.")
    if not _HASH.fullmatch(said):
        raise denials.mismatch("x-amz-content-sha256 must be UNSIGNED-PAYLOAD, or a valid sha256 value.")
    if said != body_hash:
        raise denials.mismatch("The provided 'x-amz-content-sha256' header does not match what was computed.")
    return said


def canonical_request(claim: Claim, method: bytes, target: bytes, payload: bytes) -> bytes:
    """The request as it was signed. ``target`` is what the claim was parsed from, ``payload`` a `payload_hash`."""
    path, _, query = target.partition(b"?")
    fields = claim.fields
    values = [b" ".join(fields[name].split()) for name in claim.terms.signed]
    return claim.terms.form % (
        method,
        _path(path) if len(path) <= _LONGEST_KEPT else _encoded(path),
        _query(query, claim.is_presigned) if query else b"",
        *values,
        payload,
    )


def signing_key(secret: str, credential: Credential) -> Key:
    """The key that a secret gives for a day, a region and a service."""
    key = hmac.digest(b"AWS4" + secret.encode(), credential.date.encode(), "sha256")
    for part in (credential.region, credential.service, "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return Key(key)


def matches(claim: Claim, canonical: bytes, key: Key) -> bool:
    """Whether the signature is that of the canonical request. How long this takes tells nothing of the right one."""
    return _matches(canonical, claim.timestamp, claim.terms.scope, claim.signature, key)


class Mould(msgspec.Struct, frozen=True):
    """A request that was signed right, without what differs when the same is asked again: the canonical request in two
    pieces, before and after the time (the hash of the body follows), and what it claims to be signed with."""

    before: bytes
    after: bytes
    scope: bytes
    credential: Credential
    token: bytes | None

    def matches(self, timestamp: bytes, payload: bytes, signature: bytes, key: Key) -> bool:
        """As `matches`, of the same request with another time and body. ``payload`` is the body's hash."""
        canonical = b"".join((self.before, timestamp, self.after, payload))
        return _matches(canonical, timestamp, self.scope, signature, key)


def mould(claim: Claim, method: bytes, target: bytes) -> Mould | None:
    """What is the same when the request comes again; ``None`` where more may differ than time, body and signature."""
    if claim.is_presigned or claim.content_hash is not None or b"x-amz-date" not in claim.terms.names:
        return None
    # No value of a header holds NUL.
    fields = {**claim.fields, b"x-amz-date": b"\0"}
    before, time_, after = canonical_request(replace(claim, fields=fields), method, target, b"").partition(b"\0")
    return Mould(before, after, claim.terms.scope, claim.credential, claim.token) if time_ else None


def _matches(canonical: bytes, timestamp: bytes, scope: bytes, signature: bytes, key: Key) -> bool:
    digest = hashlib.sha256(canonical).hexdigest().encode()
    message = b"AWS4-HMAC-SHA256\n%b\n%b\n%b" % (timestamp, scope, digest)
    return hmac.compare_digest(key.sign(message), signature)


def _encoded(path: bytes) -> bytes:
    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in (b"", b"."):
            kept.append(segment)
    first = b"/" if path[:1] in (b"/", b"") else b""
    last = b"/" if kept and path.endswith(b"/") else b""
    return quote_from_bytes(first + b"/".join(kept) + last).encode()


_path = lru_cache(_MOST_KEPT)(_encoded)


def _query(query: bytes, is_presigned: bool) -> bytes:
    pairs = [pair.partition(b"=")[::2] for pair in query.split(b"&")]
    if is_presigned:
        pairs = [pair for pair in pairs if pair[0] != claims.SIGNATURE]
    return b"&".join(b"%b=%b" % pair for pair in sorted(pairs))


def _not_signed(claim: Claim) -> denials.Denial:
    fields, names = claim.fields, claim.terms.names
    unsigned = sorted(name.decode("latin-1") for name in fields if name.startswith(_SENSITIVE) and name not in names)
    listed = ", ".join(unsigned)[:256]
    return denials.mismatch(f"There were headers present in the request which were not signed: {listed}")


def _expired(timestamp: bytes, now: float, span: int, written: str) -> denials.Denial:
    window = f"{_iso(now - span)} ({_iso(now)} - {written})"
    return denials.mismatch(f"Signature expired: {timestamp.decode()} is now earlier than {window}")


def _iso(seconds: float) -> str:
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(seconds))
