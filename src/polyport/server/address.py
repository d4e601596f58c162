"""Where a server answers, and what it says of itself."""

import socket
from pathlib import Path
from typing import Any

import msgspec

from polyport.settings import Settings


def url(settings: Settings) -> str:
    """What a client on this machine is pointed at."""
    return f"http{'s' if settings.tls_cert else ''}://{_in_url(settings.host)}:{settings.port}"


def health(path: Path) -> tuple[int, dict[str, Any]]:
    """What control says of its health, on its own socket, for which no certificate is needed; 0: it does not answer."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(2)
            connection.connect(str(path))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: control\r\nConnection: close\r\n\r\n")
            answer = b"".join(iter(lambda: connection.recv(65536), b""))
    except OSError:
        return 0, {}
    head, _, body = answer.partition(b"\r\n\r\n")
    try:
        return int(head.split(b" ", 2)[1]), msgspec.json.decode(body, type=dict[str, Any])
    except (IndexError, ValueError):
        return 0, {}


def _in_url(host: str) -> str:
    """Where a client on this machine connects to."""
    dial = _dial(host)
    return f"[{dial}]" if ":" in dial else dial


def _dial(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  compared, not bound
