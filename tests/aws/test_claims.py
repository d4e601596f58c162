"""What a request says of its signature: what is read, and every way in which it is refused before any key is asked."""

import pytest

from polyport.aws import claims
from polyport.aws.claims import Claim, Credential
from polyport.errors import ApiError

SCOPE = "AKIDEXAMPLE/20150830/us-east-1/sagemaker/aws4_request"
SIGNATURE = "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"
DATE = (b"X-Amz-Date", b"20150830T123600Z")
HOST = (b"Host", b"localhost:7070")
QUERY = {
    "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
    "X-Amz-Credential": SCOPE.replace("/", "%2F"),
    "X-Amz-Date": "20150830T123600Z",
    "X-Amz-Expires": "60",
    "X-Amz-SignedHeaders": "host",
    "X-Amz-Security-Token": "a%2Bb%3D",
    "X-Amz-Signature": SIGNATURE,
}


def authorization(credential: str = SCOPE, signed: str = "host;x-amz-date", signature: str = SIGNATURE) -> bytes:
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={signed}, Signature={signature}".encode()


def parsed(value: bytes, *headers: tuple[bytes, bytes], target: bytes = b"/") -> Claim:
    claim = claims.parse(target, [HOST, DATE, (b"Authorization", value), *headers])
    assert claim is not None
    return claim


def target(**changes: str | None) -> bytes:
    """A pre-signed target; ``None`` leaves a parameter out."""
    parameters = QUERY | {name.replace("_", "-"): value for name, value in changes.items()}
    return ("/?" + "&".join(f"{name}={value}" for name, value in parameters.items() if value is not None)).encode()


