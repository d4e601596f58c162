"""Signatures: AWS's published examples, what must be signed, the window of time, and what stands for the body."""

import hashlib
import hmac
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyport.aws import claims, sigv4
from polyport.aws.claims import Claim
from polyport.errors import ApiError

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
VANILLA = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
NOW = 1440938160.0  # 20150830T123600Z
DATE = (b"X-Amz-Date", b"20150830T123600Z")
EMPTY = hashlib.sha256(b"").hexdigest().encode()
BASE = ("host", "x-amz-date")

Headers = tuple[tuple[bytes, bytes], ...]


def claim_of(
    *headers: tuple[bytes, bytes],
    signed: tuple[str, ...] = BASE,
    signature: str = VANILLA,
    target: bytes = b"/",
    service: str = "service",
    host: bytes = b"example.amazonaws.com",
) -> Claim:
    credential = f"AKIDEXAMPLE/20150830/us-east-1/{service}/aws4_request"
    value = f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={';'.join(signed)}, Signature={signature}"
    date = () if any(name.lower() == b"x-amz-date" for name, _ in headers) else (DATE,)
    claim = claims.parse(target, [(b"Host", host), *date, *headers, (b"Authorization", value.encode())])
    assert claim is not None
    return claim


def presigned(expires: int, *headers: tuple[bytes, bytes], signed: str = "host", more: bytes = b"") -> Claim:
    target = (
        b"/?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Date=20150830T123600Z&X-Amz-Signature=%b&X-Amz-Expires=%d"
        b"&X-Amz-Credential=AKIDEXAMPLE%%2F20150830%%2Fus-east-1%%2Fservice%%2Faws4_request&X-Amz-SignedHeaders=%b%b"
    ) % (VANILLA.encode(), expires, signed.encode(), more)
    claim = claims.parse(target, [(b"host", b"h"), *headers])
    assert claim is not None
    return claim


def denied(claim: Claim, now: float = NOW, service: str = "service") -> str:
    with pytest.raises(ApiError) as caught:
        sigv4.check(claim, now, service)
    assert (caught.value.code, caught.value.status) == ("InvalidSignatureException", 400)
    return caught.value.message


