"""One test per cause of the doctor's table, on real processes: what DescribeEndpoint and the doctor say of it."""

import io
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines.seeing import LEVELS
from polyport.domain import diagnosis
from support.server import Server, create_config, create_endpoint, wait_for, wait_for_status

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
    "wrong-port": (listen("pass", port=f"{PORT} + 1"), "It listens on "),
    "port-ignored": (listen("pass", port="8080"), "It listens on 8080, expected "),
    "cannot-start": ("", "Argument list too long"),
    "not-listening": ("import time; time.sleep(600)", "It runs but does not listen"),
    "ping-404": (listen("self.send_error(404)"), "GET /ping answered 404"),
    "ping-500": (listen("self.send_error(500)"), "GET /ping answered 500"),
    "ping-slow": (listen("time.sleep(600)"), "GET /ping got no answer (timeout)"),
    "ping-broken": (listen("self.connection.close()"), "GET /ping got no answer ("),
}
#: In a network of its own, where it can be had: the port may be taken on this machine.
ISOLATED = {"port-ignored"} if LEVELS[0] == "bubblewrap" else set()
if Path("/proc/net/if_inet6").exists() and Path("/proc/net/if_inet6").read_text():
    ILL["unreachable"] = (listen("pass", "AF_INET6", "::1"), "It listens on [::1]:")


