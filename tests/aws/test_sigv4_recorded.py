"""Requests that other signers than botocore made, as they were on the wire: `curl --aws-sigv4` and JavaScript's signer.

They write what botocore does not: lower-case names of headers, signed ``amz-sdk-request``, ``x-amz-content-sha256``,
members of a query out of order, a header with blanks and tabs, headers that were moved into the query.
"""

import pytest

from aws import signing
from aws.signing import Sent

SECRETS = {"AKIDEXAMPLE": "secret"}
NOW = 1795573301.0  # 20261125T022141Z

_CURL = (
    b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261125/us-east-1/sagemaker/aws4_request, "
    b"SignedHeaders=content-type;host;x-amz-date;x-amzn-sagemaker-target-container-hostname, "
    b"Signature=648d0c1fa5422f769fc596f24dd89f069f1a3fc58b18d7ccb2364a2e168e9b05"
)
CURL = Sent(
    b"POST",
    b"/endpoints/e/invocations",
    [
        (b"Host", b"127.0.0.1:38923"),
        (b"Authorization", _CURL),
        (b"X-Amz-Date", b"20261125T022141Z"),
        (b"User-Agent", b"curl/7.88.1"),
        (b"Accept", b"*/*"),
        (b"Content-Type", b"text/csv"),
        (b"X-Amzn-SageMaker-Target-Container-Hostname", b"sklearn"),
        (b"Content-Length", b"5"),
    ],
    b"1,2,3",
)
_SIGNED = (
    b"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261125/eu-west-1/sagemaker/aws4_request, "
    b"SignedHeaders=amz-sdk-request;content-type;host;x-amz-content-sha256;x-amz-date;x-amz-security-token;"
    b"x-amz-user-agent;x-amzn-sagemaker-custom-attributes, "
    b"Signature=c17dbf380e32376caae7c6889046e95cb3561738af83f9a685720accbdd24fa6"
)
_JAVASCRIPT: signing.Headers = [
    (b"host", b"localhost:7070"),
    (b"content-type", b"text/csv"),
    (b"x-amzn-sagemaker-custom-attributes", b"  a   b\tc "),
    (b"amz-sdk-request", b"attempt=1; max=3"),
    (b"user-agent", b"x"),
]
JAVASCRIPT = Sent(
    b"POST",
    b"/endpoints/my-endpoint/invocations?b=x%20y%2Bz~&a=2&a=1",
    [
        *_JAVASCRIPT,
        (b"x-amz-user-agent", b"aws-sdk-js/3"),
        (b"x-amz-date", b"20261125T022141Z"),
        (b"x-amz-security-token", b"tok+en/="),
        (b"x-amz-content-sha256", b"8a6ae15122001229edb8866f56e342af12ae8187203c3e3b33931743e7c0c48d"),
        (b"authorization", _SIGNED),
    ],
    b"1,2,3",
)
PRESIGNED = Sent(
    b"POST",
    b"/endpoints/my-endpoint/invocations?b=x%20y%2Bz~&a=2&a=1&x-amz-user-agent=aws-sdk-js%2F3"
    b"&X-Amz-Security-Token=tok%2Ben%2F%3D&X-Amz-Algorithm=AWS4-HMAC-SHA256"
    b"&X-Amz-Credential=AKIDEXAMPLE%2F20261125%2Feu-west-1%2Fsagemaker%2Faws4_request&X-Amz-Date=20261125T022141Z"
    b"&X-Amz-Expires=600&X-Amz-SignedHeaders=amz-sdk-request%3Bcontent-type%3Bhost%3Bx-amzn-sagemaker-custom-attributes"
    b"&X-Amz-Signature=05f0249f46f80f3653792141d4a879be2c00ac354a9a8a9712597f623f9fdfaf",
    _JAVASCRIPT,
    b"1,2,3",
)


@pytest.mark.parametrize("request_", [CURL, JAVASCRIPT, PRESIGNED], ids=["curl", "javascript", "pre-signed"])
def test_other_signers_are_verified_and_each_changed_byte_refused(request_: Sent) -> None:
    """A second and a third opinion on what a signature is."""
    assert signing.verify(request_, SECRETS, "sagemaker", NOW)
    for where, changed in signing.mutations(request_):
        assert not signing.verify(changed, SECRETS, "sagemaker", NOW), where


def test_the_order_of_headers_and_the_case_of_their_names_mean_nothing() -> None:
    """Proxies change both."""
    turned = [(name.title(), value) for name, value in reversed(JAVASCRIPT.headers)]
    assert signing.verify(JAVASCRIPT._replace(headers=turned), SECRETS, "sagemaker", NOW)
