"""Model data from an S3-compatible store, with botocore as the client, and over HTTP, from servers on this machine."""

import asyncio
import hashlib
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import msgspec
import pytest

from polyport.artifacts import cache as cache_module
from polyport.artifacts.cache import Cache
from polyport.domain.instances import ModelSource
from polyport.errors import ArtifactError
from polyport.settings import Settings


class Store:
    """A bucket ``models`` by ``objects``; records the requests it gets as (method, path, has a signature)."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, bool]] = []
        self.page_size = 1000
        self.after_list: Any = lambda: None


def answer_s3(handler: BaseHTTPRequestHandler, store: Store) -> None:
    parts = urlsplit(handler.path)
    store.requests.append((handler.command, parts.path, "Authorization" in handler.headers))
    _, bucket, *rest = unquote(parts.path).split("/", 2)
    query, key = parse_qs(parts.query), rest[0] if rest else ""
    if bucket == "secret":
        return _send(handler, 403, b"<Error><Code>AccessDenied</Code></Error>")
    if bucket != "models":
        return _send(handler, 404, b"<Error><Code>NoSuchBucket</Code></Error>")
    if "list-type" in query:
        return _send(handler, 200, _listing(store, query))
    if key not in store.objects:
        return _send(handler, 404, b"<Error><Code>NoSuchKey</Code></Error>")
    content = store.objects[key]
    tag = f'"{hashlib.md5(content).hexdigest()}"'
    if handler.headers.get("If-Match", tag) != tag:
        return _send(handler, 412, b"<Error><Code>PreconditionFailed</Code></Error>")
    return _send(handler, 200, content, ETag=tag)


def _listing(store: Store, query: dict[str, list[str]]) -> bytes:
    keys = sorted(key for key in store.objects if key.startswith(query.get("prefix", [""])[0]))
    start = int(query.get("continuation-token", ["0"])[0])
    page, more = keys[start : start + store.page_size], start + store.page_size < len(keys)
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><Size>{len(store.objects[key])}</Size>"
        f"<ETag>&quot;{hashlib.md5(store.objects[key]).hexdigest()}&quot;</ETag></Contents>"
        for key in page
    )
    token = f"<NextContinuationToken>{start + store.page_size}</NextContinuationToken>" if more else ""
    store.after_list()
    return (
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{token}{contents}</ListBucketResult>"
    ).encode()


def _send(handler: BaseHTTPRequestHandler, status: int, body: bytes = b"", **headers: str) -> None:
    handler.send_response(status)
    for name, value in {"Content-Length": str(len(body)), **headers}.items():
        handler.send_header(name, value)
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)


@contextmanager
def serving(respond: Any, context: ssl.SSLContext | None = None) -> Iterator[str]:
    """The address of a server whose GET and HEAD are ``respond(handler)``."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            try:
                respond(self)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

        do_HEAD = do_GET  # noqa: N815 - the name that http.server looks for

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = False

        def handle_error(self, request: Any, client_address: Any) -> None:
            """A failed handshake is what some tests are about."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"{'https' if context else 'http'}://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Test keys only, nobody's own configuration, and an AWS_ENDPOINT_URL that must not be used."""
    for name in ("AWS_PROFILE", "AWS_DEFAULT_REGION", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-a-secret")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")


@pytest.fixture
def store(settings: Settings) -> Iterator[tuple[Store, Settings]]:
    """A store and the settings that name it."""
    made = Store()
    with serving(lambda handler: answer_s3(handler, made)) as address:
        yield made, msgspec.structs.replace(settings, s3_endpoint_url=address)


def test_an_archive_comes_from_the_store_once(store: Any, member: Any, pack: Any, obtain: Any) -> None:
    """Rule: signed, path-style, unpacked from the stream; while the ETag stays, only HEAD is asked again."""
    made, settings = store
    made.objects["a b/m.tar.gz"] = pack([member("a", b"1" * 5000)])
    source = ModelSource("s3://models/a b/m.tar.gz")
    assert (obtain(source, settings) / "a").read_bytes() == b"1" * 5000
    obtain(source, settings)
    assert [request[0] for request in made.requests] == ["HEAD", "GET", "HEAD"]
    assert {request[1:] for request in made.requests} == {("/models/a%20b/m.tar.gz", True)}
    made.objects["a b/m.tar.gz"] = pack([member("a", b"2")])
    assert (obtain(source, settings) / "a").read_bytes() == b"2"


