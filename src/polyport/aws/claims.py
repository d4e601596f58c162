"""What a request says of its signature (SigV4, in the ``Authorization`` header or in the query). Nothing is verified
here: `polyport.aws.sigv4` does that.

Everything in an ``Authorization`` header before the signature is the same in all requests of a client on one day, so
what was made of it is kept, for a bounded number of short ones: a stranger can send anything.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from itertools import pairwise
from urllib.parse import unquote_to_bytes

import msgspec

from polyport.aws import denials

ALGORITHM = b"AWS4-HMAC-SHA256"
#: Bytes. Session tokens, which are long, are in another header.
MAX_AUTHORIZATION = 4096
#: Bytes of path and query of a signed request; a pre-signed one holds a session token.
MAX_TARGET = 16 * 1024
#: Seconds: a week.
MAX_EXPIRES = 604800
SIGNATURE = b"X-Amz-Signature"
TOKEN = b"x-amz-security-token"
CONTENT_HASH = b"x-amz-content-sha256"
UNSIGNED = b"UNSIGNED-PAYLOAD"

#: Beginnings of Authorization headers that are kept, and bytes of one.
_MOST_KEPT = 512
_LONGEST_KEPT = 512
_HEX = b"0123456789abcdef"
_PIECES = (b"Credential", b"SignedHeaders", b"Signature")
_REQUIRED = (
    b"X-Amz-Algorithm",
    b"X-Amz-Credential",
    b"X-Amz-Date",
    b"X-Amz-Expires",
    b"X-Amz-SignedHeaders",
    SIGNATURE,
)
_QUERY_TOKEN = b"X-Amz-Security-Token"
_QUERY_CONTENT_HASH = b"X-Amz-Content-Sha256"
_PARAMETERS = frozenset({*_REQUIRED, _QUERY_TOKEN})
_ACCESS_KEY = re.compile(rb"[!-+\--~]{1,128}")
_DATE = re.compile(rb"[0-9]{8}")
_REGION = re.compile(rb"[a-z0-9]+(?:-[a-z0-9]+){0,7}")
_REGION_LENGTH = 32
_SERVICE = re.compile(rb"[a-z0-9][a-z0-9.-]{0,62}")
_SIGNED = re.compile(rb"[a-z0-9!#$%&'*+.^_`|~-]+(?:;[a-z0-9!#$%&'*+.^_`|~-]+)*")
_TIMESTAMP = re.compile(rb"([0-9]{4})([0-9]{2})([0-9]{2})T([0-9]{2})([0-9]{2})([0-9]{2})Z")
_HTTP_DATE = re.compile(
    rb"(?:[A-Z][a-z]{2}, )?[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} (?:GMT|UTC|[+-]0000)"
)
_EXPIRES = re.compile(rb"[0-9]{1,6}")
_CREDENTIAL = re.compile(rb"Credential=([^,\s]+)")

Headers = Iterable[tuple[bytes, bytes]]
Fields = dict[bytes, bytes]


class Credential(msgspec.Struct, frozen=True):
    """Who signed, and what for. ``date`` is YYYYMMDD."""

    access_key: str
    date: str
    region: str
    service: str


class Terms(msgspec.Struct, frozen=True):
    """What is the same in all requests that a client signs on one day.

    ``scope`` and ``form`` go into what is signed: the scope as it is, ``form`` with the blanks (``%b``) for method,
    path, query, the value of each of ``signed`` (lower-case names, in order), and the hash of the body.
    """

    credential: Credential
    signed: tuple[bytes, ...]
    names: frozenset[bytes]
    scope: bytes
    form: bytes


class Claim(msgspec.Struct, frozen=True):
    """A request's signature and what belongs to it, all of it as the client says.

    ``fields`` are the request's headers by lower-case name, values of repeated ones joined with ``,``; every one of
    ``terms.signed`` is among them. ``signature`` is 64 hexadecimal digits; ``timestamp`` is YYYYMMDDTHHMMSSZ and
    ``signed_at`` the same in epoch seconds. ``expires``: seconds that a pre-signed request is good for, else ``None``.
    ``content_hash``: what the client says of the body's hash, if anything.
    """

    credential: Credential
    terms: Terms
    fields: Fields
    signature: bytes
    timestamp: bytes
    signed_at: int
    token: bytes | None
    content_hash: bytes | None
    expires: int | None = None

    def __repr__(self) -> str:
        # Headers and tokens are nobody's business.
        return f"<Claim {self.credential.access_key} {self.terms.scope.decode()} {self.timestamp.decode()}>"

    @property
    def is_presigned(self) -> bool:
        """Whether the signature is in the query."""
        return self.expires is not None

    @property
    def covers_body(self) -> bool:
        """Whether the signature is one of the body too, so that the body has to be hashed."""
        return self.content_hash != UNSIGNED


def parse(target: bytes, headers: Headers) -> Claim | None:
    """What a request says of its signature; ``None`` when it is not signed at all.

    ``target`` is path and query, as on the wire. Raises `Denial` (``IncompleteSignatureException``, or
    ``InvalidSignatureException`` for a date that is none).
    """
    fields = _fields(headers)
    authorization = fields.get(b"authorization")
    is_marked = b"X-Amz-" in target
    if authorization is None and not is_marked:
        return None
    if len(target) > MAX_TARGET:
        raise denials.incomplete(f"The target of a signed request may have at most {MAX_TARGET} bytes.")
    parameters = _parameters(target) if is_marked else None
    if authorization is None:
        return _presigned(parameters, fields) if parameters else None
    if parameters:
        raise denials.incomplete("A request is signed by its Authorization header or by its query, not by both.")
    return _in_header(authorization, fields)


def credential_of(authorization: bytes, query: bytes) -> Credential | None:
    """The credential alone, however incomplete the signature is; ``None`` when there is no SigV4 in the request.

    Raises `Denial` ``IncompleteSignatureException`` when it is malformed.
    """
    if authorization.startswith(ALGORITHM):
        match = _CREDENTIAL.search(authorization, 0, MAX_AUTHORIZATION)
        return _credential(match[1] if match else b"")
    for pair in query[:MAX_TARGET].split(b"&"):
        if pair.startswith(b"X-Amz-Credential="):
            return _credential(unquote_to_bytes(pair.partition(b"=")[2]))
    return None


def fold(value: bytes) -> bytes:
    """A header's value as it is signed: no blanks around it, one blank where there were many."""
    return b" ".join(value.split())


