"""A real server, its clients, and tiny images without dependencies, for tests that go end to end."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import boto3
import botocore.config
from botocore.exceptions import ClientError

READY = re.compile(r"Polyport listens on (https?://\S+)")

#: A model server in the standard library alone; what it answers is up to its environment.
MODEL_SERVER = """
import http.server, json, os, signal, sys, time

BASE = os.environ.get("SAGEMAKER_BASE_DIR", "/opt/ml")
NAME = os.environ.get("NAME", "model")
print(NAME, "starts as", sys.argv[1:], flush=True)

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    def answer(self, status, body, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(int(os.environ.get("PING_STATUS", "200")), b"")
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if body == b"sleep":
            if os.environ.get("MARK"):
                open(os.environ["MARK"], "w").close()
            time.sleep(float(os.environ.get("SLEEP", "1")))
        if body == b"environment":
            return self.answer(200, json.dumps(dict(os.environ)).encode(), Content_Type="application/json")
        if body == b"model":
            files = {}
            for folder, _, names in os.walk(BASE + "/model", followlinks=True):
                for name in names:
                    path = os.path.join(folder, name)
                    files[os.path.relpath(path, BASE + "/model")] = open(path).read()
            return self.answer(200, json.dumps(files).encode(), Content_Type="application/json")
        if body.startswith(b"status "):
            return self.answer(int(body.split()[1]), b"said " + NAME.encode(), Content_Type="text/plain")
        answer = body + b"|" + NAME.encode() + b"," + (self.headers["Content-Type"] or "-").encode()
        self.answer(200, answer, Content_Type="text/plain; from=" + NAME)
    def log_message(self, *arguments):
        pass

if os.environ.get("EXIT"):
    print("about to exit", flush=True)
    sys.exit(int(os.environ["EXIT"]))
time.sleep(float(os.environ.get("DELAY", "0")))
port = int(os.environ.get("LISTEN_ON") or os.environ.get("SAGEMAKER_BIND_TO_PORT", "8080"))
if os.environ.get("DEAF"):
    time.sleep(600)
http.server.ThreadingHTTPServer.request_queue_size = 128
host = "127.0.0.1"
if os.getpid() == 1:  # in a container, where the kernel passes on no signal that was not asked for
    host = "0.0.0.0"
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
http.server.ThreadingHTTPServer((host, port), Handler).serve_forever()
"""


class Server:
    """`polyport serve` as a user starts it: a process, a home, a URL."""

    def __init__(self, home: Path, **settings: Any) -> None:
        self.home = home
        self.settings = settings
        self.url = ""
        #: Of its clients: key id, secret and perhaps a session token.
        self.credentials: tuple[str, ...] = ("polyport", "polyport")
        #: The file with the authority of its certificate, if it serves https.
        self.authority: Path | None = None
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, deadline: float = 30.0) -> "Server":
        """Start it and wait until it says that it is ready."""
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("POLYPORT_", "AWS_"))}
        environ |= {f"POLYPORT_{name.upper()}": str(value) for name, value in self.settings.items()}
        port = self.url.rpartition(":")[2] or "0"
        arguments = ["serve", "--port", port, "--home", str(self.home), "--workers", "2"]
        with (self.home / "stderr.log").open("a") as log, (self.home / "stdout.log").open("w") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "polyport", *arguments], env=environ, stdout=out, stderr=log
            )
        self.url = self._wait_for_url(time.monotonic() + deadline)
        return self

    def _wait_for_url(self, until: float) -> str:
        while time.monotonic() < until and self.process and self.process.poll() is None:
            if found := READY.search(self.output()):
                return found.group(1)
            time.sleep(0.02)
        self.kill()
        raise AssertionError(f"the server did not get ready: {self.log()}")

    def output(self) -> str:
        """What it printed since it was started."""
        return (self.home / "stdout.log").read_text()

    def log(self) -> str:
        """What it logged."""
        return (self.home / "stderr.log").read_text()

    def stop(self, deadline: float = 60.0) -> int:
        """SIGTERM, as an init system would; returns the exit status."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(deadline)
        self.process = None
        return status

    def kill(self) -> None:
        """SIGKILL to the launcher; its children go with it, the instances stay."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, service: str, credentials: tuple[str, ...] = (), **config: Any) -> Any:
        """An unmodified boto3 client. ``credentials``: others than the server's usual ones."""
        session = boto3.Session(*(credentials or self.credentials), region_name="us-east-1")
        settings = botocore.config.Config(retries={"total_max_attempts": 1}, **config)
        verify = str(self.authority) if self.authority else None
        return session.client(service, endpoint_url=self.url, config=settings, verify=verify)

    def image(self, name: str, server: str = MODEL_SERVER, **environment: str) -> str:
        """Build a process image without dependencies; returns its name."""
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "serve.py").write_text(server)
            lines = ['entrypoint = ["python", "serve.py"]', "[environment]"]
            lines += [f"{key} = {json.dumps(value)}" for key, value in environment.items()]
            lines += ["[labels]", '"com.amazonaws.sagemaker.capabilities.accept-bind-to-port" = "true"']
            (Path(folder) / "image.toml").write_text("\n".join(lines))
            self.command("image", "build", folder, "--tag", name)
        return name

    def command(self, *arguments: str) -> str:
        """Run a `polyport` command on this home; returns what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "polyport", *arguments],
            env=os.environ | {"POLYPORT_HOME": str(self.home)},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


def wait_for(condition: Callable[[], Any], what: str, deadline: float = 20.0) -> Any:
    """Poll until the condition is true; its value is returned."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        if value := condition():
            return value
        time.sleep(0.02)
    raise AssertionError(f"{what}: not within {deadline} s")