def refusal(path: bytes, *headers: tuple[bytes, bytes]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        claims.parse(path, list(headers))
    return caught.value


def test_a_signed_header_request_is_read() -> None:
    """All of it, as values."""
    claim = parsed(
        authorization(signed="host;x-amz-content-sha256;x-amz-date;x-amz-security-token"),
        (b"X-Amz-Security-Token", b"token "),
        (b"X-Amz-Content-SHA256", b"UNSIGNED-PAYLOAD "),
    )
    assert claim.credential == Credential("AKIDEXAMPLE", "20150830", "us-east-1", "sagemaker")
    assert claim.terms.signed == (b"host", b"x-amz-content-sha256", b"x-amz-date", b"x-amz-security-token")
    assert (claim.signature, claim.timestamp) == (SIGNATURE.encode(), b"20150830T123600Z")
    assert (claim.signed_at, claim.expires, claim.token) == (1440938160, None, b"token")
    assert (claim.is_presigned, claim.covers_body) == (False, False)


def test_a_presigned_request_is_read() -> None:
    """Values are percent-decoded."""
    claim = claims.parse(target(), [HOST])
    assert claim is not None
    assert claim.credential == Credential("AKIDEXAMPLE", "20150830", "us-east-1", "sagemaker")
    assert (claim.terms.signed, claim.signature) == ((b"host",), SIGNATURE.encode())
    assert (claim.timestamp, claim.expires, claim.token) == (b"20150830T123600Z", 60, b"a+b=")
    assert (claim.is_presigned, claim.covers_body) == (True, True)


def test_a_claim_shows_no_token_and_no_headers() -> None:
    """It may end in a log."""
    claim = parsed(authorization(signed="host;x-amz-date;x-amz-security-token"), (b"x-amz-security-token", b"tok3n"))
    assert repr(claim) == "<Claim AKIDEXAMPLE 20150830/us-east-1/sagemaker/aws4_request 20150830T123600Z>"


@pytest.mark.parametrize("path", [b"/", b"/?a=b", b"/X-Amz-Signature", b"/?x-amz-signature=1", b"/?X-Amz-Target=a.b"])
def test_an_unsigned_request_is_not_refused_here(path: bytes) -> None:
    """Whether it may be is for others to say."""
    assert claims.parse(path, [HOST, DATE]) is None
    assert claims.parse(b"/" + b"x" * 100_000, [HOST]) is None


@pytest.mark.parametrize(
    "value",
    [
        b"AWS4-HMAC-SHA256 Signature=%b,Credential=%b,SignedHeaders=host;x-amz-date"
        % (SIGNATURE.encode(), SCOPE.encode()),
        authorization().replace(b", ", b","),
        authorization().replace(b", ", b" ,  "),
        b" " + authorization() + b" ",
        authorization(credential="A" * 128 + SCOPE[11:]) + b" ",
    ],
)
def test_pieces_may_stand_in_any_order_and_with_any_blanks(value: bytes) -> None:
    """SDKs differ."""
    assert parsed(value).signature == SIGNATURE.encode()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b"", "must begin with AWS4-HMAC-SHA256"),
        (b" ", "must begin with AWS4-HMAC-SHA256"),
        (b"Basic c2VjcmV0OnBhc3M=", "must begin with AWS4-HMAC-SHA256"),
        (b"Bearer s3cret", "must begin with AWS4-HMAC-SHA256"),
        (authorization().replace(b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256"), "must begin with AWS4-HMAC-SHA256"),
        (authorization().replace(b"AWS4-HMAC-SHA256", b"AWS4-HMAC-SHA256-PAYLOAD"), "must begin with"),
        (authorization().replace(b"AWS4-HMAC-SHA256 ", b"AWS4-HMAC-SHA256"), "must begin with AWS4-HMAC-SHA256"),
        (b"AWS3-HTTPS AWSAccessKeyId=A,Algorithm=HmacSHA256,Signature=x", "must begin with AWS4-HMAC-SHA256"),
        (b"AWS4-HMAC-SHA256", "each of them once"),
        (b"AWS4-HMAC-SHA256 Credential=" + SCOPE.encode(), "requires 'SignedHeaders' parameter. Authorization header"),
        (b"AWS4-HMAC-SHA256 SignedHeaders=host, Signature=" + SIGNATURE.encode(), "requires 'Credential' parameter."),
        (authorization().replace(b", Signature=", b", Credential=x, Signature="), "each of them once"),
        (authorization() + b", Signature=" + SIGNATURE.encode(), "each of them once"),
        (authorization() + b"Signature=" + SIGNATURE.encode(), "64 lower-case hexadecimal digits"),
        (authorization() + b", Other=1", "each of them once"),
        (authorization() + b",", "each of them once"),
        (authorization().replace(b", SignedHeaders", b" SignedHeaders"), "requires 'SignedHeaders' parameter."),
        (authorization(signature=SIGNATURE.upper()), "64 lower-case hexadecimal digits"),
        (authorization(signature=SIGNATURE[:-1]), "64 lower-case hexadecimal digits"),
        (authorization(signature=SIGNATURE + "0"), "64 lower-case hexadecimal digits"),
        (authorization(signature=SIGNATURE[:-1] + "g"), "64 lower-case hexadecimal digits"),
        (authorization(signature=SIGNATURE[:30] + "-" + SIGNATURE[31:]), "64 lower-case hexadecimal digits"),
        (authorization(signature=""), "64 lower-case hexadecimal digits"),
        (authorization(signed=""), "lower-case names of headers"),
        (authorization(signed="Host;x-amz-date"), "lower-case names of headers"),
        (authorization(signed="host;;x-amz-date"), "lower-case names of headers"),
        (authorization(signed="host;x-amz-date;"), "lower-case names of headers"),
        (authorization(signed="host;x amz"), "lower-case names of headers"),
        (authorization(signed="x-amz-date;host"), "must be sorted"),
        (authorization(signed="host;host;x-amz-date"), "must be sorted, and name each header once"),
    ],
)
def test_a_malformed_authorization_header_is_refused(value: bytes, text: str) -> None:
    """IncompleteSignatureException, and nothing of what was sent is repeated: it may be a password."""
    for headers in ((HOST, DATE, (b"Authorization", value)), ((b"authorization", value), HOST, DATE)):
        error = refusal(b"/", *headers)
        assert (error.code, error.status) == ("IncompleteSignatureException", 400)
        assert text in error.message
        assert "s3cret" not in error.message


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "x",
        "/20260102/eu-west-1/sagemaker/aws4_request",
        "A/20260102/eu-west-1/sagemaker/aws4",
        "A/20260102/eu-west-1/sagemaker/aws4_request/",
        "A/2026/eu-west-1/sagemaker/aws4_request",
        "A/2026010a/eu-west-1/sagemaker/aws4_request",
        "A/20260102/EU_west/sagemaker/aws4_request",
        "A/20260102/../sagemaker/aws4_request",
        f"A/20260102/{'a' * 33}/sagemaker/aws4_request",
        "A/20260102/eu-west-1//aws4_request",
        "A/20260102/eu-west-1/../aws4_request",
        f"A/20260102/eu-west-1/{'s' * 64}/aws4_request",
        f"{'A' * 129}/20260102/eu-west-1/sagemaker/aws4_request",
        "A b/20260102/eu-west-1/sagemaker/aws4_request",
        "\u00e4/20260102/eu-west-1/sagemaker/aws4_request",
    ],
)
def test_a_malformed_credential_is_refused(scope: str) -> None:
    """In the header as in the query."""
    error = refusal(b"/", HOST, DATE, (b"Authorization", authorization(credential=scope)))
    assert "ACCESS_KEY/YYYYMMDD/REGION/SERVICE/aws4_request" in error.message
    error = refusal(target(X_Amz_Credential=scope.replace("/", "%2F")), HOST)
    assert "ACCESS_KEY/YYYYMMDD/REGION/SERVICE/aws4_request" in error.message


