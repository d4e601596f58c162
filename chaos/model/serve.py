"""A model server in the standard library alone. It says which calls it got, and may be asked to take its time."""

import http.server
import os
import time

NAME = os.environ.get("NAME", "model")


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with the body and the names of the models it went through."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """``/ping``."""
        self._answer(b"")

    def do_POST(self) -> None:
        """A body is ``id`` or ``id hold=SECONDS``, and what earlier containers added."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        # One write, so that lines of threads do not mix; with an end, so that half a line is no other call's.
        os.write(1, b"got " + body.split(b"|")[0].split(b" ")[0] + b".\n")
        if b" hold=" in body:
            time.sleep(float(body.partition(b" hold=")[2].split(b"|")[0]))
        self._answer(body + b"|" + NAME.encode())

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Pings are not worth a line."""


http.server.ThreadingHTTPServer.request_queue_size = 128
port = int(os.environ["SAGEMAKER_BIND_TO_PORT"])
http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()
