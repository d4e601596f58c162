"""A registry on loopback: the few GETs of the distribution API that a pull needs, with or without credentials.

It holds what tests put in; it can be slow, broken, or ask who is there.
"""

import base64
import gzip
import hashlib
import io
import json
import secrets
import tarfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
#: Of this process: what an earlier one left in a daemon's storage is not taken for these layers.
SALT = secrets.token_hex(8)
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


@dataclass
class Store:
    """What the registry holds, and how it behaves; tests change both while it runs."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    #: (repository, tag or digest) -> (content type, body)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    #: ``basic`` or ``bearer``: who is not ``user`` with ``password`` gets nothing.
    auth: str = ""
    user: str = "somebody"
    password: str = "s3cr3t-word"
    #: Seconds that each piece of a blob takes, and how large a piece is.
    pause: float = 0.0
    piece: int = 64 * 1024
    #: Blobs end after this many bytes, whatever their length was said to be.
    cut_after: int | None = None
    #: Answered to everything, when set.
    status: int | None = None
    requests: list[str] = field(default_factory=list)

    def add(self, repository: str, tag: str, *, architecture: str = "amd64", size: int = 1000, **config: Any) -> str:
        """Put in an image with one layer of ``size`` random-looking bytes; ``config`` is its configuration
        (``Labels={...}``, ``ExposedPorts={...}``). Returns the manifest's digest."""
        packed, plain = _layer(f"{SALT}:{repository}:{tag}:{architecture}", size)
        body = {
            "architecture": architecture,
            "os": "linux",
            "config": config,
            "rootfs": {"type": "layers", "diff_ids": [_digest(plain)]},
            "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "a test"}],
            "created": "2024-01-01T00:00:00Z",
        }
        configuration = json.dumps(body).encode()
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(CONFIG, configuration),
            "layers": [self._blob(LAYER, packed)],
        }
        return self._manifest(repository, tag, MANIFEST, manifest)

    def add_list(self, repository: str, tag: str, *architectures: str) -> str:
        """Put in one name for several architectures. Returns the list's digest."""
        entries = []
        for architecture in architectures:
            digest = self.add(repository, f"{tag}-{architecture}", architecture=architecture)
            size = len(self.manifests[repository, digest][1])
            platform = {"architecture": architecture, "os": "linux"}
            entries.append({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform})
        return self._manifest(repository, tag, LIST, {"schemaVersion": 2, "mediaType": LIST, "manifests": entries})

    def _manifest(self, repository: str, tag: str, kind: str, manifest: Mapping[str, Any]) -> str:
        body = json.dumps(manifest).encode()
        digest = _digest(body)
        self.manifests[repository, tag] = self.manifests[repository, digest] = (kind, body)
        return digest

    def _blob(self, kind: str, data: bytes) -> dict[str, Any]:
        digest = _digest(data)
        self.blobs[digest] = data
        return {"mediaType": kind, "digest": digest, "size": len(data)}


def _layer(seed: str, size: int) -> tuple[bytes, bytes]:
    """One file of bytes that do not compress."""
    content = hashlib.shake_256(seed.encode()).digest(size)
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        member = tarfile.TarInfo("content")
        member.size = size
        tar.addfile(member, io.BytesIO(content))
    plain = file.getvalue()
    return gzip.compress(plain, mtime=0), plain


def _digest(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    store: Store

    def do_GET(self) -> None:
        path = urlsplit(self.path)
        self.store.requests.append(f"{self.command} {path.path}")
        if self.store.status is not None:
            return self._answer(self.store.status, b'{"errors": [{"code": "UNKNOWN", "message": "broken"}]}')
        if path.path == "/token":
            return self._token(parse_qs(path.query))
        if not self._is_welcome():
            return self._challenge()
        return self._find(path.path.strip("/").split("/"))

    def do_HEAD(self) -> None:
        self.do_GET()

    def _find(self, parts: list[str]) -> None:
        if parts == ["v2"]:
            return self._answer(200, b"{}")
        repository, kind, name = "/".join(parts[1:-2]), parts[-2], parts[-1]
        if kind == "manifests" and (repository, name) in self.store.manifests:
            content_type, body = self.store.manifests[repository, name]
            return self._answer(200, body, {"Content-Type": content_type, "Docker-Content-Digest": _digest(body)})
        if kind == "blobs" and name in self.store.blobs:
            return self._blob(self.store.blobs[name])
        code = "MANIFEST_UNKNOWN" if kind == "manifests" else "BLOB_UNKNOWN"
        return self._answer(404, json.dumps({"errors": [{"code": code, "message": "manifest unknown"}]}).encode())

    def _blob(self, data: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/octet-stream")
        self.end_headers()
        if self.command == "HEAD":
            return
        is_layer = data[:2] == b"\x1f\x8b"
        limit = len(data) if self.store.cut_after is None or not is_layer else self.store.cut_after
        for start in range(0, limit, self.store.piece):
            if is_layer:
                time.sleep(self.store.pause)
            self.wfile.write(data[start : min(limit, start + self.store.piece)])
        if limit < len(data):
            self.close_connection = True

    def _is_welcome(self) -> bool:
        said = self.headers.get("Authorization", "")
        if self.store.auth == "basic":
            return said == f"Basic {self._secret()}"
        return self.store.auth != "bearer" or said == f"Bearer token-of-{self.store.user}"

    def _challenge(self) -> None:
        host = self.headers["Host"]
        realm = "Basic realm=here" if self.store.auth == "basic" else f'Bearer realm="http://{host}/token",service=here'
        body = b'{"errors": [{"code": "UNAUTHORIZED", "message": "authentication required"}]}'
        self._answer(401, body, {"WWW-Authenticate": realm})

    def _token(self, query: dict[str, list[str]]) -> None:
        if self.headers.get("Authorization") == f"Basic {self._secret()}":
            return self._answer(200, json.dumps({"token": f"token-of-{self.store.user}"}).encode())
        # As Docker Hub does: whoever is not known gets a token that opens nothing private.
        status = 401 if "Authorization" in self.headers else 200
        return self._answer(status, b'{"token": "token-of-nobody", "details": "incorrect username or password"}')

    def _secret(self) -> str:
        return base64.b64encode(f"{self.store.user}:{self.store.password}".encode()).decode()

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *arguments: object) -> None:
        """Tests read `Store.requests`."""


@dataclass(frozen=True)
class Registry:
    """One that runs: its address as image names begin with it, and what it holds."""

    host: str
    store: Store


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: object) -> None:
        """A client that was killed in the middle is what some tests are about."""


@contextmanager
def registry(port: int = 0) -> Iterator[Registry]:
    """Runs until the block ends."""
    store = Store()
    handler = type("Bound", (Handler,), {"store": store})
    with _Server(("127.0.0.1", port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        try:
            yield Registry(f"127.0.0.1:{server.server_address[1]}", store)
        finally:
            server.shutdown()
            thread.join()