def test_several_authorization_headers_are_refused() -> None:
    """Which one would count?"""
    error = refusal(b"/", HOST, DATE, (b"Authorization", authorization()), (b"authorization", authorization()))
    assert (error.code, error.message) == (
        "IncompleteSignatureException",
        "The request has several Authorization headers.",
    )


def test_an_overlong_authorization_header_is_refused_before_it_is_read() -> None:
    """4 KiB. What is longer may be anything."""
    names = "host;" + ";".join(f"x{number:06}" for number in range(500))
    error = refusal(b"/", HOST, DATE, (b"Authorization", authorization(signed=names)[:4097].ljust(4097, b"x")))
    assert error.message == "The Authorization header may have at most 4096 bytes."
    error = refusal(b"/", HOST, DATE, (b"Authorization", authorization(signed=names)[:4000]))
    assert "4096" not in error.message


def test_an_overlong_target_is_refused() -> None:
    """It would be split and sorted."""
    error = refusal(b"/?" + b"a&" * 10_000, HOST, DATE, (b"Authorization", authorization()))
    assert error.message == "The target of a signed request may have at most 16384 bytes."
    assert "16384" in refusal(target() + b"&a" * 10_000, HOST).message


def test_a_request_signed_in_both_ways_is_refused() -> None:
    """By the header and by any part of a query signature."""
    for path in (target(), b"/?X-Amz-Security-Token=a", b"/?X-Amz-Signature"):
        error = refusal(path, HOST, DATE, (b"Authorization", authorization()))
        assert error.message == "A request is signed by its Authorization header or by its query, not by both."
    assert "not by both" in refusal(target(), HOST, (b"Authorization", b"Bearer x")).message


@pytest.mark.parametrize("name", QUERY)
def test_a_parameter_of_the_signature_given_twice_is_refused(name: str) -> None:
    """Whether equal or not."""
    for again in (f"&{name}={QUERY[name]}", f"&{name}", f"&{name}=other"):
        error = refusal(target() + again.encode(), HOST)
        assert (error.code, error.message) == ("IncompleteSignatureException", f"The query has '{name}' several times.")


@pytest.mark.parametrize("name", [name for name in QUERY if name != "X-Amz-Security-Token"])
def test_a_missing_parameter_is_named(name: str) -> None:
    """All but the token are required."""
    error = refusal(target(**{name: None}), HOST)
    assert (error.code, error.message) == (
        "IncompleteSignatureException",
        f"A pre-signed request requires the query parameters '{name}' too.",
    )


@pytest.mark.parametrize("expires", ["", "0", "604801", "-1", "1.5", "+60", "6e2", "60%20", "9999999", "%D9%A1"])
def test_a_presigned_request_is_good_for_a_second_to_a_week(expires: str) -> None:
    """X-Amz-Expires."""
    assert "from 1 to 604800" in refusal(target(X_Amz_Expires=expires), HOST).message
    for fine in ("1", "604800"):
        assert claims.parse(target(X_Amz_Expires=fine), [HOST]) is not None


@pytest.mark.parametrize("algorithm", ["", "AWS4-ECDSA-P256-SHA256", "aws4-hmac-sha256", "AWS4-HMAC-SHA256%20"])
def test_another_algorithm_in_the_query_is_refused(algorithm: str) -> None:
    """Only the one."""
    error = refusal(target(X_Amz_Algorithm=algorithm), HOST)
    assert (error.code, error.message[:43]) == (
        "IncompleteSignatureException",
        "'X-Amz-Algorithm' must be AWS4-HMAC-SHA256;",
    )


def test_two_security_tokens_are_refused() -> None:
    """In the query and in a header."""
    error = refusal(target(X_Amz_SignedHeaders="host%3Bx-amz-security-token"), HOST, (b"x-amz-security-token", b"a+b="))
    assert error.message == "The security token is in the query and in a header."


def test_the_host_must_be_signed() -> None:
    """Else a request could be sent on to another server."""
    for error in (
        refusal(b"/", HOST, DATE, (b"Authorization", authorization(signed="x-amz-date"))),
        refusal(target(X_Amz_SignedHeaders="date"), HOST, (b"Date", b"x")),
    ):
        assert (error.code, error.message) == (
            "InvalidSignatureException",
            "'Host' must be a 'SignedHeader' in the AWS Authorization.",
        )


