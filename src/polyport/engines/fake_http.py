"""What answers for a fake container: ``/ping`` and an echo, over HTTP/1.1 with keep-alive."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

import httptools


class Answering:
    """A listening socket and its connections. ``ping`` gives the status of ``/ping``; ``None``: do not answer."""

    def __init__(self, ping: Callable[[], int | None]) -> None:
        self.ping = ping
        self.connections: set[asyncio.Transport] = set()
        self._server: asyncio.Server | None = None

    async def open(self, host: str, port: int) -> int:
        """Listens there (0: at a free port) and returns the port."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connection(self), host, port)
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    def close(self) -> None:
        """Stops listening and breaks off all connections."""
        if self._server is not None:
            self._server.close()
        for transport in list(self.connections):
            transport.abort()


class _Connection(asyncio.Protocol):
    """One connection. httptools calls the ``on_`` methods."""

    def __init__(self, owner: Answering) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._path = b""
        self._content_type = b""
        self._body: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by class
        self._owner.connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        if self._transport is not None:
            self._owner.connections.discard(self._transport)
        self._parser = None  # they hold each other

    def data_received(self, data: bytes) -> None:
        if self._transport is None or self._parser is None:
            return
        if self._owner.ping() is None:
            self._transport.abort()
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._send(400, b"", b"")
            self._transport.close()

    def on_message_begin(self) -> None:
        self._path, self._content_type, self._body = b"", b"application/octet-stream", []

    def on_url(self, url: bytes) -> None:
        self._path += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-type":
            self._content_type = value

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._path == b"/ping":
            self._send(self._owner.ping() or 503, b"", b"text/plain")
        elif self._path == b"/invocations":
            self._send(200, b"".join(self._body), self._content_type)
        else:
            self._send(404, b"", b"text/plain")
        if self._transport is not None and self._parser is not None and not self._parser.should_keep_alive():
            self._transport.close()

    def _send(self, status: int, body: bytes, content_type: bytes) -> None:
        assert self._transport is not None
        phrase = HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else ""
        lines = b"HTTP/1.1 %d %s\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n"
        self._transport.write(lines % (status, phrase.encode(), content_type, len(body)) + body)