@pytest.mark.parametrize(
    ("method", "target", "headers", "body", "signature"),
    [
        (b"GET", b"/", (), b"", VANILLA),
        (b"GET", b"/example/..", (), b"", VANILLA),
        (b"GET", b"/example1/example2/../..", (), b"", VANILLA),
        (b"GET", b"/./", (), b"", VANILLA),
        (b"GET", b"//", (), b"", VANILLA),
        (b"GET", b"//example//", (), b"", "9a624bd73a37c9a373b5312afbebe7a714a789de108f0bdfe846570885f57e84"),
        (b"GET", b"/example space/", (), b"", "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741"),
        (b"GET", b"/\xe1\x88\xb4", (), b"", "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85"),
        (
            b"GET",
            b"/?Param2=value2&Param1=value1",
            (),
            b"",
            "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
        ),
        (b"GET", b"/?Param1=value1", (), b"", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
        (b"POST", b"/", (), b"", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        (
            b"GET",
            b"/",
            ((b"My-Header1", b" value1"), (b"My-Header2", b' "a   b   c"')),
            b"",
            "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
        ),
        (
            b"GET",
            b"/",
            ((b"My-Header1", b"value2"), (b"My-Header1", b"value2"), (b"My-Header1", b"value1")),
            b"",
            "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea",
        ),
        (
            b"POST",
            b"/",
            ((b"My-Header1", b"value1"),),
            b"",
            "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c",
        ),
        (
            b"POST",
            b"/",
            ((b"Content-Type", b"application/x-www-form-urlencoded"),),
            b"Param1=value1",
            "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
        ),
    ],
)
def test_aws_published_examples_are_verified(
    method: bytes, target: bytes, headers: Headers, body: bytes, signature: str
) -> None:
    """The get-vanilla family; another signature is not."""
    signed = tuple(sorted({*BASE, *(name.decode().lower() for name, _ in headers)}))
    claim = claim_of(*headers, signed=signed, signature=signature, target=target)
    sigv4.check(claim, NOW, "service")
    assert is_verified(claim, method, target, body)
    wrong = signature[:-1] + ("0" if signature[-1] != "0" else "1")
    assert not is_verified(claim_of(*headers, signed=signed, signature=wrong, target=target), method, target, body)


def is_verified(claim: Claim, method: bytes, target: bytes, body: bytes = b"") -> bool:
    payload = sigv4.payload_hash(claim, hashlib.sha256(body).hexdigest().encode(), secure=False)
    canonical = sigv4.canonical_request(claim, method, target, payload)
    return sigv4.matches(claim, canonical, sigv4.signing_key(SECRET, claim.credential))


def test_the_example_of_the_documentation_is_verified() -> None:
    """ListUsers of IAM: the canonical request letter by letter, and its signature."""
    target = b"/?Action=ListUsers&Version=2010-05-08"
    claim = claim_of(
        (b"Content-Type", b"application/x-www-form-urlencoded; charset=utf-8"),
        signed=("content-type", *BASE),
        signature="5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7",
        target=target,
        service="iam",
        host=b"iam.amazonaws.com",
    )
    assert sigv4.canonical_request(claim, b"GET", target, EMPTY) == (
        b"GET\n/\nAction=ListUsers&Version=2010-05-08\n"
        b"content-type:application/x-www-form-urlencoded; charset=utf-8\nhost:iam.amazonaws.com\n"
        b"x-amz-date:20150830T123600Z\n\ncontent-type;host;x-amz-date\n" + EMPTY
    )
    assert is_verified(claim, b"GET", target)


@pytest.mark.parametrize(
    ("path", "canonical"),
    [
        (b"", b"/"),
        (b"/", b"/"),
        (b"/endpoints/my-endpoint_1.~x/invocations", b"/endpoints/my-endpoint_1.~x/invocations"),
        (b"/a%20b", b"/a%2520b"),
        (b"/a+b:c=d@e$f", b"/a%2Bb%3Ac%3Dd%40e%24f"),
        (b"/a//b/./c/../d/", b"/a/b/d/"),
        (b"/../../a", b"/a"),
        (b"/..", b"/"),
        (b"/\xff", b"/%FF"),
        (b"/" + b"a/" * 400, b"/" + b"a/" * 400),
    ],
)
def test_a_path_is_normalised_and_encoded_once_more(path: bytes, canonical: bytes) -> None:
    """As SDKs sign for every service but S3; long paths, which are not kept, too."""
    assert sigv4.canonical_request(claim_of(), b"GET", path, EMPTY).split(b"\n")[1] == canonical


@pytest.mark.parametrize(
    ("query", "canonical"),
    [
        (b"", b""),
        (b"b=1&a=2", b"a=2&b=1"),
        (b"a=2&a=10&a", b"a=&a=10&a=2"),
        (b"a=b=c", b"a=b=c"),
        (b"B=1&a=1&%41=1", b"%41=1&B=1&a=1"),
        (b"a-b=1&a=1", b"a=1&a-b=1"),
        (b"X-Amz-Signature=1", b"X-Amz-Signature=1"),
    ],
)
def test_a_query_is_sorted_by_name_then_value(query: bytes, canonical: bytes) -> None:
    """Names and values as they are on the wire; a parameter without ``=`` gets one."""
    assert sigv4.canonical_request(claim_of(), b"GET", b"/?" + query, EMPTY).split(b"\n")[2] == canonical


def test_the_signature_itself_is_not_part_of_a_presigned_query() -> None:
    """All else is."""
    claim = presigned(60)
    lines = sigv4.canonical_request(claim, b"GET", b"/?b=1&X-Amz-Signature=2&X-Amz-Date=3", EMPTY).split(b"\n")
    assert lines[2] == b"X-Amz-Date=3&b=1"


def test_a_name_with_a_percent_sign_is_signed_as_it_is() -> None:
    """HTTP allows it in a header's name."""
    claim = claim_of((b"%b", b"1"), signed=("%b", *BASE))
    assert b"\n%b:1\nhost:" in sigv4.canonical_request(claim, b"GET", b"/", EMPTY)
    assert b"\n\n%b;host;x-amz-date\n" in sigv4.canonical_request(claim, b"GET", b"/", EMPTY)


@given(st.binary(max_size=64), st.binary(max_size=200))
def test_a_key_signs_as_hmac_does(raw: bytes, message: bytes) -> None:
    """The standard library's is the oracle."""
    assert sigv4.Key(raw).sign(message) == hmac.new(raw, message, "sha256").hexdigest().encode()


def test_a_key_longer_than_a_block_is_refused_and_a_key_is_not_shown() -> None:
    """It would have to be hashed first; no signing key is."""
    with pytest.raises(ValueError, match="at most 64 bytes"):
        sigv4.Key(b"x" * 65)
    assert "secret" not in repr(sigv4.Key(b"secret"))


def test_the_service_of_the_scope_must_be_that_of_the_call() -> None:
    """What is signed for one service must not be good for another."""
    sigv4.check(claim_of(), NOW, "service")
    assert denied(claim_of(), service="sts") == "Credential should be scoped to correct service: 'sts'."


def test_the_date_of_the_scope_must_be_that_of_the_request() -> None:
    """Even a second before midnight."""
    claim = claim_of((b"x-amz-date", b"20150831T000000Z"))
    assert denied(claim, NOW + 41_040) == (
        "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
        "'20150830' != '20150831', from '20150831T000000Z'."
    )


@pytest.mark.parametrize(
    "name",
    [
        b"X-Amz-Target",
        b"x-amz-security-token",
        b"X-Amz-Content-SHA256",
        b"x-amz-user-agent",
        b"X-Amzn-SageMaker-Target-Container-Hostname",
        b"x-amzn-sagemaker-custom-attributes",
    ],
)
def test_headers_that_mean_something_must_be_signed(name: bytes) -> None:
    """Or anybody on the way could add them: in requests signed in the header and in pre-signed ones."""
    text = f"There were headers present in the request which were not signed: {name.decode().lower()}"
    assert denied(claim_of((name, b"1"))) == text
    assert denied(presigned(60, (name, b"1"))) == text
    sigv4.check(claim_of((name, b"1"), signed=tuple(sorted([*BASE, name.decode().lower()]))), NOW, "service")


def test_a_date_that_is_not_signed_is_refused() -> None:
    """X-Amz-Date begins with x-amz-, so it is one of those."""
    assert denied(claim_of(signed=("host",))).endswith("not signed: x-amz-date")


@pytest.mark.parametrize(
    "name", [b"amz-sdk-request", b"amz-sdk-invocation-id", b"X-Amzn-Trace-Id", b"user-agent", b"x-am"]
)
def test_headers_that_are_added_after_signing_need_not_be_signed(name: bytes) -> None:
    """By SDKs and load balancers."""
    sigv4.check(claim_of((name, b"1")), NOW, "service")


def test_a_clock_may_be_wrong_by_five_minutes() -> None:
    """Both ways, with AWS's texts: SDKs correct their clock by them."""
    for now in (NOW - 300, NOW, NOW + 300):
        sigv4.check(claim_of(), now, "service")
    assert denied(claim_of(), NOW + 301) == (
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T124101Z - 5 min.)"
    )
    assert denied(claim_of(), NOW - 301) == (
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)"
    )


