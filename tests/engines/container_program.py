"""A container: `container_program.py BEHAVIOUR serve`, the behaviour as JSON, or in the environment. Standard library
only."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time


def main() -> None:
    """Does what it is told, then answers ``GET /ping`` until it is ended."""
    told = json.loads(os.environ.get("BEHAVIOUR") or sys.argv[1])
    for line in told.get("output", []):
        print(line, flush=True)
    if told.get("ignores_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    elif os.getpid() == 1:
        # The kernel spares the first process of a container what it did not ask for.
        signal.signal(signal.SIGTERM, lambda *_: os._exit(143))
    for code in told.get("runs", []):
        exec(code, {"os": os, "sys": sys, "subprocess": subprocess, "signal": signal})
    if "exits_after" in told:
        threading.Timer(told["exits_after"], os._exit, [told.get("exit_code", 0)]).start()
    if told.get("echoes"):
        echo(int(os.environ["SAGEMAKER_BIND_TO_PORT"]))
    if told.get("listens", True):
        port = told.get("listens_on") or int(os.environ["SAGEMAKER_BIND_TO_PORT"])
        serve(port, told.get("ping_status", 200), told.get("ping_delay", 0))
    while True:
        signal.pause()


def echo(port: int) -> None:
    """Answers any number of requests with what they said."""
    import http.server

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.answer(b"")

        def do_POST(self) -> None:
            self.answer(self.rfile.read(int(self.headers["Content-Length"])))

        def answer(self, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def serve(port: int, status: int, delay: float) -> None:
    """One connection after the other, one answer each, ``delay`` seconds later."""
    host = os.environ.get("BIND", "0.0.0.0" if os.getpid() == 1 else "127.0.0.1")
    with socket.create_server((host, port)) as listener:
        while True:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                time.sleep(delay)
                connection.sendall(b"HTTP/1.1 %d Something\r\ncontent-length: 0\r\n\r\n" % status)


if __name__ == "__main__":
    main()
