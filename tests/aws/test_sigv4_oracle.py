"""botocore is the oracle of signatures: what it signs is verified, and nothing else is, for every operation served."""

import hashlib
from typing import Any

import pytest
from botocore import auth
from botocore.awsrequest import AWSRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aws import signing
from aws.shapes import SERVED, values
from aws.signing import Caller, Sent
from polyport.aws import claims

QUICK = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
FEW = settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
RUNTIME = ["InvokeEndpoint", "InvokeEndpointWithResponseStream"]
STS = ["GetCallerIdentity", "AssumeRole", "GetSessionToken"]
CALLS = [
    *(("sagemaker", "sagemaker", name) for name in SERVED),
    *(("sagemaker-runtime", "sagemaker", name) for name in RUNTIME),
    *(("sts", "sts", name) for name in STS),
]
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40)


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    signing.stop_clock(monkeypatch)


def arguments(model: str, operation: str) -> st.SearchStrategy[dict[str, Any]]:
    """Arguments of a call. The runtime's headers are any printable text, blanks included, which signers fold."""
    if model != "sagemaker-runtime":
        return values(signing.described(model, operation).input_shape)
    return st.fixed_dictionaries(
        {
            "EndpointName": st.from_regex(r"[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}", fullmatch=True),
            "Body": st.binary(max_size=60),
        },
        optional={
            "ContentType": PRINTABLE,
            "Accept": PRINTABLE,
            "CustomAttributes": PRINTABLE,
            "TargetContainerHostname": st.just("sklearn"),
            "InferenceId": PRINTABLE.filter(bool),
        },
    )


@pytest.mark.parametrize(("model", "signing_name", "operation"), CALLS)
def test_what_botocore_signs_is_verified(model: str, signing_name: str, operation: str) -> None:
    """Any arguments, credentials, region and endpoint; but not for another service, secret or key."""

    @QUICK
    @given(arguments(model, operation), signing.callers(signing_name))
    def check(given_arguments: dict[str, Any], caller: Caller) -> None:
        request = signing.serialized(signing.described(model, operation), given_arguments, caller)
        sent = signing.sign(request, caller)
        assert signing.verify(sent, {caller.access_key: caller.secret}, signing_name)
        assert not signing.verify(sent, {caller.access_key: caller.secret + "x"}, signing_name)
        assert not signing.verify(sent, {caller.access_key + "x": caller.secret}, signing_name)
        assert not signing.verify(sent, {caller.access_key: caller.secret}, "s3")
        claim = claims.parse(sent.target, sent.headers)
        assert claim is not None
        assert claim.token == (caller.token.encode() if caller.token else None)
        assert claim.credential == claims.Credential(caller.access_key, "20260102", caller.region, signing_name)

    check()


@pytest.mark.parametrize(("model", "signing_name", "operation"), CALLS)
def test_what_botocore_presigns_is_verified(model: str, signing_name: str, operation: str) -> None:
    """botocore moves the members of a body into the query; a body of bytes it cannot move, so there is none."""

    @QUICK
    @given(arguments(model, operation), signing.callers(signing_name))
    def check(given_arguments: dict[str, Any], caller: Caller) -> None:
        sent = presigned(model, operation, given_arguments, caller)
        assert signing.verify(sent, {caller.access_key: caller.secret}, signing_name)
        assert signing.verify(sent, {caller.access_key: caller.secret}, signing_name, signing.SECONDS + 3600)
        assert not signing.verify(sent, {caller.access_key: caller.secret}, signing_name, signing.SECONDS + 3601)
        claim = claims.parse(sent.target, sent.headers)
        assert claim is not None
        assert claim.is_presigned
        assert claim.token == (caller.token.encode() if caller.token else None)

    check()


def presigned(model: str, operation: str, given_arguments: dict[str, Any], caller: Caller) -> Sent:
    """A pre-signed call."""
    request = signing.serialized(signing.described(model, operation), given_arguments, caller)
    if model == "sagemaker-runtime":
        request.data = b""
    return signing.sign(request, caller, auth.SigV4QueryAuth)


@pytest.mark.parametrize(("model", "signing_name", "operation"), CALLS)
def test_a_request_of_which_any_byte_was_changed_is_refused(model: str, signing_name: str, operation: str) -> None:
    """Method, target, names and values of signed headers, body, and all of Authorization: each byte, one at a time."""

    @FEW
    @given(arguments(model, operation), signing.callers(signing_name))
    def check(given_arguments: dict[str, Any], caller: Caller) -> None:
        sent = signing.sign(signing.serialized(signing.described(model, operation), given_arguments, caller), caller)
        refuses_mutations(sent, caller)

    check()


@pytest.mark.parametrize(("model", "signing_name", "operation"), CALLS)
def test_a_presigned_request_of_which_any_byte_was_changed_is_refused(
    model: str, signing_name: str, operation: str
) -> None:
    """The query holds all of the signature: each of its bytes too."""

    @FEW
    @given(arguments(model, operation), signing.callers(signing_name))
    def check(given_arguments: dict[str, Any], caller: Caller) -> None:
        refuses_mutations(presigned(model, operation, given_arguments, caller), caller)

    check()


