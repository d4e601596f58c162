"""A real server in a home of its own, its processes, its endpoints, and a client that calls them without pause."""

import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import boto3
import botocore.config
import msgspec

from bench import processes
from chaos import disk
from chaos.calls import OK, Call, Fault
from polyport.engines.process import files, records

HERE = Path(__file__).resolve().parent
IMAGE = "chaos:1"
READY = re.compile(r"Polyport listens on (https?://\S+)")
#: Seconds within which anything must happen that is waited for.
DEADLINE = 90.0

Found = TypeVar("Found")


class Broken(Exception):
    """A promise was broken; its text is the finding."""


def wait_for(condition: Callable[[], Found], what: str, deadline: float = DEADLINE) -> Found:
    """Poll until it is true. Raises `Broken`."""
    until = time.monotonic() + deadline
    while time.monotonic() < until:
        if found := condition():
            return found
        time.sleep(0.01)
    raise Broken(f"{what}: not within {deadline:g} s")


class Instance(msgspec.Struct, frozen=True):
    """One instance as its folder tells."""

    id: str
    endpoint: str
    variant: str
    ports: tuple[int, ...]
    folder: Path


class Ground:
    """The home with the server. A context: what was started ends with it."""

    def __init__(self, *, small_disk: bool = False, say: Callable[[str], None] = print) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="polyport-chaos-"))
        self.home = self.root / "home"
        self.url = ""
        self.faults: list[Fault] = []
        self.say = say
        self.has_small_disk = False
        self._small_disk = small_disk
        self._launcher: subprocess.Popen[bytes] | None = None
        self._client: subprocess.Popen[bytes] | None = None
        self._clock = self.root / "clock"

    def __enter__(self) -> Self:
        self.home.mkdir(mode=0o700)
        self._clock.write_bytes(struct.pack("d", 0.0))
        if self._small_disk:
            self.has_small_disk = not disk.mount(self.home)
        self.command("image", "build", str(HERE / "model"), "--tag", IMAGE)
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.set_clock(0.0)
        disk.empty(self.home)
        self.stop_client()
        if self._launcher is None or self._launcher.poll() is not None:
            # Instances may have outlived a kill: only an orderly stop ends them.
            with suppress(Broken):
                self.start()
        if self._launcher is not None:
            self._launcher.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._launcher.wait(DEADLINE)
            processes.kill([self._launcher.pid])
        if kind is not None:
            shutil.copy(self.root / "server.log", Path(tempfile.gettempdir()) / "polyport-chaos-server.log")
        if self.has_small_disk:
            disk.unmount(self.home)
        shutil.rmtree(self.root, ignore_errors=True)

    # --- the server

    def _environment(self) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(("POLYPORT_", "AWS_"))}
        return environ | {
            "POLYPORT_HOME": str(self.home),
            "POLYPORT_PING_INTERVAL": "1",
            "POLYPORT_STOP_TIMEOUT": "5",
            "POLYPORT_STARTUP_TIMEOUT": "60",
            "PYTHONPATH": str(HERE / "clock"),
            "CHAOS_CLOCK": str(self._clock),
        }

    def command(self, *arguments: str) -> str:
        """A `polyport` command on this home."""
        command = [sys.executable, "-m", "polyport", *arguments]
        done = subprocess.run(
            command, env=self._environment(), capture_output=True, text=True, timeout=DEADLINE, check=False
        )
        if done.returncode:
            raise Broken(f"polyport {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def start(self, *arguments: str) -> None:
        """Start the server, and wait until it says that it is ready."""
        launcher = self.begin(*arguments)
        wait_for(lambda: READY.search(self.output()) or launcher.poll() is not None, "the server to be ready")
        found = READY.search(self.output())
        if found is None:
            raise Broken(f"the server does not start: {self.log()[-2000:]}")
        self.url = found[1]

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start it; does not wait."""
        port = self.url.rpartition(":")[2] or "0"
        command = [sys.executable, "-m", "polyport", "serve", "--port", port, "--workers", "2", *arguments]
        # Outside the home, which may be full.
        with (self.root / "out.log").open("wb") as out, (self.root / "server.log").open("ab") as log:
            self._launcher = subprocess.Popen(
                command, env=self._environment(), stdout=out, stderr=log, start_new_session=True
            )
        return self._launcher

    def output(self) -> str:
        """What the server printed since its start."""
        return (self.root / "out.log").read_text(errors="replace")

    def log(self) -> str:
        """What it logged since the first start."""
        return (self.root / "server.log").read_text(errors="replace")

    def is_ready(self) -> bool:
        """Whether /healthz answers 200."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthz", timeout=5) as answer:  # noqa: S310  our own
                return bool(answer.status == 200)
        except OSError:
            return False

    # --- its processes

    @property
    def launcher(self) -> int:
        """The process id of `polyport serve`."""
        assert self._launcher is not None, "it was started"
        return self._launcher.pid

    def reap(self) -> None:
        """After it was killed."""
        assert self._launcher is not None, "it was started"
        self._launcher.wait()

    def children(self, of: str) -> list[int]:
        """Its children whose command line has that in it, by process id."""
        return sorted(pid for pid in processes.tree(self.launcher)[1:] if of in processes.command_line(pid))

    def control(self) -> int:
        """Once there is one."""
        return wait_for(lambda: self.children("polyport.server.control"), "a control process")[0]

    def workers(self) -> list[int]:
        """The gateway workers."""
        return self.children("polyport.gateway.worker")

    def instances(self, endpoint: str = "") -> list[Instance]:
        """Of that endpoint, or all, by id; those on their way out are none."""
        found = []
        for folder in sorted((self.home / "run" / "instances").glob("i-*")):
            spec = records.read_spec(folder / files.SPEC)
            if spec is None or spec.stopping or endpoint not in ("", spec.instance.labels.get("endpoint")):
                continue
            labels = spec.instance.labels
            ports = tuple(entry.port for entry in spec.containers)
            found.append(Instance(folder.name, labels.get("endpoint", ""), labels.get("variant", ""), ports, folder))
        return found

    def supervisor(self, instance: Instance) -> int:
        """The process id of its supervisor; 0: there is none now."""
        return files.lock_holder(instance.folder / files.LOCK) or 0

    def containers(self, *instances: Instance) -> list[int]:
        """The programs in their containers, not what started them."""
        ports = {f"SAGEMAKER_BIND_TO_PORT={port}".encode() for one in instances for port in one.ports}
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError):
                if entry.name.isdigit() and ports & {*(entry / "environ").read_bytes().split(b"\0")}:
                    found.append(int(entry.name))
        return sorted(found)

    # --- faults

    def kill(
        self, kind: str, pids: list[int], outcomes: tuple[str, ...] = (), endpoint: str = "", target: str = ""
    ) -> Fault:
        """SIGKILL, and wait until they are really gone."""
        began = time.monotonic()
        processes.kill(pids)
        wait_for(lambda: not any(map(is_running, pids)), "killed processes to be gone")
        return self.note(kind, target or str(pids), began, outcomes, endpoint)

    def note(self, kind: str, target: str, began: float, outcomes: tuple[str, ...] = (), endpoint: str = "") -> Fault:
        """Something was done, from ``began`` until now."""
        fault = Fault(kind, target, began, time.monotonic(), outcomes, endpoint)
        self.faults.append(fault)
        return fault

    def set_clock(self, seconds: float) -> None:
        """By how much the wall clock of the server's processes is off."""
        with self._clock.open("r+b") as file:
            file.write(struct.pack("d", seconds))

    # --- its endpoints

    def client(self, service: str = "sagemaker", attempts: int = 10) -> Any:
        """boto3, as it is; it tries again while control is away."""
        retries = {"mode": "standard", "total_max_attempts": attempts}
        settings = botocore.config.Config(retries=retries, connect_timeout=10, read_timeout=30)
        session = boto3.Session("polyport", "polyport", region_name="us-east-1")
        return session.client(service, endpoint_url=self.url, config=settings)

    def create(self, name: str, containers: int = 1, count: int = 2) -> None:
        """An endpoint with so many instances; waits until it is in service. ``NAME-a`` and ``NAME-b`` are
        configurations that differ in nothing but their names."""
        sagemaker = self.client()
        sagemaker.create_model(ModelName=name, Containers=containers_of(containers))
        for config in (f"{name}-a", f"{name}-b"):
            sagemaker.create_endpoint_config(
                EndpointConfigName=config, ProductionVariants=[variant("all", name, count, 1)]
            )
        sagemaker.create_endpoint(EndpointName=name, EndpointConfigName=f"{name}-a")
        self.wait_in_service(name)

    def describe(self, name: str) -> dict[str, Any]:
        """DescribeEndpoint; empty while control cannot be asked."""
        try:
            found: dict[str, Any] = self.client(attempts=1).describe_endpoint(EndpointName=name)
        except Exception:  # noqa: BLE001  whatever it is, it is asked again
            return {}
        return found

    def wait_in_service(self, *names: str, deadline: float = DEADLINE) -> None:
        """Until each is InService with as many healthy instances as are wanted. Raises `Broken`."""
        for name in names:
            wait_for(lambda name=name: is_settled(self.describe(name)), f"{name} to be in service", deadline)  # type: ignore[misc]

    # --- calls

    def start_client(self, *endpoints: str) -> None:
        """Call them, from a process of its own, until `stop_client`."""
        command = [sys.executable, "-m", "chaos.client", self.url, str(self.root / "calls"), *endpoints]
        self._client = subprocess.Popen(command, cwd=HERE.parent, start_new_session=True)
        wait_for(lambda: len(self.calls()) > 20 * len(endpoints), "the first calls")

    def stop_client(self) -> list[Call]:
        """End the client once its calls are answered; all that it saw."""
        if self._client is not None:
            self._client.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._client.wait(DEADLINE)
            self._client.kill()
            self._client.wait()
            self._client = None
        return self.calls()

    def calls(self) -> list[Call]:
        """What the client saw until now."""
        try:
            lines = (self.root / "calls").read_bytes().splitlines(keepends=True)
        except FileNotFoundError:
            return []
        return [msgspec.json.decode(line, type=Call) for line in lines if line.endswith(b"\n")]

    def got(self) -> Counter[str]:
        """How often containers got each call, at most at one stage: from their logs."""
        most: Counter[str] = Counter()
        stages: dict[str, Counter[str]] = {}
        for path in (self.home / "logs").rglob("*.log*"):
            stage = stages.setdefault(path.name.partition(".log")[0], Counter())
            stage.update(re.findall(r" got (\S+)\.$", path.read_text(errors="replace"), re.MULTILINE))
        for stage in stages.values():
            most |= stage
        return most