def _fields(headers: Headers) -> Fields:
    pairs = headers if isinstance(headers, list) else list(headers)
    fields = {name.lower(): value for name, value in pairs}
    if len(fields) == len(pairs):
        return fields
    values: dict[bytes, list[bytes]] = {}
    for name, value in pairs:
        values.setdefault(name.lower(), []).append(fold(value))
    if len(values.get(b"authorization", ())) > 1:
        raise denials.incomplete("The request has several Authorization headers.")
    return {name: b",".join(several) for name, several in values.items()}


# --- in the Authorization header


def _in_header(authorization: bytes, fields: Fields) -> Claim:
    authorization = authorization.strip()
    if len(authorization) > MAX_AUTHORIZATION:
        raise denials.incomplete(f"The Authorization header may have at most {MAX_AUTHORIZATION} bytes.")
    opening = authorization[:-64]
    if len(opening) <= _LONGEST_KEPT and opening.endswith(b"Signature="):
        terms, signature = _kept(opening), authorization[-64:]
    else:
        pieces = _pieces(authorization)
        terms, signature = _terms(pieces[b"Credential"], pieces[b"SignedHeaders"]), pieces[b"Signature"]
    stamp = fields.get(b"x-amz-date")
    timestamp = _from_date_header(fields, terms) if stamp is None else stamp.strip()
    return _claim(terms, fields, signature, timestamp, _value(fields, TOKEN), _value(fields, CONTENT_HASH), None)


@lru_cache(_MOST_KEPT)
def _kept(opening: bytes) -> Terms:
    """``opening`` is the header up to the signature."""
    pieces = _pieces(opening)
    if pieces[b"Signature"]:
        raise denials.incomplete("The signature must be 64 lower-case hexadecimal digits.")
    return _terms(pieces[b"Credential"], pieces[b"SignedHeaders"])


def _pieces(authorization: bytes) -> dict[bytes, bytes]:
    """Exactly the three, in any order."""
    algorithm, *rest = authorization.split(None, 1) or [b""]
    if algorithm != ALGORITHM:
        # Not repeated: what stands there may be a password.
        raise denials.incomplete(
            "The Authorization header must begin with AWS4-HMAC-SHA256; nothing else is supported."
        )
    pieces: dict[bytes, bytes] = {}
    for piece in (rest[0] if rest else b"").split(b","):
        name, _, value = piece.strip().partition(b"=")
        if name in pieces or name not in _PIECES:
            raise denials.incomplete(
                "After the algorithm, the Authorization header must be Credential=..., SignedHeaders=..., "
                "Signature=..., each of them once."
            )
        pieces[name] = value
    lacking = [name for name in _PIECES if name not in pieces]
    if lacking:
        raise denials.incomplete(
            " ".join(f"Authorization header requires '{name.decode()}' parameter." for name in lacking)
        )
    return pieces


