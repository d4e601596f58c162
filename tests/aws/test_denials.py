"""One situation, in the words of each protocol."""

from collections.abc import Callable

import msgspec
import pytest

from polyport.aws import denials, faults
from polyport.aws.denials import Denial
from polyport.aws.dispatch import Call

TABLE = [
    (denials.missing, "MissingAuthenticationTokenException", "MissingAuthenticationToken"),
    (lambda protocol: denials.incomplete("x", protocol), "IncompleteSignatureException", "IncompleteSignature"),
    (lambda protocol: denials.mismatch("x", protocol), "InvalidSignatureException", "SignatureDoesNotMatch"),
    (denials.unknown, "UnrecognizedClientException", "InvalidClientTokenId"),
    (denials.expired, "ExpiredTokenException", "ExpiredToken"),
    (lambda protocol: denials.forbidden("x", protocol), "AccessDeniedException", "AccessDenied"),
]


@pytest.mark.parametrize(("make", "long", "short"), TABLE)
def test_each_protocol_has_its_code_and_status(make: Callable[[str], Denial], long: str, short: str) -> None:
    """The table of the module, whether made for a protocol or told in it."""
    is_incomplete = long == "IncompleteSignatureException"
    expected = {
        "json": (long, 400),
        "smithy-rpc-v2-cbor": (long, 400),
        "rest-json": (long, 400 if is_incomplete else 403),
        "query": (short, 400 if is_incomplete else 403),
        "ec2": (short, 400 if is_incomplete else 403),
        "rest-xml": (short, 400 if is_incomplete else 403),
    }
    for protocol, (code, status) in expected.items():
        for denial in (make(protocol), make("json").told(protocol)):
            assert (denial.code, denial.status, denial.message) == (code, status, make("json").message)


def test_the_texts_are_those_that_clients_know() -> None:
    """Tools look for them, people search for them. A mismatch never says what would be right."""
    assert denials.unknown().message == "The security token included in the request is invalid."
    assert denials.expired().message == "The security token included in the request is expired"
    assert denials.mismatch().message.startswith(
        "The request signature we calculated does not match the signature you provided."
    )
    assert "anonical" not in denials.mismatch().message


def test_an_answer_tells_it_in_the_protocol_of_the_call() -> None:
    """Whoever verified need not know the protocol."""
    response = faults.render_fault(denials.mismatch(), Call("sts", "query", "GetCallerIdentity", ""), "id-1")
    assert response.status == 403
    assert b"<Code>SignatureDoesNotMatch</Code>" in response.body
    response = faults.render_fault(denials.unknown(), Call("sagemaker", "json", "ListModels", ""), "id-1")
    assert response.status == 400
    assert msgspec.json.decode(response.body)["__type"] == "UnrecognizedClientException"