def variant(name: str, model: str, count: int, weight: float) -> dict[str, Any]:
    """A production variant."""
    return {
        "VariantName": name,
        "ModelName": model,
        "InstanceType": "ml.m5.large",
        "InitialInstanceCount": count,
        "InitialVariantWeight": weight,
    }


def containers_of(count: int, name: str = "model") -> list[dict[str, Any]]:
    """A pipeline of so many containers."""
    names = ("first", "second", "third")[:count]
    return [{"ContainerHostname": one, "Image": IMAGE, "Environment": {"NAME": f"{name}-{one}"}} for one in names]


def is_settled(described: dict[str, Any]) -> bool:
    """In service, with all the instances that are wanted."""
    variants = described.get("ProductionVariants", ())
    return described.get("EndpointStatus") == "InService" and all(
        one.get("CurrentInstanceCount") == one.get("DesiredInstanceCount") for one in variants
    )


def is_running(pid: int) -> bool:
    """A process whose end nobody has asked for yet runs no more. Its first thread may end before others, and until the
    last one does the kernel takes connections for it."""
    with suppress(OSError):
        stats = [(task / "stat").read_text() for task in processes.PROC.joinpath(str(pid), "task").iterdir()]
        return len(stats) > 1 or any(stat.rpartition(")")[2].split()[0] not in "ZX" for stat in stats)
    return False


def is_answered(call: Call) -> bool:
    """It did not fail."""
    return call.outcome == OK
