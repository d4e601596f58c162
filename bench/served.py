"""A server of its own for a measurement: a process, a home, a URL."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import botocore.config

IMAGE = """
entrypoint = ["python", "serve.py"]
[labels]
"com.amazonaws.sagemaker.capabilities.accept-bind-to-port" = "true"
"""
READY = re.compile(r"Polyport listens on (\S+)")
#: Seconds that starting may take at all.
START = 60.0


def start(home: Path, *arguments: str) -> tuple["subprocess.Popen[bytes]", str]:
    """`polyport serve` with these, on any free port. Raises `SystemExit` when it does not start."""
    command = [sys.executable, "-m", "polyport", "serve", "--port", "0", "--home", str(home), *arguments]
    out = home / "out.log"
    with out.open("wb") as stdout, (home / "err.log").open("wb") as stderr:
        server = subprocess.Popen(command, env=_environ(), stdout=stdout, stderr=stderr)
    until = time.monotonic() + START
    while time.monotonic() < until and server.poll() is None:
        if found := READY.search(out.read_text()):
            return server, found.group(1)
        time.sleep(0.05)
    server.kill()
    raise SystemExit(f"the server did not start: {(home / 'err.log').read_text()}")


def command(home: Path, *arguments: str) -> None:
    """A `polyport` command on that home. Raises `SystemExit` when it fails."""
    environ = _environ() | {"POLYPORT_HOME": str(home)}
    done = subprocess.run([sys.executable, "-m", "polyport", *arguments], env=environ, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr.decode())


@contextlib.contextmanager
def running(program: str, tag: str) -> Iterator[tuple[Path, "subprocess.Popen[bytes]", str]]:
    """The home, process and URL of a server that has an image with this `serve.py`; it is ended afterwards."""
    with tempfile.TemporaryDirectory(prefix="pp") as folder:
        home, image = Path(folder) / "h", Path(folder) / "image"
        home.mkdir()
        image.mkdir()
        (image / "serve.py").write_text(program)
        (image / "image.toml").write_text(IMAGE)
        command(home, "image", "build", str(image), "--tag", tag)
        server, url = start(home)
        try:
            yield home, server, url
        finally:
            server.terminate()
            server.wait(120)


def client(service: str, url: str) -> Any:
    """An unmodified client that sends everything once."""
    session = boto3.Session("bench", "bench", region_name="us-east-1")
    config = botocore.config.Config(max_pool_connections=64, retries={"total_max_attempts": 1})
    return session.client(service, endpoint_url=url, config=config)


def create_endpoint(sagemaker: Any, name: str, **model: Any) -> None:
    """A model of these members, a configuration with one instance of it, and the endpoint, all of that name."""
    sagemaker.create_model(ModelName=name, **model)
    variant = {"VariantName": "A", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=name)


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("POLYPORT_", "AWS_"))}
