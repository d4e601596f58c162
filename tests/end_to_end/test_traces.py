"""Traces of calls through a real server, by an unmodified client whose own tracing adds its context."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.collector import Collector
from support.server import Server, call, create_endpoint, wait_for_status

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

#: Answers with the list that it got, and the context with which.
TELLING = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.answer(b"")
    def do_POST(self):
        said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.answer(json.dumps([*said, self.headers["traceparent"]]).encode())
    def answer(self, body):
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *arguments):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(os.environ["SAGEMAKER_BIND_TO_PORT"])), Handler).serve_forever()
"""


@pytest.fixture
def collector() -> Iterator[Collector]:
    made = Collector()
    yield made
    made.close()


def traced_by_its_caller(runtime: Any) -> Any:
    """As instrumentation of botocore does it: a header that is not signed."""

    def add(request: Any, **_: Any) -> None:
        request.headers["traceparent"] = f"00-{TRACE}-{SPAN}-01"

    runtime.meta.events.register("before-send.sagemaker-runtime", add)
    return runtime


def test_a_trace_goes_from_the_caller_through_all_containers(
    make_server: Callable[..., Server], collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The collector is found by OpenTelemetry's usual variables. The spans say where each stage ran, and each
    container was told the span of its stage."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "x-team=churn")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "models")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    server = make_server(traces="true", workers=1).start()
    image = server.image("telling:1", TELLING)
    names = ["clean", "score", "explain"]
    create_endpoint(server, "chain", *({"Image": image, "ContainerHostname": name} for name in names))
    wait_for_status(server.client("sagemaker"), "chain", "InService")
    runtime = traced_by_its_caller(server.client("sagemaker-runtime"))
    answer = runtime.invoke_endpoint(EndpointName="chain", Body=b"[]", ContentType="application/json")
    told = json.loads(answer["Body"].read())
    whole, stages = collector.of(answer["ResponseMetadata"]["RequestId"])
    assert (whole.trace_id, whole.parent) == (TRACE, SPAN)
    assert [one.values["polyport.container"] for one in stages] == names
    assert told == [f"00-{TRACE}-{one.id}-01" for one in stages]
    assert whole.resource.items() >= {"service.name": "models", "deployment.environment.name": "test"}.items()
    assert collector.headers[0]["x-team"] == "churn"
    assert collector.paths[0] == "/v1/traces"


@pytest.mark.slow
def test_a_traced_server_without_a_collector_serves(make_server: Callable[..., Server]) -> None:
    """It says once in a while, and at its end, how many spans are lost and why. OpenTelemetry's own lines, one for each
    attempt, are not in its log."""
    server = make_server(engine="fake", traces="true", traces_endpoint="http://127.0.0.1:9", workers=1).start()
    create_endpoint(server, "one", {"Image": "anything:1"}, mode="Single")
    wait_for_status(server.client("sagemaker"), "one", "InService")
    runtime = server.client("sagemaker-runtime")
    for _ in range(10):
        assert call(runtime, "one", b"x") == b"x"
    assert server.stop() == 0
    lost = [int(found) for found in re.findall(r"(\d+) spans were lost: .*refused", server.log())]
    assert sum(lost) == 20
    assert len(lost) <= 2
    assert "opentelemetry" not in server.log()


def test_a_server_that_cannot_trace_does_not_start(tmp_path: Path) -> None:
    """It says which package is missing; or which variable it does not understand."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    for variables, hint in (
        ({"PYTHONPATH": str(tmp_path)}, "pip install 'polyport[otel]'"),
        ({"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER=sometimes"),
        ({"POLYPORT_TRACES_ENDPOINT": "collector:4317"}, "POLYPORT_TRACES_ENDPOINT"),
    ):
        done = subprocess.run(
            [sys.executable, "-m", "polyport", "serve", "--port", "0", "--home", str(tmp_path / "home")],
            env={**os.environ, "POLYPORT_TRACES": "true", **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode != 0
        assert hint in done.stderr.replace("\n", " ")


def test_nothing_of_opentelemetry_is_loaded_without_traces() -> None:
    """A worker does without; the launcher, which looks whether it is installed, even with traces."""
    program = """if True:
        import sys, msgspec, polyport.gateway.worker, polyport.server.launcher
        from polyport.gateway.options import Options
        from polyport.gateway.traces import tracing
        from polyport.telemetry.traces import setup

        def loaded(*names):
            return [name for name in sys.modules if name.startswith(names)]

        off = Options(name="w", host="", port=0, channel="", control="", account="", region="")
        assert tracing.load(off, {}) is None
        assert not loaded("opentelemetry", "google", "requests"), loaded("opentelemetry", "google", "requests")
        assert setup.find(None, {}) is not None
        assert not loaded("opentelemetry.sdk.trace", "google", "requests")
        before = sys.getswitchinterval()
        assert tracing.load(msgspec.structs.replace(off, traces=True), {}) is not None
        # What sends spans is not to hold up calls.
        assert loaded("opentelemetry.sdk.trace") and sys.getswitchinterval() < before
    """
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
