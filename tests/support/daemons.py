"""Real daemons for tests, each over a storage of its own in a short-lived folder: a Podman service or a Docker daemon.

A test may stop, kill, freeze and start them again. Nothing of the machine's own Podman or Docker is touched; nothing is
left once the session ends. Podman may be rootless; Docker needs root. Where there is none, tests that need it skip
with one line; with ``POLYPORT_REQUIRE_CONTAINERS=1``, as in CI, they fail. ``POLYPORT_CONTAINERS=off`` skips them.
"""

import abc
import contextlib
import functools
import http.client
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import Any

import pytest

from support import base_images

#: Of fixtures that give each in turn: the names of the fixtures that give one.
PARAMETERS = [
    pytest.param("podman", marks=pytest.mark.slow),
    pytest.param("dockerd", id="docker", marks=pytest.mark.slow),
]


def are_for_docker(test: str) -> bool:
    """Whether the test of that node id is one at a Docker daemon."""
    return "docker" in test.partition("[")[2].rstrip("]").split("-")


class Daemon(abc.ABC):
    """One daemon, its command line client and the base images. Start it before use."""

    kind: str

    def __init__(self) -> None:
        # A socket's path is short, and overlays do not stack: neither suits the test runner's own folders.
        self.folder = Path(tempfile.mkdtemp(prefix="pp-", dir="/var/tmp"))
        self.path = self.folder / "s"
        self._log = self.folder / "log"
        self._process: subprocess.Popen[bytes] | None = None
        self._made: dict[Any, str] = {}
        self.environment = dict(os.environ)

    @abc.abstractmethod
    def _serve(self) -> list[str]:
        """The daemon's command."""

    @abc.abstractmethod
    def _client(self) -> list[str]:
        """How the client's commands begin."""

    @abc.abstractmethod
    def trust(self, registry: str) -> None:
        """Talk to that registry (host and port, on the loopback interface) without TLS."""

    @property
    def url(self) -> str:
        """For ``DOCKER_HOST``."""
        return f"unix://{self.path}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts it and waits until it answers; does nothing when it runs."""
        if self._process is not None:
            return
        self.path.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._serve(), stdout=log, stderr=log, cwd=self.folder, env=self.environment, start_new_session=True
            )
        until = time.monotonic() + 30
        while not self._is_up():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, f"{self.kind} did not start: {self._log.read_text()}"
            time.sleep(0.02)

    def stop(self, *, kill: bool = False) -> None:
        """Ends it, politely or not. Containers go on."""
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait(30)
            self._process = None

    def cli(self, *words: str, check: bool = True) -> str:
        """Runs the command line client; what it printed."""
        command = [*self._client(), *words]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=self.environment, cwd=self.folder
        )
        assert done.returncode == 0 or not check, done.stderr
        return done.stdout.strip()

    def import_bases(self) -> None:
        """Makes the two base images. Raises `AssertionError` where that does not work."""
        with tempfile.TemporaryDirectory() as folder:
            self.cli("import", str(base_images.pack_python(Path(folder))), base_images.PYTHON_IMAGE)
            static = str(base_images.pack_static(Path(folder)))
            self.cli("import", "--change", 'ENTRYPOINT ["/static"]', static, base_images.STATIC_IMAGE)

    def make_image(
        self, tag: str, script: str = "", entrypoint: list[str] | None = None, lines: tuple[str, ...] = (), **files: str
    ) -> str:
        """An image of the base with files (``NAME`` becomes ``/NAME``), labels as AWS wants them; its name.

        ``script`` becomes ``/serve.py`` and is what the entry point runs unless another is given; ``lines`` come last
        in its Dockerfile.
        """
        key = (tag, script, *(entrypoint or ()), *lines, *files.items())
        if key in self._made:
            return self._made[key]
        name = f"localhost/polyport-test/{tag}"
        point = json.dumps(entrypoint if entrypoint is not None else [base_images.PYTHON, "-u", "/serve.py"])
        with tempfile.TemporaryDirectory() as folder:
            for file, text in {"serve.py": script, **files}.items():
                Path(folder, file).write_text(text)
                Path(folder, file).chmod(0o755)
            text = [f"FROM {base_images.PYTHON_IMAGE}", f"ENTRYPOINT {point}", "COPY . /"]
            text += ["LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true", *lines]
            Path(folder, "Dockerfile").write_text("\n".join(text))
            self.cli("build", "--quiet", "--tag", name, folder)
        return self._made.setdefault(key, name)

    def make_build_base(self) -> str:
        """The image that builds begin with: Python under the name that base images have for it; its name."""
        if "base" not in self._made:
            with tempfile.TemporaryDirectory() as folder:
                base_images.write_build_base(Path(folder))
                self.cli("build", "--quiet", "--tag", base_images.BUILD_IMAGE, folder)
        return self._made.setdefault("base", base_images.BUILD_IMAGE)

    def find_left(self, label: str) -> list[str]:
        """Containers and networks that carry this label (``name=value``), by name."""
        filters = urllib.parse.quote(json.dumps({"label": [label]}))
        names = [each["Names"][0].lstrip("/") for each in self._ask(f"/containers/json?all=1&filters={filters}")]
        key, _, value = label.partition("=")
        networks = self._ask("/networks")
        return names + [each["Name"] for each in networks if (each.get("Labels") or {}).get(key) == value]

    def values_left(self, key: str) -> set[str]:
        """What containers and networks have under this label."""
        found = [*self._ask("/containers/json?all=1"), *self._ask("/networks")]
        return {each["Labels"][key] for each in found if key in (each.get("Labels") or {})}

    def remove(self, *containers: str) -> None:
        """Ends and removes these containers at once."""
        self.cli("kill", *containers, check=False)
        self.cli("rm", "--force", "--volumes", *containers)

    def close(self) -> None:
        """Ends all containers and the daemon, and removes the folder."""
        self.start()
        if left := self.cli("ps", "--all", "--quiet").split():
            self.remove(*left)
        self.stop()
        self._end_helpers()
        for mount in reversed(find_mounts(self.folder)):
            subprocess.run(["umount", "--lazy", mount], check=True)
        self._remove_folder()

    def _end_helpers(self) -> None:
        """What a daemon that was killed may have left: its children that belong to no container any more."""
        for process in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if process.name.isdigit() and str(self.folder).encode() in (process / "cmdline").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)

    def _remove_folder(self) -> None:
        shutil.rmtree(self.folder)

    def _is_up(self) -> bool:
        try:
            self._ask("/version")
        except (OSError, http.client.HTTPException, ValueError):
            return False
        return True

    def _ask(self, path: str) -> Any:
        """A question to the daemon, without the client under test, and without a program's start."""
        connection = http.client.HTTPConnection("localhost")
        with socket.socket(socket.AF_UNIX) as connection.sock:
            connection.sock.settimeout(60)
            connection.sock.connect(str(self.path))
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())


