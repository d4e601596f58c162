"""Isolation as a user of the whole server meets it."""

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from engines.seeing import LEVELS
from support.server import Server, call, wait_for_status

SANDBOX = pytest.mark.skipif("bubblewrap" not in LEVELS, reason="bubblewrap does not work here")


def create(sagemaker: Any, name: str, **model: Any) -> None:
    """A model and a configuration; with two containers in sequence."""
    containers = [
        {"Image": "first:1", "ContainerHostname": "first"},
        {"Image": "second:1", "ContainerHostname": "second"},
    ]
    sagemaker.create_model(ModelName=name, Containers=containers, **model)
    variant = {"VariantName": "all", "ModelName": name, "InitialInstanceCount": 1, "InstanceType": "ml.m5.large"}
    sagemaker.create_endpoint_config(EndpointConfigName=name, ProductionVariants=[variant])


@SANDBOX
def test_an_endpoint_without_network_answers(server: Server) -> None:
    """`EnableNetworkIsolation` is kept, and calls pass all the same, also large ones through several containers."""
    sagemaker, runtime = server.client("sagemaker"), server.client("sagemaker-runtime")
    create(sagemaker, "alone", EnableNetworkIsolation=True)
    sagemaker.create_endpoint(EndpointName="alone", EndpointConfigName="alone")
    wait_for_status(sagemaker, "alone", "InService")
    assert sagemaker.describe_model(ModelName="alone")["EnableNetworkIsolation"] is True
    body = os.urandom(5_000_000)
    assert call(runtime, "alone", body).startswith(body)
    pids = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/comm") if is_of(path.parent, server)]
    assert pids
    own = Path("/proc/self/ns/net").stat().st_ino
    assert all(Path(f"/proc/{pid}/ns/net").stat().st_ino != own for pid in pids)


def is_of(process: Path, server: Server) -> bool:
    """It is a container of that server."""
    try:
        return f"SAGEMAKER_BASE_DIR={server.home}".encode() in (process / "environ").read_bytes()
    except OSError:
        return False


def test_network_isolation_is_refused_when_it_cannot_be_kept(make_server: Callable[..., Server]) -> None:
    """At CreateModel; and for a model that was made before, the deployment fails and says what is missing."""
    server = make_server(isolation="mounts" if "mounts" in LEVELS else "none")
    settings = dict(server.settings)
    if "bubblewrap" in LEVELS:
        server.settings.pop("isolation")
        server.start()
        create(server.client("sagemaker"), "early", EnableNetworkIsolation=True)
        server.stop()
    server.settings = settings
    server.start()
    sagemaker = server.client("sagemaker")
    with pytest.raises(ClientError, match=r"EnableNetworkIsolation cannot be kept here: .*bubblewrap") as refused:
        create(sagemaker, "late", EnableNetworkIsolation=True)
    assert refused.value.response["Error"]["Code"] == "ValidationException"
    if "bubblewrap" in LEVELS:
        sagemaker.create_endpoint(EndpointName="early", EndpointConfigName="early")
        reason = wait_for_status(sagemaker, "early", "Failed")["FailureReason"]
        assert "EnableNetworkIsolation cannot be kept here" in reason


def test_a_server_that_cannot_keep_the_demanded_isolation_does_not_start(tmp_path: Path) -> None:
    """It says why and what to do, and ends with status 2: containers never get less than what was demanded. The home
    that it made is closed to others."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "bwrap").write_text("#!/bin/sh\necho 'bwrap: not today' >&2\nexit 1\n")
    (tmp_path / "bin" / "bwrap").chmod(0o755)
    environ = {**os.environ, "POLYPORT_ISOLATION": "bubblewrap", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    done = subprocess.run(
        [sys.executable, "-m", "polyport", "serve", "--home", str(tmp_path / "home"), "--port", str(port)],
        env=environ, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "bwrap: not today" in done.stderr
    assert "polyport doctor" in done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "home").stat().st_mode & 0o077 == 0
