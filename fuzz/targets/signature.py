"""What a request says of its signature: target, headers and body, straight into the parser, without HTTP before it.

Nothing but a `Denial` is raised; what is let through says what botocore's signer says: the canonical request, the
signature, the time.
"""

import calendar
import hashlib
import time

from fuzz import signatures
from fuzz.choices import Choices, pack
from fuzz.fakes import people, signed
from fuzz.findings import require
from fuzz.target import Target
from polyport.aws import claims, sigv4
from polyport.aws.claims import Claim
from polyport.aws.denials import Denial

NOW = 1_767_356_100.0
SECRET = "secret of alice"  # noqa: S105  # nobody's
ALICE = people.User("alice", people.ALLOW_ALL)
METHODS = (b"POST", b"GET", b"PUT")


def check(data: bytes) -> None:
    """A target, lines of headers, an empty line, and a body."""
    choices = Choices(data)
    method, secure, by_date = METHODS[choices.below(3)], choices.below(2) == 1, choices.below(2) == 1
    head, _, body = choices.payload.partition(b"\n\n")
    target, *lines = head.split(b"\n")
    headers = [(name, value.strip(b" \t")) for name, _, value in (line.partition(b":") for line in lines)]
    if by_date:
        headers = [(b"Date" if name.lower() == b"x-amz-date" else name, value) for name, value in headers]
    try:
        claim = claims.parse(target, headers)
    except Denial as denial:
        _check_denial(denial)
        return
    finally:
        _check_credential(target, headers)
    if claim is not None:
        _check_claim(claim, target, headers)
        _check_verified(claim, method, target, headers, body, secure=secure)


def _check_denial(denial: Denial) -> None:
    for protocol in ("json", "rest-json", "query"):
        told = denial.told(protocol)
        require(told.code and told.message and told.status in (400, 403), f"told as {told!r}")
    require(len(denial.message) < 2000, f"{len(denial.message)} characters of a stranger's")


def _check_credential(target: bytes, headers: signatures.Headers) -> None:
    """The credential alone, for the log of who was refused."""
    authorization = b"".join(value for name, value in headers if name.lower() == b"authorization")
    try:
        claims.credential_of(authorization, target.partition(b"?")[2])
    except Denial as denial:
        _check_denial(denial)


def _check_claim(claim: Claim, target: bytes, headers: signatures.Headers) -> None:
    credential = claim.credential
    parts = (credential.access_key, credential.date, credential.region, credential.service)
    require(all(part and part.isascii() and part.isprintable() for part in parts), f"a credential {parts}")
    require("/" not in "".join(parts[1:]), f"a scope with slashes: {parts}")
    require(len(claim.signature) == 64 and b"host" in claim.terms.names, f"let through: {claim!r}")
    require(set(claim.terms.signed) <= set(claim.fields), "a signed header is not there")
    try:
        at = calendar.timegm(time.strptime(claim.timestamp.decode(), "%Y%m%dT%H%M%SZ"))
    except ValueError as error:
        raise AssertionError(f"the time {claim.timestamp!r} is none") from error
    require(at == claim.signed_at, f"{claim.timestamp!r} is {claim.signed_at}")
    if claim.token and len(claim.token) > 20:
        require(claim.token.decode("latin-1") not in repr(claim), "a token is shown")
    require(claim.signature.decode() not in repr(claim), "a signature is shown")
    if claim.expires is not None:
        require(1 <= claim.expires <= claims.MAX_EXPIRES, f"good for {claim.expires} seconds")
        require(
            b"X-Amz-Signature=" in target and all(name.lower() != b"authorization" for name, _ in headers), "two ways"
        )