class Podman(Daemon):
    """``podman system service``. Networks are the machine's, because their bridges are; all else is its own."""

    kind = "podman"

    def __init__(self) -> None:
        super().__init__()
        self._registries = self.folder / "registries.conf"
        self._registries.touch()
        # What whoever runs the tests is logged in to is nobody's business here.
        nobody = self.folder / "auth.json"
        nobody.write_text("{}")
        self.environment |= {"CONTAINERS_REGISTRIES_CONF": str(self._registries), "REGISTRY_AUTH_FILE": str(nobody)}

    def _serve(self) -> list[str]:
        return [*self._client(), "system", "service", "--time=0", self.url]

    def _client(self) -> list[str]:
        folders = {"root": "storage", "runroot": "run", "tmpdir": "tmp"}
        own = [f"--{option}={self.folder / name}" for option, name in folders.items()]
        # The default for other users than root copies every file of an image for each container.
        return ["podman", *own, "--storage-driver=overlay", "--log-level=error"]

    def trust(self, registry: str) -> None:
        with self._registries.open("a") as file:
            file.write(f'[[registry]]\nlocation = "{registry}"\ninsecure = true\n')
        self.stop()
        self.start()

    def _remove_folder(self) -> None:
        if os.geteuid() != 0:
            # Files of containers belong to other users of this user's namespace.
            subprocess.run(["podman", "unshare", "rm", "-rf", str(self.folder / "storage")], check=True)
        super()._remove_folder()