def _from_date_header(fields: Fields, terms: Terms) -> bytes:
    """Without X-Amz-Date the Date header holds the time, as AWS documents it: as HTTP writes it, or as X-Amz-Date."""
    date = fields.get(b"date")
    if date is None:
        raise denials.incomplete("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if b"date" not in terms.names:
        raise denials.mismatch("'Date' must be a 'SignedHeader' in the AWS Authorization.")
    date = date.strip()
    if not _HTTP_DATE.fullmatch(date):
        return date
    try:
        return parsedate_to_datetime(date.decode()).strftime("%Y%m%dT%H%M%SZ").encode()
    except ValueError as exc:
        raise _no_date() from exc


# --- in the query


def _parameters(target: bytes) -> dict[bytes, bytes] | None:
    """Those that make a pre-signed request, decoded; ``None`` when there is not one of them."""
    parameters: dict[bytes, bytes] = {}
    for pair in target.partition(b"?")[2].split(b"&"):
        name, _, value = pair.partition(b"=")
        if name not in _PARAMETERS and name != _QUERY_CONTENT_HASH:
            continue
        if name in parameters:
            raise denials.incomplete(f"The query has '{name.decode()}' several times.")
        parameters[name] = unquote_to_bytes(value)
    return parameters if parameters.keys() & _PARAMETERS else None


def _presigned(parameters: dict[bytes, bytes], fields: Fields) -> Claim:
    lacking = [name for name in _REQUIRED if name not in parameters]
    if lacking:
        names = ", ".join(f"'{name.decode()}'" for name in lacking)
        raise denials.incomplete(f"A pre-signed request requires the query parameters {names} too.")
    if parameters[b"X-Amz-Algorithm"] != ALGORITHM:
        raise denials.incomplete("'X-Amz-Algorithm' must be AWS4-HMAC-SHA256; nothing else is supported.")
    expires = parameters[b"X-Amz-Expires"]
    if not _EXPIRES.fullmatch(expires) or not 1 <= int(expires) <= MAX_EXPIRES:
        raise denials.incomplete(f"'X-Amz-Expires' must be a number of seconds from 1 to {MAX_EXPIRES}.")
    token = _value(fields, TOKEN)
    if token is not None and _QUERY_TOKEN in parameters:
        raise denials.incomplete("The security token is in the query and in a header.")
    said = _value(fields, CONTENT_HASH)
    terms = _terms(parameters[b"X-Amz-Credential"], parameters[b"X-Amz-SignedHeaders"])
    return _claim(
        terms,
        fields,
        parameters[SIGNATURE],
        parameters[b"X-Amz-Date"],
        parameters.get(_QUERY_TOKEN, token),
        # Some SDKs move the header into the query.
        parameters.get(_QUERY_CONTENT_HASH) if said is None else said,
        int(expires),
    )


# --- in both


def _value(fields: Fields, name: bytes) -> bytes | None:
    value = fields.get(name)
    # The parser leaves blanks at a value's end.
    return None if value is None else value.strip()


def _claim(
    terms: Terms,
    fields: Fields,
    signature: bytes,
    timestamp: bytes,
    token: bytes | None,
    content_hash: bytes | None,
    expires: int | None,
) -> Claim:
    if len(signature) != 64 or signature.strip(_HEX):
        raise denials.incomplete("The signature must be 64 lower-case hexadecimal digits.")
    if not fields.keys() >= terms.names:
        absent = ", ".join(name.decode() for name in terms.signed if name not in fields)
        raise denials.mismatch(f"There are signed headers which are not present in the request: {absent[:256]}.")
    return Claim(terms.credential, terms, fields, signature, timestamp, epoch(timestamp), token, content_hash, expires)


def _terms(credential: bytes, signed: bytes) -> Terms:
    named = _credential(credential)
    if not _SIGNED.fullmatch(signed):
        raise denials.incomplete("SignedHeaders must be lower-case names of headers with ';' between them.")
    names = tuple(signed.split(b";"))
    if any(first >= second for first, second in pairwise(names)):
        raise denials.incomplete("SignedHeaders must be sorted, and name each header once.")
    if b"host" not in names:
        raise denials.mismatch("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    scope = f"{named.date}/{named.region}/{named.service}/aws4_request".encode()
    lines = b"".join(name.replace(b"%", b"%%") + b":%b\n" for name in names)
    form = b"%b\n%b\n%b\n" + lines + b"\n" + signed.replace(b"%", b"%%") + b"\n%b"
    return Terms(named, names, frozenset(names), scope, form)


def _credential(text: bytes) -> Credential:
    # An access key may hold slashes, the rest may not.
    parts = text.rsplit(b"/", 4)
    if len(parts) == 5 and _ACCESS_KEY.fullmatch(parts[0]) and _is_scope(*parts[1:]):
        return Credential(*(part.decode() for part in parts[:4]))
    raise denials.incomplete("The credential of the request must be ACCESS_KEY/YYYYMMDD/REGION/SERVICE/aws4_request.")


def _is_scope(date: bytes, region: bytes, service: bytes, terminator: bytes) -> bool:
    return (
        terminator == b"aws4_request"
        and _DATE.fullmatch(date) is not None
        # A region becomes part of ARNs and of keys: only what can be one is let in.
        and len(region) <= _REGION_LENGTH
        and _REGION.fullmatch(region) is not None
        and _SERVICE.fullmatch(service) is not None
    )


@lru_cache(256)
def epoch(timestamp: bytes) -> int:
    """Epoch seconds of YYYYMMDDTHHMMSSZ. Raises `Denial`. Many requests share one second."""
    match = _TIMESTAMP.fullmatch(timestamp)
    if match is None:
        raise _no_date()
    try:
        year, month, day, hour, minute, second = map(int, match.groups())
        return int(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timestamp())
    except ValueError as exc:
        raise _no_date() from exc


def _no_date() -> denials.Denial:
    return denials.mismatch("Date must be in ISO-8601 'basic format': YYYYMMDDTHHMMSSZ.")