@pytest.mark.parametrize("expires", [1, 60, 604800])
def test_a_presigned_request_is_good_until_it_expires(expires: int) -> None:
    """From five minutes before its time on, to the second."""
    for now in (NOW - 300, NOW + expires):
        sigv4.check(presigned(expires), now, "service")
    assert denied(presigned(expires), NOW + expires + 1).startswith(
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z ("
    )
    assert denied(presigned(expires), NOW - 301).startswith("Signature not yet current: ")


HELLO = hashlib.sha256(b"hello").hexdigest().encode()


def hashed(value: bytes) -> Claim:
    return claim_of((b"X-Amz-Content-SHA256", value), signed=("host", "x-amz-content-sha256", "x-amz-date"))


def test_the_body_counts_whether_a_header_tells_its_hash_or_not() -> None:
    """The header's value is what was signed, and must be the body's."""
    assert sigv4.payload_hash(claim_of(), HELLO, secure=False) == HELLO
    assert sigv4.payload_hash(hashed(HELLO), HELLO, secure=False) == HELLO
    for secure in (True, False):
        with pytest.raises(ApiError, match="does not match what was computed") as caught:
            sigv4.payload_hash(hashed(EMPTY), HELLO, secure=secure)
        assert caught.value.code == "InvalidSignatureException"


def test_an_unsigned_body_is_for_tls_alone() -> None:
    """Without it anybody on the way could change the body; with it the body need not be hashed."""
    claim = hashed(b"UNSIGNED-PAYLOAD")
    assert not claim.covers_body
    assert sigv4.payload_hash(claim, b"", secure=True) == b"UNSIGNED-PAYLOAD"
    with pytest.raises(ApiError, match="UNSIGNED-PAYLOAD is for requests over TLS"):
        sigv4.payload_hash(claim, HELLO, secure=False)


@pytest.mark.parametrize(
    "value",
    [
        b"STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        b"STREAMING-AWS4-HMAC-SHA256-EVENTS",
        b"STREAMING-UNSIGNED-PAYLOAD-TRAILER",
        b"",
        b"unsigned-payload",
        HELLO.upper(),
        HELLO[:-1],
        HELLO + b"," + HELLO,
    ],
)
def test_any_other_payload_is_refused(value: bytes) -> None:
    """Over TLS too. Chunks with signatures of their own are named: an SDK can be told to stop sending them."""
    text = "signed in chunks" if value.startswith(b"STREAMING-") else "valid sha256 value"
    with pytest.raises(ApiError, match=text):
        sigv4.payload_hash(hashed(value), HELLO, secure=True)


def test_a_presigned_query_may_tell_the_hash_of_the_body() -> None:
    """Some SDKs move the header there; a header goes before."""
    claim = presigned(60, more=b"&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD")
    assert sigv4.payload_hash(claim, HELLO, secure=True) == b"UNSIGNED-PAYLOAD"
    with pytest.raises(ApiError):
        sigv4.payload_hash(claim, HELLO, secure=False)
    both = presigned(
        60,
        (b"x-amz-content-sha256", HELLO),
        signed="host%3Bx-amz-content-sha256",
        more=b"&X-Amz-Content-Sha256=UNSIGNED-PAYLOAD",
    )
    assert sigv4.payload_hash(both, HELLO, secure=False) == HELLO


def test_paths_that_are_kept_are_bounded() -> None:
    """A stranger can send any."""
    claim = claim_of()
    for number in range(3000):
        sigv4.canonical_request(claim, b"GET", b"/%d" % number, EMPTY)
    kept: Any = sigv4._path.cache_info()
    assert kept.currsize == kept.maxsize == 1024
    sigv4.canonical_request(claim, b"GET", b"/" + b"x" * 300, EMPTY)
    assert sigv4._path.cache_info().misses == kept.misses
