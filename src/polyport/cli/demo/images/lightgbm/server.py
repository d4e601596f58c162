"""A small HTTP model server on the standard library alone; the same file in every example image.

It follows the container contract of SageMaker hosting: ``GET /ping`` answers 200, ``POST /invocations`` answers the
model's output, on the port in ``SAGEMAKER_BIND_TO_PORT`` (8080 without it).
"""

import csv
import io
import json
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

Rows = list[list[float]]
Predict = Callable[[Rows], Rows]

CSV, JSON = "text/csv", "application/json"


def model_folder() -> Path:
    """Where the unpacked ``model.tar.gz`` lies: ``/opt/ml/model``, unless the host names another base folder."""
    return Path(os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")) / "model"


def bind_address() -> str:
    """Every address inside a real container; only this machine's own where the process shares its network."""
    return "127.0.0.1" if "SAGEMAKER_BASE_DIR" in os.environ else ""


def read_rows(body: bytes, content_type: str) -> Rows:
    """Rows of numbers from CSV or from a JSON list of lists. Raises `ValueError` for anything else."""
    if content_type.partition(";")[0].strip().lower() == JSON:
        rows = json.loads(body)
        if not isinstance(rows, list) or not all(isinstance(row, list) for row in rows):
            raise ValueError("expected a JSON list of rows, each a list of numbers")
    else:
        rows = [row for row in csv.reader(io.StringIO(body.decode())) if row]
    if not rows:
        raise ValueError("there are no rows")
    return [[float(value) for value in row] for row in rows]


def write_rows(rows: Rows, content_type: str) -> bytes:
    """The reverse of `read_rows`. Both forms print a float with the fewest digits that read back as the same float."""
    if content_type == JSON:
        return json.dumps(rows).encode()
    return "".join(",".join(map(repr, row)) + "\n" for row in rows).encode()


def answer_type(accept: str, content_type: str) -> str:
    """What the caller accepts, or else what it sent."""
    for wanted in (CSV, JSON):
        if wanted in accept:
            return wanted
    return JSON if JSON in content_type else CSV


class Handler(BaseHTTPRequestHandler):
    """One connection. HTTP/1.1, so that it stays open for the next request."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave in one packet
    predict: Predict

    def do_GET(self) -> None:
        self._answer(200 if self.path == "/ping" else 404, b"", CSV)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path != "/invocations":
            return self._answer(404, b"", CSV)
        sent = self.headers.get("Content-Type", CSV)
        wanted = answer_type(self.headers.get("Accept", "*/*"), sent)
        try:
            answer = write_rows(type(self).predict(read_rows(body, sent)), wanted)
        except ValueError as error:  # not numbers, or not as many as the model wants
            return self._answer(400, json.dumps({"error": str(error)}).encode(), JSON)
        except Exception:  # noqa: BLE001 - whatever the model raises is for the log, and the connection goes on
            traceback.print_exc()
            return self._answer(500, b'{"error": "the model failed; its log says why"}', JSON)
        return self._answer(200, answer, wanted)

    def _answer(self, status: int, body: bytes, content_type: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the base class calls it so
        """Calls are not logged one by one; what the model raises is."""


class Server(ThreadingHTTPServer):
    """A thread per connection, none of which keeps the process alive."""

    daemon_threads = True
    request_queue_size = socket.SOMAXCONN


def serve(predict: Predict) -> None:
    """Listen until SIGTERM. Call it once the model is loaded: that it listens is what says "ready"."""
    Handler.predict = staticmethod(predict)
    port = int(os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
    with Server((bind_address(), port), Handler) as server:
        # `shutdown` waits for the loop below, so it must not be called from within it.
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        print(f"listening on port {port}", flush=True)
        server.serve_forever()