class Docker(Daemon):
    """``dockerd``, with a ``containerd`` that outlives it, as distributions run it. Its bridge and its chains in the
    packet filter go with it."""

    kind = "docker"

    def __init__(self) -> None:
        super().__init__()
        self._containerd: subprocess.Popen[bytes] | None = None
        self._bridge = f"pp{os.getpid():08d}"
        self._had_chains = bool(_list_rules("DOCKER"))
        # Without BuildKit, which is a program of its own that the distribution's client has not.
        self.environment |= {"DOCKER_CONFIG": str(self.folder / "config"), "DOCKER_BUILDKIT": "0"}

    def _serve(self) -> list[str]:
        folders = {"data-root": "storage", "exec-root": "run", "pidfile": "pid"}
        own = [f"--{option}={self.folder / name}" for option, name in folders.items()]
        own += [f"--containerd={self.folder / 'c'}", f"--host={self.url}"]
        return ["dockerd", *own, f"--bridge={self._bridge}", "--ip-forward=false", "--live-restore"]

    def start(self) -> None:
        if self._containerd is None:
            address = f"198.19.{os.getpid() % 256}.1/24"
            for command in (f"link add {self._bridge} type bridge", f"address add {address} dev {self._bridge}"):
                subprocess.run(["ip", *command.split()], check=True)
            configuration = self.folder / "containerd.toml"
            configuration.write_text('version = 2\ndisabled_plugins = ["io.containerd.grpc.v1.cri"]\n')
            own = [f"--{name}={self.folder / name}-c" for name in ("root", "state")]
            command = ["containerd", f"--config={configuration}", f"--address={self.folder / 'c'}", *own]
            with self._log.open("ab") as log:
                self._containerd = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        super().start()

    def _end_helpers(self) -> None:
        if self._containerd is not None:
            self._containerd.terminate()
            self._containerd.wait(30)
        super()._end_helpers()
        _remove_rules(self._bridge)
        if not self._had_chains:
            _remove_rules("DOCKER")
        subprocess.run(["ip", "link", "delete", self._bridge], check=True)

    def _client(self) -> list[str]:
        return ["docker", f"--host={self.url}"]

    def trust(self, registry: str) -> None:
        """Docker trusts what is on the loopback interface by itself."""


def _list_rules(word: str) -> dict[str, list[list[str]]]:
    """The packet filter's chains and rules that have this word, by table, as the arguments that made them."""
    found = {}
    for table in ("filter", "nat"):
        listed = subprocess.run(["iptables", "-t", table, "-S"], capture_output=True, text=True, check=False).stdout
        if rules := [shlex.split(line) for line in listed.splitlines() if word in line]:
            found[table] = rules
    return found


def _remove_rules(word: str) -> None:
    """Some may go by themselves meanwhile, with what they were for."""
    for table, rules in _list_rules(word).items():
        commands = [["-D", *rule[1:]] for rule in rules if rule[0] == "-A"]
        commands += [["-X", rule[1]] for rule in rules if rule[0] == "-N"]
        for command in commands:
            subprocess.run(["iptables", "-t", table, *command], capture_output=True, check=False)
    assert not (left := _list_rules(word)), f"rules of the packet filter cannot be removed: {left}"


def find_mounts(folder: Path) -> list[str]:
    """What is mounted below it, in the order of mounting."""
    lines = Path("/proc/self/mounts").read_text().splitlines()
    return [line.split()[1] for line in lines if line.split()[1].startswith(f"{folder}/")]


def require(kind: str) -> Daemon:
    """A daemon of that kind with the base images. Skips the test where it cannot be had; fails it where it must."""
    if reason := _reason_to_skip(kind):
        if os.environ.get("POLYPORT_REQUIRE_CONTAINERS") == "1":
            pytest.fail(f"containers are required here: {reason}", pytrace=False)
        pytest.skip(f"no containers: {reason}")
    return _started(kind)


@functools.cache
def _reason_to_skip(kind: str) -> str:
    if os.environ.get("POLYPORT_CONTAINERS") == "off":
        return "POLYPORT_CONTAINERS=off turns them off"
    program = "dockerd" if kind == "docker" else "podman"
    if shutil.which(program) is None:
        return f"{program} is not installed"
    if kind == "docker" and os.geteuid() != 0:
        return "dockerd needs root"
    try:
        _started(kind)
    except AssertionError as error:
        return f"{program} does not work here: {str(error).strip()[-300:]}"
    return ""


@functools.cache
def _started(kind: str) -> Daemon:
    daemon: Daemon = Docker() if kind == "docker" else Podman()
    try:
        daemon.start()
        daemon.import_bases()
    except BaseException:
        daemon.stop()
        shutil.rmtree(daemon.folder, ignore_errors=True)
        raise
    return daemon