def test_a_prefix_comes_page_by_page(store: Any, obtain: Any) -> None:
    """Rule: every page of the listing counts."""
    made, settings = store
    made.page_size = 2
    made.objects = {f"m/{i}/w": b"%d" % i for i in range(5)}
    folder = obtain(ModelSource("s3://models/m/", "S3Prefix", "None"), settings)
    assert {path.name: (path / "w").read_bytes() for path in folder.iterdir()} == {str(i): b"%d" % i for i in range(5)}


LAYOUTS = {
    "m/": "ends in /",
    "m/sub/": "ends in /",
    "m//x": "an empty name",
    "m/./x": "the name '.'",
    "m/../x": "the name '..'",
    "m/" + "n" * 256: "more than 255 bytes",
    "m/weights/part1": "'weights' is there twice",
}


@pytest.mark.parametrize(("key", "reason"), LAYOUTS.items(), ids=[key[:20] for key in LAYOUTS])
def test_keys_that_cannot_be_files_are_refused(key: str, reason: str, store: Any, obtain: Any, leftovers: Any) -> None:
    """Rule: the layout rules for uncompressed prefixes: SageMaker fails such a deployment, so do we."""
    made, settings = store
    made.objects = {"m/weights": b"1", key: b""}
    with pytest.raises(ArtifactError, match=reason):
        obtain(ModelSource("s3://models/m/", "S3Prefix", "None"), settings)
    assert leftovers() == []


REFUSALS = {
    "s3://models/none": "has no object 'none' in bucket 'models'",
    "s3://secret/x": "refused access to 'x' in bucket 'secret'",
}


@pytest.mark.parametrize(("url", "reason"), REFUSALS.items())
def test_what_the_store_refuses_is_said(url: str, reason: str, store: Any, obtain: Any) -> None:
    """Rule: a missing key and a forbidden bucket are told apart, and no key of ours is in the text."""
    with pytest.raises(ArtifactError, match=reason) as refusal:
        obtain(ModelSource(url), store[1])
    assert "AKIDEXAMPLE" not in str(refusal.value)


def test_a_missing_bucket_is_said(store: Any, obtain: Any) -> None:
    """Rule: a listing tells a missing bucket; so does its error."""
    with pytest.raises(ArtifactError, match="has no bucket 'nowhere'"):
        obtain(ModelSource("s3://nowhere/x/", "S3Prefix", "None"), store[1])


def test_an_object_that_changes_between_listing_and_reading_is_refused(store: Any, obtain: Any, leftovers: Any) -> None:
    """Rule: objects are read by the ETag that was listed."""
    made, settings = store
    made.objects = {"m/a": b"1"}
    made.after_list = lambda: made.objects.update({"m/a": b"2"})
    with pytest.raises(ArtifactError, match="changed while it was read"):
        obtain(ModelSource("s3://models/m/", "S3Prefix", "None"), settings)
    assert leftovers() == []


def test_a_store_that_cannot_be_reached_is_named(settings: Settings, obtain: Any) -> None:
    """Rule: a wrong s3_endpoint_url is a clear error."""
    away = msgspec.structs.replace(settings, s3_endpoint_url="http://127.0.0.1:1")
    with pytest.raises(ArtifactError, match=r"the store at http://127\.0\.0\.1:1 did not deliver"):
        obtain(ModelSource("s3://models/x"), away)


