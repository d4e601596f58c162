"""One test per cause of the doctor's table, on real processes: what DescribeEndpoint and the doctor say of it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from polyport.domain import diagnosis
from support.server import Server, create_endpoint, wait_for, wait_for_status

pytestmark = pytest.mark.slow

#: Does as its environment says.
PROGRAM = "import os\nprint('it begins', flush=True)\nexec(os.environ['DO'])\n"
LISTEN = """
import http.server, os, socket, time
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        %s
    def log_message(self, *arguments):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.%s
Server(("%s", %s), Handler).serve_forever()
"""
PORT = "int(os.environ['SAGEMAKER_BIND_TO_PORT'])"


def listen(answer: str, family: str = "AF_INET", address: str = "127.0.0.1", port: str = PORT) -> str:
    return LISTEN % (answer, family, address, port)


#: What the container does, the cause that is to be found, and a part of its sentence.
ILL: dict[str, tuple[str, str]] = {
    "exits-at-once": ("raise SystemExit(7)", "exited with code 7"),
    "exits-later": ("import time; time.sleep(5.5); raise SystemExit(7)", "exited with code 7"),
    "done-at-once": ("pass", "exited with code 0"),
    "killed": ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
    "bad-instruction": ("import ctypes; ctypes.string_at(0)", "was ended by SIGSEGV"),
    "out-of-memory": ("x = bytearray(1 << 60)", "there was not enough memory for it"),
    "import-error": ("import no_such_package", "ModuleNotFoundError: No module named 'no_such_package'"),
    "model-data-unreadable": (
        "open(os.environ['SAGEMAKER_BASE_DIR'] + '/model/weights.bin')",
        "FileNotFoundError: [Errno 2] No such file or directory",
    ),
    "port-taken": (
        f"import socket; take = lambda: socket.create_server(('127.0.0.1', {PORT})); first = take(); take()",
        "Address already in use",
    ),
    "disk-full": ("raise OSError(28, os.strerror(28))", "No space left on device"),
    "wrong-architecture": ("", "Exec format error"),
    "entry-point-missing": ("", "entrypoint not found"),
    "wrong-port": (listen("pass", port="18117"), "It listens on 18117, expected "),
    "not-listening": ("import time; time.sleep(600)", "It runs but does not listen"),
    "ping-404": (listen("self.send_error(404)"), "GET /ping answered 404"),
    "ping-500": (listen("self.send_error(500)"), "GET /ping answered 500"),
    "ping-slow": (listen("time.sleep(600)"), "GET /ping got no answer (timeout)"),
    "ping-broken": (listen("self.connection.close()"), "GET /ping got no answer ("),
}
#: Of these, the port or address may be taken on this machine.
if Path("/proc/net/if_inet6").exists() and Path("/proc/net/if_inet6").read_text():
    ILL["unreachable"] = (listen("pass", "AF_INET6", "::1"), "It listens on [::1]:")


def build(server: Server, name: str, entrypoint: list[str], **files: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
            (Path(folder) / file).chmod(0o755)
        (Path(folder) / "serve.py").write_text(PROGRAM)
        labels = '[labels]\n"com.amazonaws.sagemaker.capabilities.accept-bind-to-port" = "true"\n'
        (Path(folder) / "image.toml").write_text(f"entrypoint = {json.dumps(entrypoint)}\n{labels}")
        server.command("image", "build", folder, "--tag", name)


@pytest.fixture(scope="module")
def clinic(home_with_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one endpoint for each cause, all begun at the same time."""
    home = tmp_path_factory.mktemp("clinic") / "h"
    shutil.copytree(home_with_images, home, symlinks=True)
    server = Server(home, startup_timeout=8, startup_restarts=1, stop_timeout=1, ping_timeout=0.5)
    build(server, "ill:1", ["python", "serve.py"])
    build(server, "wrong:1", ["./program"], program=b"\x7fELF\x02\x01\x01" + b"\0" * 100)
    build(server, "none:1", ["no-such-program"])
    images = {"wrong-architecture": "wrong:1", "entry-point-missing": "none:1"}
    server.start()
    for name, (program, _) in ILL.items():
        container = {"Image": images.get(name, "ill:1"), "Environment": {"DO": program}}
        create_endpoint(server, name, container, mode="Single")
    yield server
    assert server.stop() == 0


