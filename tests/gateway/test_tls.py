"""TLS: unmodified clients over https, what is refused, and a certificate that changes while the worker serves."""

import os
import socket
import ssl
import time
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ConnectionClosedError, EndpointConnectionError, SSLError

from gateway.fakes import Reply, invoke
from gateway.sites import Site, read_all
from gateway.workers import DEADLINE, Lab, wait_for
from polyport.errors import UsageError
from polyport.gateway.tls import Certificate
from support.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def secure(lab: Lab, port: int, authority: Authority) -> Site:
    """A worker that serves https."""
    certificate, key = authority.issue("server")
    return Site(lab, port, tls_cert=str(certificate), tls_key=str(key))


def connect(site: Site, authority: Authority, **versions: ssl.TLSVersion) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=str(authority.file))
    for name, version in versions.items():
        setattr(context, name, version)
    return context.wrap_socket(site.connect(), server_hostname="localhost")


def serial_number(site: Site, authority: Authority) -> str:
    with connect(site, authority) as client:
        certificate = client.getpeercert()
        assert certificate
        return str(certificate["serialNumber"])


def runtime(site: Site, authority: Authority, **config: object) -> object:
    client = boto3.client(
        "sagemaker-runtime",
        endpoint_url=f"https://localhost:{site.port}",
        region_name="us-east-1",
        aws_access_key_id="x",
        aws_secret_access_key="x",
        verify=str(authority.file),
        config=Config(retries={"total_max_attempts": 1}, read_timeout=DEADLINE, **config),
    )
    site.lab.clients.append(client)
    return client


def test_boto3_invokes_over_https(secure: Site, authority: Authority) -> None:
    """Small and large bodies, one after the other on one connection, and streams."""
    client = runtime(secure, authority)
    for body in (b"{}", os.urandom(3_000_000), b"again"):
        assert client.invoke_endpoint(EndpointName="single", Body=body)["Body"].read() == body
    stream = client.invoke_endpoint_with_response_stream(EndpointName="single", Body=b"streamed")["Body"]
    assert b"".join(event["PayloadPart"]["Bytes"] for event in stream) == b"streamed"


def test_what_is_not_tls_gets_no_answer(secure: Site) -> None:
    """A request in the clear is not served, and does not hang."""
    with secure.connect() as client:
        client.sendall(invoke("single"))
        try:
            answer = read_all(client)
        except ConnectionResetError:
            answer = b""
    assert b"HTTP/1.1" not in answer
    assert secure.first.visits == []


def test_old_versions_are_refused(secure: Site, authority: Authority) -> None:
    """1.2 and newer, no older."""
    with connect(secure, authority, maximum_version=ssl.TLSVersion.TLSv1_2) as client:
        assert client.version() == "TLSv1.2"
    with connect(secure, authority) as client:
        assert client.version() == "TLSv1.3"
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises((ssl.SSLError, ConnectionResetError)):
        connect(secure, authority, minimum_version=ssl.TLSVersion.TLSv1_1, maximum_version=ssl.TLSVersion.TLSv1_1)


def test_a_new_certificate_is_used_without_a_restart(secure: Site, authority: Authority) -> None:
    """For new connections; one that is open goes on."""
    before = serial_number(secure, authority)
    with connect(secure, authority) as held:
        authority.issue("server")
        wait_for(lambda: serial_number(secure, authority) != before, "the new certificate")
        held.sendall(invoke("single").replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        assert Reply(read_all(held)).status == 200
    assert secure.process.poll() is None


def test_broken_files_leave_the_certificate_in_use(secure: Site, authority: Authority, tmp_path: Path) -> None:
    """A key that does not belong to the certificate, nonsense, and no file at all: the old one serves on."""
    before = serial_number(secure, authority)
    certificate, key = tmp_path / "server.crt", tmp_path / "server.key"
    good = certificate.read_bytes(), key.read_bytes()
    other, _ = Authority(tmp_path, "other").issue("stranger")
    for content in (other.read_bytes(), b"nonsense", None):
        if content is None:
            certificate.unlink()
        else:
            certificate.write_bytes(content)
        # Twice the worker's own rhythm of looking.
        until = time.monotonic() + 2.2
        while time.monotonic() < until:
            assert serial_number(secure, authority) == before
            time.sleep(0.2)
    certificate.write_bytes(good[0])
    authority.issue("server")
    wait_for(lambda: serial_number(secure, authority) != before, "the mended certificate")


def test_clients_may_be_asked_for_a_certificate(lab: Lab, port: int, authority: Authority, tmp_path: Path) -> None:
    """Only those that have one of the right authority get through the handshake."""
    certificate, key = authority.issue("server")
    clients = Authority(tmp_path, "clients")
    site = Site(lab, port, tls_cert=str(certificate), tls_key=str(key), tls_client_ca=str(clients.file))
    known, stranger = clients.issue("known"), Authority(tmp_path, "foreign").issue("stranger")
    call = {"EndpointName": "single", "Body": b"{}"}
    files = tuple(map(str, known))
    assert runtime(site, authority, client_cert=files).invoke_endpoint(**call)["Body"].read() == b"{}"
    for config in ({}, {"client_cert": tuple(map(str, stranger))}):
        with pytest.raises((SSLError, EndpointConnectionError, ConnectionClosedError)):
            runtime(site, authority, **config).invoke_endpoint(**call)
    assert len(site.first.visits) == 1


def test_a_client_that_is_silent_in_its_handshake_does_no_harm(secure: Site, authority: Authority) -> None:
    """Others are served meanwhile."""
    with secure.connect() as silent, connect(secure, authority) as client:
        client.sendall(invoke("single").replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        assert Reply(read_all(client)).status == 200
        silent.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)


@pytest.mark.parametrize("fault", ["missing", "nonsense", "other key", "encrypted"])
def test_files_that_are_no_use_are_told_at_the_start(authority: Authority, tmp_path: Path, fault: str) -> None:
    """By name, and never by asking the terminal for a password."""
    certificate, key = authority.issue("server")
    if fault == "missing":
        key = tmp_path / "nowhere.key"
    elif fault == "nonsense":
        certificate.write_text("nonsense")
    elif fault == "other key":
        key = authority.issue("other")[1]
    else:
        key.write_text(
            "-----BEGIN ENCRYPTED PRIVATE KEY-----\n"
            "MIGjMF8GCSqGSIb3DQEFDTBSMDEGCSqGSIb3DQEFDDAkBBDGAk2EcqVQhpI7kB1h\n"
            "-----END ENCRYPTED PRIVATE KEY-----\n"
        )
    with pytest.raises(UsageError, match=r"TLS is not possible with .*server\.crt"):
        Certificate(str(certificate), str(key)).context()