def refuses_mutations(sent: Sent, caller: Caller) -> None:
    """Every changed request, and only these."""
    known = {caller.access_key: caller.secret}
    assert signing.verify(sent, known, caller.service)
    count = 0
    for where, changed in signing.mutations(sent):
        assert not signing.verify(changed, known, caller.service), where
        count += 1
    assert count > 100


def test_what_is_not_signed_may_change() -> None:
    """Proxies and SDKs add and change headers after signing."""
    caller = Caller("AKIDEXAMPLE", "secret", None, "us-east-1", "sagemaker", "http://localhost:7070")
    request = signing.serialized(
        signing.described("sagemaker-runtime", "InvokeEndpoint"), {"EndpointName": "e", "Body": b"1"}, caller
    )
    sent = signing.sign(request, caller)
    changed = sent.without(b"user-agent", b"amz-sdk-request", b"x-amzn-trace-id").plus(
        (b"User-Agent", b"other"), (b"Via", b"1.1 proxy"), (b"x-amzn-trace-id", b"Root=2"), (b"amz-sdk-request", b"2")
    )
    assert signing.verify(changed, {"AKIDEXAMPLE": "secret"}, "sagemaker")


@QUICK
@given(
    st.text("abc/.%2~ _-+:;=\u00e4", max_size=20),
    st.lists(st.tuples(st.text("aB1%~", max_size=3), st.none() | st.text("aB1%2~+/", max_size=3)), max_size=5),
    signing.callers("sagemaker"),
)
def test_paths_and_queries_are_canonical_as_botocore_makes_them(
    path: str, query: list[tuple[str, str | None]], caller: Caller
) -> None:
    """Dot segments, repeated slashes, escapes, parameters without a value and repeated ones."""
    url = f"{caller.endpoint}/{path}"
    if query:
        url += "?" + "&".join(name if value is None else f"{name}={value}" for name, value in query)
    sent = signing.sign(AWSRequest("GET", url), caller)
    assert signing.verify(sent, {caller.access_key: caller.secret}, "sagemaker")


@QUICK
@given(st.lists(st.tuples(st.sampled_from(["X-One", "x-one", "X-Amz-Meta", "Zed"]), PRINTABLE), max_size=6))
def test_repeated_and_blank_headers_are_canonical_as_botocore_makes_them(headers: list[tuple[str, str]]) -> None:
    """Joined in order; blanks around values dropped, and runs of them one."""
    caller = Caller("AKIDEXAMPLE", "secret", None, "us-east-1", "sagemaker", "http://localhost:7070")
    request = AWSRequest("POST", caller.endpoint + "/", data=b"body")
    for name, value in headers:
        request.headers.add_header(name, value)
    sent = signing.sign(request, caller)
    assert signing.verify(sent, {"AKIDEXAMPLE": "secret"}, "sagemaker")


@QUICK
@given(st.binary(max_size=40))
def test_a_presigned_request_may_have_a_body(body: bytes) -> None:
    """Not botocore's, but other SDKs' pre-signed requests are signed with the hash of their body."""

    class WithBody(auth.SigV4QueryAuth):
        def payload(self, request: AWSRequest) -> str:
            return hashlib.sha256(body).hexdigest()

    caller = Caller("AKIDEXAMPLE", "secret", "token+/=", "us-east-1", "sagemaker", "http://localhost:7070")
    sent = signing.sign(AWSRequest("POST", caller.endpoint + "/endpoints/e/invocations"), caller, WithBody)
    assert signing.verify(sent._replace(body=body), {"AKIDEXAMPLE": "secret"}, "sagemaker")
    assert not signing.verify(sent._replace(body=body + b"x"), {"AKIDEXAMPLE": "secret"}, "sagemaker")


def test_a_date_header_is_taken_when_there_is_no_x_amz_date() -> None:
    """botocore signs the Date header instead when a caller sets one."""
    caller = Caller("AKIDEXAMPLE", "secret", None, "us-east-1", "sagemaker", "http://localhost:7070")
    request = AWSRequest("GET", caller.endpoint + "/", headers={"Date": "now"})
    sent = signing.sign(request, caller)
    assert b"x-amz-date" not in {name.lower() for name, _ in sent.headers}
    assert signing.verify(sent, {"AKIDEXAMPLE": "secret"}, "sagemaker")
    assert not signing.verify(sent, {"AKIDEXAMPLE": "secret"}, "sagemaker", signing.SECONDS + 301)
    later = sent.without(b"date").plus((b"Date", b"Fri, 02 Jan 2026 12:30:16 -0000"))
    assert not signing.verify(later, {"AKIDEXAMPLE": "secret"}, "sagemaker")