def ask(server: Server, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "polyport", "doctor", name, *arguments],
        env=os.environ | {"POLYPORT_HOME": str(server.home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize("name", sorted(ILL))
def test_a_cause_is_told_with_its_fix(clinic: Server, name: str) -> None:
    """By FailureReason and by the doctor, which has what happened, too; exit status 1 says that something is wrong."""
    described = wait_for_status(clinic.client("sagemaker"), name, "Failed", deadline=60.0)
    reason = described["FailureReason"]
    assert ILL[name][1] in reason
    done = ask(clinic, name, "--json")
    assert done.returncode == 1, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    [wrong] = report["wrong"]
    assert wrong["name"] == name
    # It is told once: how often the container was restarted afterwards is no news.
    assert ILL[name][1] in wrong["cause"]
    assert wrong["fix"] in reason
    kinds = [event["kind"] for event in report["instances"][-1]["events"]]
    assert kinds[:3] == ["created", "image", "applied"]
    assert {"finding", "given up"} <= set(kinds)


def test_most_causes_are_shown_on_real_processes() -> None:
    """The others need a daemon, a port that may be taken here, or are refused earlier; see test_diagnosis.py."""
    others = {
        "image-not-found",
        "model-data-not-fetched",
        "engine-refused",
        "cannot-start",
        "port-ignored",
        "unhealthy",
    }
    assert {cause.name for cause in diagnosis.CAUSES} - others - {"unreachable"} <= set(ILL)


def test_it_is_a_time_line_for_people(clinic: Server) -> None:
    """Events with their times, then the cause, the fix and the last output."""
    wait_for_status(clinic.client("sagemaker"), "exits-at-once", "Failed", deadline=60.0)
    said = ask(clinic, "exits-at-once").stdout
    assert said.startswith("Endpoint exits-at-once is Failed.\n")
    assert "  ended " in said
    assert "  Cause: It exited with code 7" in said
    assert "  Fix: Read its last output" in said
    assert "    it begins\n" in said


def test_a_cause_is_seen_while_the_endpoint_is_created(clinic: Server) -> None:
    """Nobody waits for the end of the start-up time: VariantStatus has it, with the fix, soon after the death."""
    create_endpoint(
        clinic, "early", {"Image": "ill:1", "Environment": {"DO": "import time; time.sleep(1); import nothing"}}
    )
    sagemaker = clinic.client("sagemaker")

    def message() -> str:
        [variant] = sagemaker.describe_endpoint(EndpointName="early")["ProductionVariants"]
        return " ".join(status.get("StatusMessage", "") for status in variant.get("VariantStatus", ()))

    wait_for(lambda: "No module named 'nothing'. Add the package" in message(), "the cause")


def test_a_cause_is_seen_while_the_endpoint_is_in_service(clinic: Server) -> None:
    """A container that was well and cannot be started again: the variant says why, the endpoint stays in service; its
    time line has the memory that the container had."""
    serve_once = "import pathlib, time; mark = pathlib.Path(os.environ['HOME'], 'x')\n"
    serve_once += "if mark.exists(): import nothing\nmark.touch()\n"
    stop = listen("self.send_response(200); self.end_headers()").replace("Handler).serve_forever()", "Handler)")
    stop = stop.replace("Server((", "server = Server((") + "import threading\n"
    stop += "threading.Thread(target=server.serve_forever, daemon=True).start(); time.sleep(3); raise SystemExit(7)\n"
    container = {"Image": "ill:1", "Environment": {"DO": serve_once + stop}}
    create_endpoint(clinic, "later", container, mode="Single")
    sagemaker = clinic.client("sagemaker")
    wait_for_status(sagemaker, "later", "InService")

    def message() -> str:
        answer = sagemaker.describe_endpoint(EndpointName="later")
        assert answer["EndpointStatus"] == "InService"
        [variant] = answer["ProductionVariants"]
        return " ".join(status.get("StatusMessage", "") for status in variant.get("VariantStatus", ()))

    wait_for(lambda: "1 instance(s) take no calls. " in message() and "No module named 'nothing'" in message(), "it")
    ended = [line for line in ask(clinic, "later").stdout.splitlines() if "  ended " in line]
    assert all("; memory: " in line and " at its peak, of " in line for line in ended)
    assert ended


def test_an_endpoint_that_nobody_knows_is_told_in_one_line(clinic: Server) -> None:
    """With where it was looked for."""
    done = ask(clinic, "nobody")
    assert done.returncode == 2
    assert done.stderr == "polyport: Nothing is known of an endpoint nobody of account 123456789012 in us-east-1.\n"