def status_of(sagemaker: Any, name: str) -> str:
    """The endpoint's status now."""
    return str(sagemaker.describe_endpoint(EndpointName=name)["EndpointStatus"])


def wait_for_status(sagemaker: Any, name: str, *wanted: str, deadline: float = 20.0) -> dict[str, Any]:
    """Poll DescribeEndpoint until the status is one of those wanted, as the SDK's waiters do, but quicker."""

    def described() -> dict[str, Any] | None:
        answer: dict[str, Any] = sagemaker.describe_endpoint(EndpointName=name)
        return answer if answer["EndpointStatus"] in wanted else None

    found: dict[str, Any] = wait_for(described, f"{name} to be {wanted}", deadline)
    return found


def wait_until_gone(sagemaker: Any, name: str, deadline: float = 20.0) -> None:
    """Poll until DescribeEndpoint answers as the SDK's `endpoint_deleted` waiter expects."""

    def is_gone() -> bool:
        try:
            sagemaker.describe_endpoint(EndpointName=name)
        except ClientError as error:
            return bool(error.response["Error"]["Code"] == "ValidationException")
        return False

    wait_for(is_gone, f"{name} to be deleted", deadline)


def create_endpoint(
    server: Server,
    name: str,
    *containers: dict[str, Any],
    mode: str = "Serial",
    isolated: bool = False,
    **variant: Any,
) -> None:
    """CreateModel, CreateEndpointConfig and CreateEndpoint, all under one name; does not wait."""
    create_config(server, name, *containers, mode=mode, isolated=isolated, **variant)
    server.client("sagemaker").create_endpoint(EndpointName=name, EndpointConfigName=name)


def create_config(
    server: Server,
    name: str,
    *containers: dict[str, Any],
    mode: str = "Serial",
    isolated: bool = False,
    **variant: Any,
) -> None:
    """CreateModel and CreateEndpointConfig under one name. ``isolated``: with EnableNetworkIsolation."""
    sagemaker = server.client("sagemaker")
    network = {"EnableNetworkIsolation": True} if isolated else {}
    if mode == "Single":
        [only] = containers
        sagemaker.create_model(ModelName=name, PrimaryContainer=only, **network)
    else:
        sagemaker.create_model(
            ModelName=name, Containers=containers, InferenceExecutionConfig={"Mode": mode}, **network
        )
    settings = {"InitialInstanceCount": 1, "InstanceType": "ml.m5.large"} | variant
    sagemaker.create_endpoint_config(
        EndpointConfigName=name, ProductionVariants=[{"VariantName": "AllTraffic", "ModelName": name, **settings}]
    )


def call(runtime: Any, name: str, body: bytes = b"x", **arguments: Any) -> bytes:
    """One InvokeEndpoint; the body of the answer."""
    answer = runtime.invoke_endpoint(EndpointName=name, Body=body, ContentType="text/csv", **arguments)
    found: bytes = answer["Body"].read()
    return found
