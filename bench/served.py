"""A server of its own for a measurement: a process, a home, a URL."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import botocore.config

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


def client(service: str, url: str) -> Any:
    """An unmodified client that sends everything once."""
    session = boto3.Session("bench", "bench", region_name="us-east-1")
    config = botocore.config.Config(max_pool_connections=64, retries={"total_max_attempts": 1})
    return session.client(service, endpoint_url=url, config=config)


def _environ() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(("POLYPORT_", "AWS_"))}
