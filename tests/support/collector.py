"""A collector of spans: what it is sent by OTLP over HTTP, taken apart."""

import http.server
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

DEADLINE = 20.0


class Span:
    """One span with plain values; ids as headers write them."""

    def __init__(self, span: Any, resource: dict[str, Any]) -> None:
        self.name = span.name
        self.kind = {2: "server", 3: "client"}[span.kind]
        self.trace_id = span.trace_id.hex()
        self.id = span.span_id.hex()
        self.parent = span.parent_span_id.hex()
        self.state = span.trace_state
        self.began, self.ended = span.start_time_unix_nano, span.end_time_unix_nano
        self.values = _values(span.attributes)
        self.is_error = span.status.code == 2
        self.description = span.status.message
        self.resource = resource

    def __repr__(self) -> str:
        return f"<Span {self.name} {self.id} in {self.parent}: {self.values}>"


class Collector:
    """Listens on a port of this machine; ``status`` is what it answers, ``hangs`` whether it does not."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.headers: list[dict[str, str]] = []
        self.paths: list[str] = []
        self.status = 200
        self.hangs = False
        self._released = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.headers.append({name.lower(): value for name, value in self.headers.items()})
                collector.paths.append(self.path)
                if collector.hangs:
                    collector._released.wait(DEADLINE)
                    return
                if collector.status == 200:
                    collector._take(body)
                answer = ExportTraceServiceResponse().SerializeToString()
                with suppress(ConnectionError):
                    self.send_response(collector.status)
                    self.send_header("Content-Length", str(len(answer)))
                    self.end_headers()
                    self.wfile.write(answer)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _take(self, body: bytes) -> None:
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = _values(group.resource.attributes)
            self.spans += [Span(span, resource) for scope in group.scope_spans for span in scope.spans]

    def wait_for(self, condition: Callable[[list[Span]], Any]) -> list[Span]:
        """The spans, once they are as wanted."""
        until = time.monotonic() + DEADLINE
        while not condition(self.spans):
            assert time.monotonic() < until, f"the spans did not come: {self.spans}"
            time.sleep(0.01)
        return list(self.spans)

    def of(self, request_id: str) -> tuple[Span, list[Span]]:
        """The span of a call, once it is there, and those of its stages in their order."""

        def server(spans: list[Span]) -> list[Span]:
            return [one for one in spans if one.values.get("aws.request_id") == request_id]

        [whole] = server(self.wait_for(server))
        parts = [one for one in self.spans if one.parent == whole.id]
        return whole, sorted(parts, key=lambda one: one.began)


def _values(attributes: Any) -> dict[str, Any]:
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
