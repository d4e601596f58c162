"""Polyport as a user runs it: `polyport serve`, with containers that its own process engine starts."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import boto3
import botocore.config
from botocore.exceptions import BotoCoreError, ClientError

from bench import processes
from bench.cases import MODELS, Case
from bench.client import Target
from bench.ground import Ground, Program, Unavailable, free_port
from bench.signing import ANY_KEY, REGION

IMAGE = "bench-model:1"
MANIFEST = """
entrypoint = ["./model"]
[labels]
"com.amazonaws.sagemaker.capabilities.accept-bind-to-port" = "true"
"""
POLICY = """
{"Version": "2012-10-17", "Statement": [
  {"Effect": "Allow", "Action": "sagemaker:*", "Resource": "*"},
  {"Effect": "Deny", "Action": "sagemaker:InvokeEndpoint", "Resource": "arn:aws:sagemaker:*:*:endpoint/*",
   "Condition": {"StringLike": {"sagemaker:TargetContainerHostname": ["secret-*", "internal"]}}}
]}
"""
READY = re.compile(r"Polyport listens on")
#: Seconds for the server to be ready, and for an endpoint to be in service.
START = 60.0


class Polyport:
    """The whole server with so many gateway workers."""

    def __init__(self, ground: Ground, workers: int = 1) -> None:
        self.name = "polyport" if workers == 1 else f"polyport-{workers}"
        self.title = "Polyport" if workers == 1 else f"Polyport, {workers} workers"
        self.port = free_port()
        self.key = ANY_KEY
        self._ground = ground
        self._workers = workers
        self._program: Program | None = None

    def start(self) -> None:
        """Build the image, start the server, create the endpoints, wait for them. Raises `Unavailable`."""
        home = self._ground.place(self.name) / "home"
        home.mkdir(exist_ok=True)
        environment = _environment() | {"POLYPORT_HOME": str(home)}
        self._build_image(environment)
        self._prepare(home, environment)
        command = [sys.executable, "-m", "polyport", "serve", "--port", str(self.port), "--workers", str(self._workers)]
        self._program = Program(self.name, command, home.parent, environment=environment)
        _wait(lambda: READY.search(self._checked().output()), "polyport serve to be ready")
        self._create_endpoints()
        if self._workers == 1:
            processes.pin(processes.running_from(home), self._ground.model_cpus)
            processes.pin(self.serving(), self._ground.system_cpus)
            processes.pin(self.beside(), self._ground.model_cpus)

    def stop(self) -> None:
        """An orderly stop, which ends the containers too."""
        if self._program:
            self._program.stop()

    def target(self, case: Case) -> Target:
        """The invocation path of the case's endpoint."""
        return Target(self.port, case.path, framed=case.streams, key=self.key)

    def serving(self) -> list[int]:
        """The gateway workers."""
        return [pid for pid in self._tree() if "polyport.gateway" in processes.command_line(pid)]

    def beside(self) -> list[int]:
        """The launcher and control; supervisors and containers are left out."""
        control = [pid for pid in self._tree() if "polyport.server.control" in processes.command_line(pid)]
        return [*([self._program.pid] if self._program else []), *control]

    def _tree(self) -> list[int]:
        return processes.tree(self._program.pid) if self._program else []

    def _checked(self) -> Program:
        assert self._program
        self._program.check()
        return self._program

    def _build_image(self, environment: dict[str, str]) -> None:
        folder = self._ground.place(self.name) / "image"
        folder.mkdir(exist_ok=True)
        shutil.copy2(self._ground.model, folder / "model")
        (folder / "image.toml").write_text(MANIFEST)
        _run(environment, "image", "build", str(folder), "--tag", IMAGE)

    def _prepare(self, home: Path, environment: dict[str, str]) -> None:
        """What is to be done before the server is started."""

    def _create_endpoints(self) -> None:
        session = boto3.Session(*self.key, region_name=REGION)
        config = botocore.config.Config(retries={"total_max_attempts": 1})
        sagemaker = session.client("sagemaker", endpoint_url=f"http://127.0.0.1:{self.port}", config=config)
        try:
            for endpoint, environments in MODELS.items():
                _create(sagemaker, endpoint, environments)
            for endpoint in MODELS:
                _wait(lambda name=endpoint: _is_in_service(sagemaker, name), f"endpoint {endpoint} to be in service")
        except (ClientError, BotoCoreError) as error:
            raise Unavailable(f"creating the endpoints: {error}") from error


class Keyed(Polyport):
    """With a key, so that every call is verified and authorised. Its policy is one that hosts of several teams' models
    have: conditions on containers have to be looked at."""

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.name, self.title = "polyport-keys", "Polyport, signatures verified"

    def _prepare(self, home: Path, environment: dict[str, str]) -> None:
        policy = home / "bench.json"
        policy.write_text(POLICY)
        made = json.loads(_run(environment, "key", "create", "--user", "bench", "--policy", str(policy), "--json"))
        self.key = made["key"], made["secret"]


def _run(environment: dict[str, str], *arguments: str) -> str:
    """A `polyport` command; what it printed."""
    command = [sys.executable, "-m", "polyport", *arguments]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode:
        raise Unavailable(f"polyport {' '.join(arguments[:2])}: {(done.stderr or done.stdout).strip()[-400:]}")
    return done.stdout


def _create(sagemaker: Any, endpoint: str, environments: tuple[dict[str, str], ...]) -> None:
    """One container makes a plain endpoint, several a serial one."""
    containers = [{"Image": IMAGE, "Environment": environment} for environment in environments]
    if len(containers) == 1:
        sagemaker.create_model(ModelName=endpoint, PrimaryContainer=containers[0])
    else:
        sagemaker.create_model(ModelName=endpoint, Containers=containers, InferenceExecutionConfig={"Mode": "Serial"})
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": endpoint,
        "InitialInstanceCount": 1,
        "InstanceType": "ml.m5.large",
    }
    sagemaker.create_endpoint_config(EndpointConfigName=endpoint, ProductionVariants=[variant])
    sagemaker.create_endpoint(EndpointName=endpoint, EndpointConfigName=endpoint)


def _is_in_service(sagemaker: Any, endpoint: str) -> bool:
    described = sagemaker.describe_endpoint(EndpointName=endpoint)
    if described["EndpointStatus"] == "Failed":
        raise Unavailable(f"endpoint {endpoint} failed: {described.get('FailureReason')}")
    return bool(described["EndpointStatus"] == "InService")


def _environment() -> dict[str, str]:
    """No setting of the user's own server reaches this one."""
    unset = {name: "" for name in os.environ if name.startswith("AWS_")}
    return unset | {"POLYPORT_STOP_TIMEOUT": "5"}


def _wait(condition: Any, what: str) -> None:
    until = time.monotonic() + START
    while not condition():
        if time.monotonic() > until:
            raise Unavailable(f"waited {START:.0f} s for {what}")
        time.sleep(0.1)