def _check_verified(
    claim: Claim, method: bytes, target: bytes, headers: signatures.Headers, body: bytes, *, secure: bool
) -> None:
    body_hash = hashlib.sha256(body).hexdigest().encode()
    try:
        sigv4.check(claim, NOW, "sagemaker")
        payload = sigv4.payload_hash(claim, body_hash, secure=secure)
    except Denial as denial:
        _check_denial(denial)
        return
    require(claim.credential.service == "sagemaker", "another service's")
    most = claims.MAX_EXPIRES if claim.expires else sigv4.MAX_SKEW
    require(NOW - most <= claim.signed_at <= NOW + sigv4.MAX_SKEW, f"of another time: {claim.timestamp!r}")
    require(payload == body_hash or (payload == b"UNSIGNED-PAYLOAD" and secure), f"the body's hash is {payload!r}")
    made = sigv4.canonical_request(claim, method, target, payload)
    key = sigv4.signing_key(SECRET, claim.credential)
    stated = signatures.Statement(
        claim.credential.access_key,
        claim.credential.date,
        claim.credential.region,
        claim.credential.service,
        claim.terms.signed,
        claim.signature,
        claim.timestamp,
        claim.expires,
    )
    right = signatures.signature(stated, made, SECRET)
    require(sigv4.matches(claim, made, key) == (right == claim.signature), f"a signature {claim.signature!r}")
    if _is_expressible(target, headers):
        judged = signatures.canonical(method, target, headers, claim.terms.signed, payload)
        require(made == judged, f"canonical: {made!r}, for botocore {judged!r}")


def _is_expressible(target: bytes, headers: signatures.Headers) -> bool:
    """Whether botocore's text can hold it: it takes more for a blank than HTTP does, and reads bytes as characters."""
    texts = [target, *(value for pair in headers for value in pair)]
    return all(all(32 <= byte < 127 or byte == 9 for byte in text) for text in texts)


def _wire(request: bytes) -> bytes:
    """A request's bytes in this target's form."""
    head, _, body = request.partition(b"\r\n\r\n")
    line, *headers = head.split(b"\r\n")
    return b"\n".join([line.split(b" ")[1], *headers]) + b"\n\n" + body


def _seeds() -> list[bytes]:
    made = [
        signed.signed(ALICE, at=NOW, body=b'{"a": 1}', Content_Type="application/json"),
        signed.signed(ALICE, at=NOW, body=b"", presigned=True),
        signed.signed(ALICE, at=NOW, path="/a//b/../c%20d/?z=1&a=%7E&b", X_Many="a  b   c"),
        signed.signed(ALICE, at=NOW, Date="Fri, 02 Jan 2026 12:15:00 GMT"),
        signed.signed(ALICE, at=NOW, X_Amz_Content_SHA256="UNSIGNED-PAYLOAD"),
        signed.signed(ALICE, at=NOW, X_Amz_Security_Token="t" * 40),
    ]
    dated = b"Fri, 02 Jan 2026 12:15:00 GMT"
    by_date = (
        made[0]
        .replace(b"X-Amz-Date: 20260102T121500Z", b"X-Amz-Date: " + dated)
        .replace(b"host;x-amz-date", b"date;host")
    )
    return [pack(_wire(one), 0, secure, 0) for one in made for secure in range(2)] + [pack(_wire(by_date), 0, 0, 1)]


TOKENS = (
    *(
        b"\n",
        b"\n\n",
        b": ",
        b"Authorization: ",
        b"AWS4-HMAC-SHA256 ",
        b"Credential=",
        b"SignedHeaders=",
        b"Signature=",
    ),
    *(
        b", ",
        b"/aws4_request",
        b"/sagemaker/",
        b"20260102",
        b"us-east-1",
        b"AKIAALICE",
        b"host;x-amz-date",
        b"date;host",
    ),
    *(b"X-Amz-Date: ", b"Date: ", b"20260102T121500Z", b"Fri, 02 Jan 2026 12:15:00 GMT", b"20260230T256199Z", b"-0000"),
    *(b"X-Amz-Security-Token: ", b"X-Amz-Content-SHA256: ", b"UNSIGNED-PAYLOAD", b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
    *(
        b"?",
        b"&",
        b"=",
        b"%",
        b"%2F",
        b"%00",
        b"X-Amz-Algorithm=AWS4-HMAC-SHA256",
        b"X-Amz-Credential=",
        b"X-Amz-Date=",
    ),
    *(
        b"X-Amz-Expires=",
        b"604800",
        b"X-Amz-SignedHeaders=host",
        b"X-Amz-Signature=",
        b"X-Amz-Security-Token=",
        b"00010101",
    ),
    *(b"0" * 64, b"//", b"/./", b"/../", b"~", b"+", b"\xff", b"\0", b"99991231T235959Z"),
)
TARGET = Target("signature", check, _seeds, TOKENS)
