"""Real containers for tests, without any registry: a Podman service, a base image with Python, a tiny static image.

The images are made once per machine from what is on it, and stay in Podman's storage. Where there is no Podman, tests
that need it skip with one line; with ``POLYPORT_REQUIRE_CONTAINERS=1``, as in `make test-containers`, they fail.
``POLYPORT_CONTAINERS=off`` skips them everywhere.
"""

import fcntl
import functools
import http.client
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tarfile
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

#: What the images are made from; another version makes other images.
VERSION = "1"
PYTHON_IMAGE = f"localhost/polyport-test/python:{VERSION}"
STATIC_IMAGE = f"localhost/polyport-test/static:{VERSION}"
#: Where the lock is, and the interpreter inside the image.
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "polyport-tests"
PYTHON = "/usr/bin/python"
_UNNEEDED = {"test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages"}
_UNNEEDED |= {"__pycache__", "pydoc_data"}

#: Answers every request with its own name; ends by SIGTERM, as it must be asked to as process 1.
_STATIC_SOURCE = r"""
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static void leave(int number) { _exit(0); }
int main(int count, char **words) {
    signal(SIGTERM, leave);
    printf("static %s\n", count > 1 ? words[1] : "");
    fflush(stdout);
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 64)) return 3;
    for (;;) {
        char in[65536];
        int peer = accept(listener, 0, 0);
        const char *out = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nstatic";
        if (read(peer, in, sizeof in) > 0 && write(peer, out, strlen(out)) < 0) return 4;
        shutdown(peer, SHUT_WR);
        while (read(peer, in, sizeof in) > 0);
        close(peer);
    }
}
"""


class Service:
    """One ``podman system service``, which a test may stop, kill, freeze and start again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "podman.sock"
        self._log = folder / "podman.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """For ``DOCKER_HOST``."""
        return f"unix://{self.path}"

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> "Service":
        """Starts it and waits until it answers."""
        self.path.unlink(missing_ok=True)
        command = ["podman", "--log-level=error", "system", "service", "--time=0", self.url]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self.path.parent)
        until = time.monotonic() + 20
        while not self.path.exists():
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < until, "Podman's service did not start"
            time.sleep(0.02)
        return self

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

    def _ask(self, path: str) -> Any:
        """A question to the daemon, without the client under test, and without a program's start."""
        connection = http.client.HTTPConnection("localhost")
        with socket.socket(socket.AF_UNIX) as connection.sock:
            connection.sock.settimeout(60)
            connection.sock.connect(str(self.path))
            connection.request("GET", path)
            return json.loads(connection.getresponse().read())

    def stop(self, *, kill: bool = False) -> None:
        """Ends it, politely or not. Containers go on."""
        if self._process is not None:
            self._process.kill() if kill else self._process.terminate()
            self._process.wait(20)
            self._process = None


def require() -> None:
    """Skips the test where containers cannot be run; fails it where they must be."""
    if reason := _reason_to_skip():
        if os.environ.get("POLYPORT_REQUIRE_CONTAINERS") == "1":
            pytest.fail(f"containers are required here: {reason}", pytrace=False)
        pytest.skip(f"no containers: {reason}")


@functools.cache
def _reason_to_skip() -> str:
    if os.environ.get("POLYPORT_CONTAINERS") == "off":
        return "POLYPORT_CONTAINERS=off turns them off"
    if shutil.which("podman") is None:
        return "Podman is not installed"
    try:
        make_images()
    except subprocess.CalledProcessError as error:
        return f"Podman does not work here: {(error.stderr or b'').decode('utf-8', 'replace').strip()[-300:]}"
    return ""


def make_images() -> None:
    """Makes the two images unless they are there; one process at a time."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_there(PYTHON_IMAGE):
            _import(PYTHON_IMAGE, _pack_python)
        if not _is_there(STATIC_IMAGE):
            _import(STATIC_IMAGE, _pack_static, "--change", 'ENTRYPOINT ["/static"]')


def podman(*arguments: str, check: bool = True) -> str:
    """Runs the command line client; what it printed."""
    done = subprocess.run(["podman", *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 or not check, done.stderr
    return done.stdout.strip()


def make_image(
    tag: str, script: str = "", entrypoint: list[str] | None = None, lines: tuple[str, ...] = (), **files: str
) -> str:
    """An image of the base with files (``NAME`` becomes ``/NAME``), labels as AWS wants them; its name.

    ``script`` becomes ``/serve.py`` and is what the entry point runs unless another is given; ``lines`` come last in
    its Dockerfile.
    """
    name = f"localhost/polyport-test/{tag}"
    point = json.dumps(entrypoint if entrypoint is not None else [PYTHON, "-u", "/serve.py"])
    with tempfile.TemporaryDirectory() as folder:
        for file, text in {"serve.py": script, **files}.items():
            Path(folder, file).write_text(text)
            Path(folder, file).chmod(0o755)
        text = [f"FROM {PYTHON_IMAGE}", f"ENTRYPOINT {point}", "COPY . /"]
        text += ["LABEL com.amazonaws.sagemaker.capabilities.accept-bind-to-port=true", *lines]
        Path(folder, "Containerfile").write_text("\n".join(text))
        podman("build", "--quiet", "--tag", name, folder)
    return name


def _is_there(image: str) -> bool:
    return subprocess.run(["podman", "image", "exists", image], capture_output=True, check=False).returncode == 0


def _import(image: str, pack: Callable[[tarfile.TarFile], None], *options: str) -> None:
    with tempfile.NamedTemporaryFile(suffix=".tar") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            pack(archive)
        file.flush()
        subprocess.run(["podman", "import", *options, file.name, image], capture_output=True, check=True)


def _pack_python(archive: tarfile.TarFile) -> None:
    """The interpreter that runs this, its library and every shared library they need."""
    library = Path(sysconfig.get_path("stdlib"))
    archive.add(os.path.realpath(sys.executable), PYTHON)
    archive.add(library, str(library), filter=_only_needed)
    programs = [os.path.realpath(sys.executable), *map(str, library.glob("lib-dynload/*.so"))]
    for path in sorted({os.path.normpath(path) for program in programs for path in _find_libraries(program)}):
        archive.add(os.path.realpath(path), path)
    for folder in ("tmp", "opt", "etc", "proc", "sys", "dev"):
        _add(archive, folder, b"", 0o1777 if folder == "tmp" else 0o755, tarfile.DIRTYPE)


def _only_needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(entry.name).parts
    return None if _UNNEEDED.intersection(parts) or any(part.startswith("config-") for part in parts) else entry


def _find_libraries(program: str) -> Iterator[str]:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    for word in listed.split():
        if word.startswith("/"):
            yield word


def _pack_static(archive: tarfile.TarFile) -> None:
    with tempfile.TemporaryDirectory() as folder:
        source, program = Path(folder, "static.c"), Path(folder, "static")
        source.write_text(_STATIC_SOURCE)
        subprocess.run(["gcc", "-O1", "-static", "-o", program, source], capture_output=True, check=True)
        _add(archive, "static", program.read_bytes(), 0o755)


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int, kind: bytes = tarfile.REGTYPE) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type = len(data), mode, kind
    archive.addfile(entry, io.BytesIO(data))