def build(server: Server, name: str, entrypoint: list[str], more: str = "", **files: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            (Path(folder) / file).write_bytes(content)
            (Path(folder) / file).chmod(0o755)
        (Path(folder) / "serve.py").write_text(PROGRAM)
        labels = '[labels]\n"com.amazonaws.sagemaker.capabilities.accept-bind-to-port" = "true"\n'
        (Path(folder) / "image.toml").write_text(f"entrypoint = {json.dumps(entrypoint)}\n{labels}{more}")
        server.command("image", "build", folder, "--tag", name)


@pytest.fixture(scope="module")
def clinic(home_with_images: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one endpoint for each cause, all begun at the same time."""
    home = tmp_path_factory.mktemp("clinic") / "h"
    shutil.copytree(home_with_images, home, symlinks=True)
    sickly = {"ping_interval": 0.5, "unhealthy_after": 1, "healthy_after": 32}
    server = Server(home, startup_timeout=8, startup_restarts=1, stop_timeout=1, ping_timeout=0.5, **sickly)
    build(server, "ill:1", ["python", "serve.py"])
    build(server, "wrong:1", ["./program"], program=b"\x7fELF\x02\x01\x01" + b"\0" * 100)
    build(server, "none:1", ["no-such-program"])
    # More than the kernel lets a program have in one variable.
    build(server, "much:1", ["python", "serve.py"], f'[environment]\nMUCH = "{"x" * 200_000}"\n')
    images = {"wrong-architecture": "wrong:1", "entry-point-missing": "none:1", "cannot-start": "much:1"}
    server.start()
    for name, (program, _) in ILL.items():
        container = {"Image": images.get(name, "ill:1"), "Environment": {"DO": program}}
        create_endpoint(server, name, container, mode="Single", isolated=name in ISOLATED)
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


def tell(server: Server, name: str) -> dict[str, Any]:
    """The only thing that the doctor finds wrong with an endpoint."""
    done = ask(server, name, "--json")
    assert done.returncode == 1, done.stdout
    [wrong] = json.loads(done.stdout)["wrong"]
    found: dict[str, Any] = wrong
    return found


def test_an_image_that_is_gone_is_told(clinic: Server) -> None:
    """It was there when the model was created. What is wrong says what to do by itself: it is not told twice."""
    build(clinic, "gone:1", ["python", "serve.py"])
    create_config(clinic, "image-not-found", {"Image": "gone:1"}, mode="Single")
    clinic.command("image", "rm", "gone:1")
    sagemaker = clinic.client("sagemaker")
    sagemaker.create_endpoint(EndpointName="image-not-found", EndpointConfigName="image-not-found")
    reason = wait_for_status(sagemaker, "image-not-found", "Failed", deadline=60.0)["FailureReason"]
    wrong = tell(clinic, "image-not-found")
    assert wrong["name"] == "image-not-found"
    assert reason == wrong["cause"]
    assert "There is no image 'gone:1'." in reason
    assert reason.count("polyport image build") == 1


def test_model_data_that_cannot_be_unpacked_is_told(clinic: Server) -> None:
    """With what to do behind it."""
    path = clinic.home / "buckets" / "models" / "broken.tar.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    # Of one that is cut off, CreateModel cannot see it: it looks at the beginning alone.
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        info = tarfile.TarInfo("weights")
        info.size = 5000
        archive.addfile(info, io.BytesIO(os.urandom(5000)))
    path.write_bytes(packed.getvalue()[:2000])
    container = {"Image": "ill:1", "ModelDataUrl": "s3://models/broken.tar.gz"}
    create_endpoint(clinic, "model-data-not-fetched", container, mode="Single")
    described = wait_for_status(clinic.client("sagemaker"), "model-data-not-fetched", "Failed", deadline=60.0)
    wrong = tell(clinic, "model-data-not-fetched")
    assert wrong["name"] == "model-data-not-fetched"
    assert "s3://models/broken.tar.gz" in wrong["cause"]
    assert described["FailureReason"] == f"{wrong['cause'].rstrip('.')}. {wrong['fix']}"


def test_what_the_engine_refuses_is_told(make_server: Callable[..., Server]) -> None:
    """Here, that all ports for containers are taken: by this test."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        first = taken.getsockname()[1] // 20 * 20
        server = make_server(port_range=f"{first}-{first + 19}", startup_timeout=1).start()
        create_endpoint(server, "engine-refused", {"Image": "first:1"}, mode="Single")
        described = wait_for_status(server.client("sagemaker"), "engine-refused", "Failed", deadline=60.0)
        wrong = tell(server, "engine-refused")
    assert wrong["name"] == "engine-refused"
    assert described["FailureReason"] == wrong["cause"]
    assert wrong["cause"].startswith("All 1 blocks of 20 ports are in use")


UNSTEADY = listen("self.send_response(503 if 11 < time.time() - begun < 13 else 200); self.end_headers()")


def test_one_that_answers_again_and_is_not_trusted_yet_is_told(clinic: Server) -> None:
    """It was healthy, fell ill, and has to be well for a while before it gets calls: longer than a start may take. Then
    another takes its place, and nothing is wrong any more; the time line still has it."""
    container = {"Image": "ill:1", "Environment": {"DO": f"import time\nbegun = time.time()\n{UNSTEADY}"}}
    create_endpoint(clinic, "unhealthy", container, mode="Single")
    sagemaker = clinic.client("sagemaker")
    wait_for_status(sagemaker, "unhealthy", "InService")

    cause = "GET /ping answered 200, but not yet often enough in a row after it had fallen ill."

    def findings() -> list[str]:
        report = json.loads(ask(clinic, "unhealthy", "--json").stdout)
        return [event["text"] for each in report["instances"] for event in each["events"] if event["kind"] == "finding"]

    wait_for(lambda: cause in findings(), "the cause", deadline=60.0)


#: The tests of causes that are not `ILL`, on real processes or real containers.
APART: dict[str, Callable[..., None]] = {
    "image-not-found": test_an_image_that_is_gone_is_told,
    "model-data-not-fetched": test_model_data_that_cannot_be_unpacked_is_told,
    "engine-refused": test_what_the_engine_refuses_is_told,
    "unhealthy": test_one_that_answers_again_and_is_not_trusted_yet_is_told,
}


def test_every_cause_is_shown_on_real_processes() -> None:
    """A cause that is added needs a test here. What listens where only it is reached needs IPv6, or a container:
    test_doctor_containers.py."""
    assert set(ILL) | set(APART) | {"unreachable"} == {cause.name for cause in diagnosis.CAUSES}


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
