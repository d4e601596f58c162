"""Daemons and registries have many words for the same few things; we have one text for each."""

import pytest

from polyport.images import references
from polyport.images.daemon import faults

#: As Docker 20 to 27 (D) and Podman 4 and 5 (P) say it.
SAID = {
    "not found": [
        "manifest for reg.example/team/model:1 not found: manifest unknown: manifest unknown",  # D
        (
            "initializing source docker://reg.example/team/model:1: reading manifest 1 in reg.example/team/model: "
            "manifest unknown"
        ),  # P
        "name unknown: The repository with name 'model' does not exist in the registry with id '123456789012'",  # ECR
        'failed to resolve reference "reg.example/team/model:1": reg.example/team/model:1: not found',  # D
    ],
    "denied": [
        (
            "pull access denied for team/model, repository does not exist or may require 'docker login': denied: "
            "requested access to the resource is denied"
        ),  # D, the Hub
        'Head "https://reg.example/v2/team/model/manifests/1": no basic auth credentials',  # D, ECR
        "unauthorized: authentication required",  # D
        "reading manifest 2 in reg.example/team/model: unauthorized",  # P
        "unable to retrieve auth token: invalid username/password: unauthorized: incorrect username or password",  # P
        "unexpected status code [manifests 1]: 403 Forbidden",  # D
    ],
    "architecture": [
        "no matching manifest for linux/arm64/v8 in the manifest list entries",  # D
        (
            "choosing an image from manifest list docker://reg.example/team/model:1: no image found in manifest list "
            'for architecture amd64, variant "", OS linux'
        ),  # P 4
        'no image found in image index for architecture "arm64", variant "v8", OS "linux"',  # P 5
    ],
    "unreachable": [
        'Get "https://reg.example/v2/": dial tcp: lookup reg.example on 10.0.0.1:53: no such host',  # D
        (
            'pinging container registry reg.example: Get "http://reg.example/v2/": dial tcp 127.0.0.1:5999: '
            "connect: connection refused"
        ),  # P
        'Get "https://reg.example/v2/": net/http: request canceled (Client.Timeout exceeded while awaiting headers)',
        (
            'Get "https://reg.example/v2/": tls: failed to verify certificate: x509: certificate signed by unknown '
            "authority"
        ),
        "received unexpected HTTP status: 503 Service Unavailable",
        "invalid status code from registry 500 (Internal Server Error)",  # P
        'writing blob: storing blob to file "/var/tmp/storage1/1": happened during read: unexpected EOF',  # P
        "expected HTTP 206 from byte range request",  # D, whose download broke off
    ],
    "too many": [
        "toomanyrequests: You have reached your pull rate limit.",  # the Hub
        "received unexpected HTTP status: 429 Too Many Requests",
    ],
    "disk full": [
        "failed to register layer: write /usr/lib/x.so: no space left on device",  # D
        'writing blob: adding layer with blob "sha256:403401": processing tar file: write /x: no space left on device',
    ],
}
TEXTS = {
    "not found": 'Image "team/model:1" was not found',
    "denied": 'Access to image "team/model:1" was denied',
    "architecture": "is not there for this machine's architecture",
    "unreachable": "could not be reached",
    "too many": "refuses further pulls for now",
    "disk full": "There is no space left",
}


@pytest.mark.parametrize(("kind", "said"), [(kind, said) for kind, texts in SAID.items() for said in texts])
def test_every_wording_gets_the_text_of_its_kind(kind: str, said: str) -> None:
    """Rule: one cause, one text, whichever daemon and registry said it."""
    reference = references.parse("reg.example/team/model:1")
    assert str(faults.pull("team/model:1", reference, said)).startswith(TEXTS[kind]) or TEXTS[kind] in str(
        faults.pull("team/model:1", reference, said)
    )
    assert sum(text in str(faults.pull("team/model:1", reference, said)) for text in TEXTS.values()) == 1


def test_a_name_that_holds_the_words_of_another_cause_misleads_nobody() -> None:
    """The image's own name is in most messages."""
    name = "denied.example/unauthorized/403:1"
    said = f"reading manifest 1 in {name.removesuffix(':1')}: manifest unknown"
    assert "was not found" in str(faults.pull(name, references.parse(name), said))


def test_digits_of_a_digest_are_no_status() -> None:
    """``401`` inside a digest says nothing."""
    said = "reading manifest sha256:a4014030 in reg.example/x: manifest unknown"
    assert faults.classify(said) == "not found"


def test_what_nobody_foresaw_is_quoted() -> None:
    """In one line, not without end."""
    text = str(faults.pull("x:1", references.parse("x:1"), "weird\nthings " * 100))
    assert 'Image "x:1" could not be pulled. The registry\'s words: weird things' in text
    assert len(text) < 600


def test_what_was_wrong_with_the_credentials_stands_behind_a_denial() -> None:
    """Most denials are a helper that failed."""
    hint = "The credential helper docker-credential-ecr-login is not installed."
    text = str(faults.pull("x:1", references.parse("x:1"), "unauthorized", (hint,)))
    assert text.endswith(hint)
    assert "docker login docker.io" in text