def test_every_signed_header_must_be_in_the_request() -> None:
    """And those that are not are named."""
    error = refusal(b"/", HOST, DATE, (b"Authorization", authorization(signed="content-type;host;via;x-amz-date")))
    assert error.code == "InvalidSignatureException"
    assert error.message.endswith("not present in the request: content-type, via.")
    assert "not present in the request: host." in refusal(target()).message


def test_a_request_without_a_date_is_refused() -> None:
    """Neither X-Amz-Date nor Date."""
    error = refusal(b"/", HOST, (b"Authorization", authorization(signed="host")))
    assert error.code == "IncompleteSignatureException"
    assert error.message.endswith("requires existence of either a 'X-Amz-Date' or a 'Date' header.")


@pytest.mark.parametrize(
    "stamp",
    [
        b"",
        b"2015-08-30T12:36:00Z",
        b"20150830T123600",
        b"20150830T123600z",
        b"20151330T123600Z",
        b"20150832T123600Z",
        b"20150830T123660Z",
        b"00000101T000000Z",
        b"20150830T123600Z,20150830T123600Z",
        b"20150830T12360\xd9\xa1Z",
    ],
)
def test_a_date_must_be_one(stamp: bytes) -> None:
    """ISO 8601, basic format, in the header and in the query."""
    for error in (
        refusal(b"/", HOST, (b"X-Amz-Date", stamp), (b"Authorization", authorization())),
        refusal(target(X_Amz_Date=stamp.decode("latin-1")), HOST),
    ):
        assert (error.code, error.message) == (
            "InvalidSignatureException",
            "Date must be in ISO-8601 'basic format': YYYYMMDDTHHMMSSZ.",
        )


@pytest.mark.parametrize(
    "date",
    [
        b"Sun, 30 Aug 2015 12:36:00 GMT",
        b"Sun, 30 Aug 2015 12:36:00 -0000",
        b"30 Aug 2015 12:36:00 UTC",
        b"20150830T123600Z",
    ],
)
def test_the_date_header_counts_when_there_is_no_x_amz_date(date: bytes) -> None:
    """As HTTP writes it or as X-Amz-Date is written; X-Amz-Date is looked for first."""
    signed = (b"Authorization", authorization(signed="date;host"))
    claim = claims.parse(b"/", [HOST, (b"Date", date), signed])
    assert claim is not None
    assert (claim.timestamp, claim.signed_at) == (b"20150830T123600Z", 1440938160)
    claim = claims.parse(b"/", [HOST, (b"Date", date), (b"X-Amz-Date", b"20150831T000000Z"), signed])
    assert claim is not None
    assert claim.timestamp == b"20150831T000000Z"


@pytest.mark.parametrize(
    "date",
    [b"x", b"Sun, 30 Abc 2015 12:36:00 GMT", b"99 Aug 2015 12:36:00 GMT", b"30 Aug 2015 25:00:00 GMT", b"1 Jan 2015"],
)
def test_a_date_header_must_be_a_date_and_signed(date: bytes) -> None:
    """Or the time could be changed at will."""
    error = refusal(b"/", HOST, (b"Date", date), (b"Authorization", authorization(signed="date;host")))
    assert error.message.startswith("Date must be in ISO-8601")
    error = refusal(b"/", HOST, (b"Date", b"20150830T123600Z"), (b"Authorization", authorization(signed="host")))
    assert error.message == "'Date' must be a 'SignedHeader' in the AWS Authorization."


def test_what_is_kept_of_strangers_is_bounded() -> None:
    """Thousands of different clients, and clients with long headers."""
    for number in range(2000):
        parsed(authorization(credential=f"AKID{number}/20150830/us-east-1/sagemaker/aws4_request"))
    kept = claims._kept.cache_info()
    assert kept.currsize == kept.maxsize == 512
    misses = kept.misses
    name = b"x" * 600
    parsed(authorization(signed="host;x-amz-date;" + name.decode()), (name, b"1"))
    assert claims._kept.cache_info().misses == misses
    parsed(authorization(credential="AKID1999/20150830/us-east-1/sagemaker/aws4_request"))
    assert claims._kept.cache_info().misses == misses


def test_the_credential_alone_is_found_in_an_incomplete_signature() -> None:
    """For those who only ask whose call it is, and in which protocol to refuse it."""
    found = Credential("AKIDEXAMPLE", "20150830", "us-east-1", "sagemaker")
    assert claims.credential_of(b"AWS4-HMAC-SHA256 Credential=" + SCOPE.encode(), b"") == found
    assert claims.credential_of(b"", b"a=b&X-Amz-Credential=" + SCOPE.replace("/", "%2f").encode()) == found
    assert claims.credential_of(b"Bearer x", b"a=b") is None
    with pytest.raises(ApiError):
        claims.credential_of(b"AWS4-HMAC-SHA256 Signature=x", b"")
