"""Whatever bytes come in: a claim, or an `ApiError`."""

from hypothesis import example, given
from hypothesis import strategies as st

from aws import test_claims
from polyport.aws import claims
from polyport.errors import ApiError

PIECES = st.sampled_from(
    [
        b"AWS4-HMAC-SHA256 ",
        b"Credential=",
        test_claims.SCOPE.encode(),
        b"SignedHeaders=",
        b"host;x-amz-date",
        b"Signature=",
        test_claims.SIGNATURE.encode(),
        b", ",
        b"%",
        b";",
        b"/",
    ]
)
NAMES = st.sampled_from([b"Authorization", b"Host", b"X-Amz-Date", b"Date", b"x-amz-security-token"])
VALUES = st.binary(max_size=40) | st.lists(PIECES | st.binary(max_size=3), max_size=12).map(b"".join)
PARTS = st.sampled_from(
    [name.encode() for name in test_claims.QUERY] + [value.encode() for value in test_claims.QUERY.values()]
)
TARGETS = st.binary(max_size=60) | st.lists(PARTS | st.sampled_from([b"&", b"=", b"%", b"?"]), max_size=30).map(
    lambda parts: b"/?" + b"".join(parts)
)


@given(TARGETS, st.lists(st.tuples(NAMES | st.binary(max_size=12), VALUES), max_size=8))
@example(b"/", [(b"authorization", b"")])
@example(b"/", [(b"authorization", b"AWS4-HMAC-SHA256")])
@example(test_claims.target(), [(b"host", b"\xff")])
def test_whatever_comes_is_read_or_refused(path: bytes, headers: list[tuple[bytes, bytes]]) -> None:
    """Never anything but an `ApiError`."""
    try:
        claim = claims.parse(path, headers)
    except ApiError:
        return
    assert claim is None or repr(claim)


@given(st.binary(max_size=40) | st.from_regex(rb"[0-9]{1,2} [A-Z][a-z]{2} [0-9]{4} [0-9]{2}:[0-9]{2}:[0-9]{2} GMT"))
def test_whatever_date_comes_is_read_or_refused(date: bytes) -> None:
    """As above."""
    signed = (b"Authorization", test_claims.authorization(signed="date;host"))
    try:
        claim = claims.parse(b"/", [test_claims.HOST, (b"Date", date), signed])
    except ApiError:
        return
    assert claim is not None
    assert len(claim.timestamp) == 16
