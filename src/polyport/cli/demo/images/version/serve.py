"""A model container without a model: every answer is the value of ``VERSION``."""

import os
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

VERSION = os.environ.get("VERSION", "").encode()


class Handler(BaseHTTPRequestHandler):
    """Answers ``GET /ping`` and ``POST /invocations``."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """It is well as soon as it listens."""
        self._answer(b"")

    def do_POST(self) -> None:
        """Whatever was asked."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._answer(VERSION)

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Calls are too many to be told."""


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    ThreadingHTTPServer(("", port), Handler).serve_forever()