def test_without_credentials_calls_go_unsigned(
    store: Any, obtain: Any, member: Any, pack: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: public buckets need no account."""
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    made, settings = store
    made.objects["m.tar.gz"] = pack([member("a", b"1")])
    obtain(ModelSource("s3://models/m.tar.gz"), settings)
    assert {signed for _, _, signed in made.requests} == {False}


def test_a_page_is_read_once_while_its_etag_stays(member: Any, pack: Any, obtain: Any) -> None:
    """Rule: a page with an ETag is looked at again, not read again; the query belongs to the request."""
    content, seen = pack([member("a", b"1" * 3000)]), []

    def respond(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.path)
        _send(handler, 200, content, ETag='"1"')

    with serving(respond) as address:
        source = ModelSource(f"{address}/m.tar.gz?X-Amz-Signature=abc")
        assert obtain(source) == obtain(source)
    assert seen == ["/m.tar.gz?X-Amz-Signature=abc"] * 3


def test_a_page_without_validators_is_read_each_time(member: Any, pack: Any, obtain: Any) -> None:
    """Rule: nothing is taken for unchanged without a reason; equal content is still kept once."""
    contents = [pack([member("a", text)]) for text in (b"1", b"1", b"2", b"2")]

    with serving(lambda handler: _send(handler, 200, contents.pop(0))) as address:
        first = obtain(ModelSource(f"{address}/m.tar.gz"))
        second = obtain(ModelSource(f"{address}/m.tar.gz"))
    assert ((first / "a").read_bytes(), (second / "a").read_bytes()) == (b"1", b"2")


def _redirect(to: str) -> Any:
    return lambda handler: _send(handler, 302, Location=to)


def _short(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "100000")
    handler.end_headers()
    handler.wfile.write(b"\x1f\x8b\x08" + bytes(7))
    handler.close_connection = True


PAGES = {
    "missing": (lambda handler: _send(handler, 404), "the server answered 404 Not Found"),
    "no archive": (lambda handler: _send(handler, 200, b"<html>"), "not gzip-compressed"),
    "redirect in a circle": (_redirect("/m.tar.gz"), "redirected more than 5 times"),
    "redirect to plain http": (_redirect("http://example.com/m"), "use https:// for example.com"),
    "redirect to a file": (_redirect("file:///etc/passwd"), "names no host|expected https://"),
    "cut off": (_short, "did not deliver|truncated"),
}


@pytest.mark.parametrize(("respond", "reason"), PAGES.values(), ids=PAGES)
def test_a_bad_page_is_refused_without_its_query_in_the_text(
    respond: Any, reason: str, obtain: Any, leftovers: Any
) -> None:
    """Rule: the reason is said, and what signs a URL never gets into messages or logs."""
    with serving(respond) as address, pytest.raises(ArtifactError, match=reason) as refusal:
        obtain(ModelSource(f"{address}/m.tar.gz?X-Amz-Signature=hidden"))
    assert "hidden" not in str(refusal.value)
    assert leftovers() == []


def test_an_endless_page_ends_at_the_bound(obtain: Any, leftovers: Any) -> None:
    """Rule: a download has a bound of its own, whatever length the server announces, or none."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        handler.close_connection = True
        while True:
            handler.wfile.write(bytes(65536))

    with serving(respond) as address, pytest.raises(ArtifactError, match="more than 1000000 bytes"):
        obtain(ModelSource(f"{address}/weights", "S3Object", "None"))
    assert leftovers() == []


def test_a_server_that_stalls_is_given_up_in_time(settings: Settings, leftovers: Any) -> None:
    """Rule: the caller's time-out holds though a thread still waits for bytes."""
    stalled, done = threading.Event(), threading.Event()

    def respond(handler: BaseHTTPRequestHandler) -> None:
        stalled.set()
        done.wait(20)
        _send(handler, 200)

    async def run(address: str) -> None:
        cache = Cache(settings)
        with pytest.raises(ArtifactError, match=r"m\.tar\.gz: not there within 0.2 seconds"):
            await cache.fetch(ModelSource(f"{address}/m.tar.gz"), 0.2)
        with pytest.raises(ArtifactError, match=r"no answer within 0\.1 s"):
            await cache.check(ModelSource(f"{address}/m.tar.gz"), 0.1)
        done.set()
        await cache.close()

    with serving(respond) as address:
        asyncio.run(run(address))
    assert stalled.is_set()
    assert leftovers() == []


def test_credentials_in_a_url_are_sent_and_not_shown(member: Any, pack: Any, obtain: Any) -> None:
    """Rule: `https://user:password@host` works and stays private."""
    content, seen = pack([member("a", b"1")]), []

    def respond(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers["Authorization"])
        _send(handler, 200 if len(seen) < 3 else 500, content)

    with serving(respond) as address:
        source = ModelSource(address.replace("http://", "http://me:s%40w@") + "/m.tar.gz")
        obtain(source)
        with pytest.raises(ArtifactError) as refusal:
            obtain(source)
    assert set(seen) == {"Basic bWU6c0B3"}
    assert f"Model data {address}/m.tar.gz: the server answered 500" in str(refusal.value)


ARGUMENTS = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
def test_https_is_verified(
    member: Any, pack: Any, obtain: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rule: a certificate must lead to an authority that this machine trusts; then all goes as over http."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subprocess.run(
        ["openssl", *ARGUMENTS.split(), "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    content = pack([member("a", b"1")])
    with serving(lambda handler: _send(handler, 200, content), context) as address:
        with pytest.raises(ArtifactError, match="certificate verify failed"):
            obtain(ModelSource(f"{address}/m.tar.gz"))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert (obtain(ModelSource(f"{address}/m.tar.gz")) / "a").read_bytes() == b"1"


def test_the_setting_decides_between_folder_and_store(settings: Settings) -> None:
    """Rule: without s3_endpoint_url nothing ever leaves this machine for an s3:// URL."""
    place = cache_module.Cache(settings)._place(ModelSource("s3://models/x"))
    assert type(place).__name__ == "Folder"
