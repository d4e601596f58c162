"""Starting, stopping and killing the server: what comes back, what goes on, what is refused."""

import http.client
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from support.calls import SteadyCaller
from support.server import Server, call, create_endpoint, wait_for, wait_for_status


def children(pid: int) -> dict[int, str]:
    """Direct child processes and their command lines."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found[int(child)] = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    return found


def child(server: Server, name: str) -> int:
    """The process id of the one child of the launcher whose command names it."""
    assert server.process
    return next(pid for pid, line in children(server.process.pid).items() if name in line)


def workers(server: Server) -> set[int]:
    """The process ids of the gateway workers."""
    assert server.process
    return {pid for pid, line in children(server.process.pid).items() if "gateway.worker" in line}


def healthz(server: Server) -> int:
    address = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/healthz")
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def pid_of_container(server: Server, name: str) -> int:
    environment = call(server.client("sagemaker-runtime"), name, b"environment")
    port = int(re.search(rb'"SAGEMAKER_BIND_TO_PORT": "(\d+)"', environment)[1])  # type: ignore[index]
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return next(pid for pid in pids if listens(pid, port))


def listens(pid: int, port: int) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"SAGEMAKER_BIND_TO_PORT={port}".encode() in environment.split(b"\0")


@pytest.fixture
def serving(server: Server) -> Server:
    """A server with a pipeline endpoint in service."""
    create_endpoint(server, "live", {"Image": "first:1"}, {"Image": "second:1"})
    wait_for_status(server.client("sagemaker"), "live", "InService")
    return server


def test_it_says_where_it_listens_and_what_a_client_needs(server: Server) -> None:
    """The export lines can be pasted; /healthz answers 200 once everything is ready."""
    assert healthz(server) == 200
    text = wait_for(lambda: (text := server.output()) and "Ctrl-C" in text and text, "the whole text")
    assert f"Polyport listens on {server.url} " in text
    assert f"export AWS_ENDPOINT_URL={server.url}\n" in text


def test_a_clean_stop_stops_the_instances_and_a_start_brings_the_endpoint_back(serving: Server) -> None:
    """After SIGTERM nothing runs; after the next start: SystemUpdating, then InService, by itself."""
    container = pid_of_container(serving, "live")
    assert serving.stop() == 0
    assert not Path(f"/proc/{container}").exists()
    serving.start()
    sagemaker = serving.client("sagemaker")
    assert sagemaker.describe_endpoint(EndpointName="live")["EndpointStatus"] in {"SystemUpdating", "InService"}
    wait_for_status(sagemaker, "live", "InService")
    assert call(serving.client("sagemaker-runtime"), "live").startswith(b"x|first")
    assert "live is SystemUpdating" in serving.log()


def test_after_a_kill_the_next_start_adopts_the_instances(serving: Server) -> None:
    """SIGKILL of the server leaves the containers; the next one finds the very same processes."""
    container = pid_of_container(serving, "live")
    serving.kill()
    assert Path(f"/proc/{container}").exists()
    serving.start()
    described = serving.client("sagemaker").describe_endpoint(EndpointName="live")
    assert described["EndpointStatus"] == "InService"
    assert pid_of_container(serving, "live") == container


def test_calls_go_on_while_control_is_killed(serving: Server) -> None:
    """Gateways need no living control to serve; a new one takes over."""
    runtime = serving.client("sagemaker-runtime")
    with SteadyCaller(lambda: call(runtime, "live")) as caller:
        before = child(serving, "polyport.server.control")
        os.kill(before, signal.SIGKILL)
        wait_for(lambda: healthz(serving) != 200, "healthz to notice")
        wait_for(lambda: healthz(serving) == 200, "control to be back")
    assert caller.failures == []
    assert child(serving, "polyport.server.control") != before
    assert serving.client("sagemaker").describe_endpoint(EndpointName="live")["EndpointStatus"] == "InService"


def test_a_killed_gateway_worker_is_replaced(serving: Server) -> None:
    """Only its own calls are lost; its successor has the table before it accepts."""
    before = child(serving, "polyport.gateway.worker")
    os.kill(before, signal.SIGKILL)
    # A signal is on its way for a moment; until it has arrived, the dying worker still counts.
    wait_for(lambda: before not in workers(serving) and len(workers(serving)) == 2, "another in its place")
    wait_for(lambda: healthz(serving) == 200, "all workers to acknowledge")
    for _ in range(20):
        assert call(serving.client("sagemaker-runtime"), "live").startswith(b"x|first")


def test_a_killed_container_is_started_again(serving: Server) -> None:
    """A container that dies is restarted in place and takes calls again."""
    container = pid_of_container(serving, "live")
    os.kill(container, signal.SIGKILL)
    runtime = serving.client("sagemaker-runtime")

    def answers() -> bool:
        try:
            return call(runtime, "live").startswith(b"x|first")
        except runtime.exceptions.ClientError:
            return False

    wait_for(lambda: not Path(f"/proc/{container}").exists(), "the container to be gone")
    wait_for(answers, "the container to be back")


def test_a_killed_supervisor_comes_back_with_its_containers(serving: Server) -> None:
    """SIGKILL of an instance's supervisor ends its containers; both are started again without anybody asking."""
    container = pid_of_container(serving, "live")
    [instance] = (serving.home / "run" / "instances").iterdir()
    supervisor = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(instance).encode() in command_line(int(entry.name))
    )
    os.kill(supervisor, signal.SIGKILL)
    wait_for(lambda: not Path(f"/proc/{container}").exists(), "the containers to be gone")
    runtime = serving.client("sagemaker-runtime")

    def answers() -> bool:
        try:
            return call(runtime, "live").startswith(b"x|first")
        except runtime.exceptions.ClientError:
            return False

    wait_for(answers, "the instance to be back")
    wait_for_status(serving.client("sagemaker"), "live", "InService")


def command_line(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def run_serve(home: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "polyport", "serve", "--home", str(home), *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    return done.returncode, done.stderr


def test_a_port_that_is_taken_is_refused(tmp_path: Path) -> None:
    """Also when the other one would share it: SO_REUSEPORT must not join two servers."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        status, text = run_serve(tmp_path, "--port", str(other.getsockname()[1]))
    assert status == 2
    assert "Cannot listen on 127.0.0.1" in text
    assert "Traceback" not in text


def test_a_home_in_use_is_refused(server: Server) -> None:
    """Two servers never run on one home; the message names the one that does."""
    status, text = run_serve(server.home, "--port", "0")
    assert status == 2
    assert f"process id {server.process.pid}" in text
    assert urllib.request.urlopen(f"{server.url}/healthz").status == 200


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    """One line that says which folder and what to do."""
    (tmp_path / "file").write_text("in the way")
    status, text = run_serve(tmp_path / "file" / "home", "--port", "0")
    assert status == 2
    assert "cannot be written" in text or "cannot be read" in text
    assert "Traceback" not in text


def test_a_database_from_a_newer_version_is_refused(server: Server) -> None:
    """It is left as it is, and the message says so; nothing is started again and again."""
    server.stop()
    [database] = server.home.glob("polyport.db")
    with sqlite3.connect(database) as connection:
        [(revision,)] = connection.execute("SELECT version_num FROM alembic_version")
        connection.execute("UPDATE alembic_version SET version_num = 'from-the-future'")
    status, text = run_serve(server.home, "--port", "0")
    assert status == 2
    assert "newer" in text
    assert "Traceback" not in text
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
    connection.close()


def test_a_wrong_setting_is_refused_with_its_name(tmp_path: Path) -> None:
    """Where it was set, what it is, what is expected."""
    (tmp_path / "polyport.toml").write_text('port = "high"')
    status, text = run_serve(tmp_path)
    assert status == 2
    assert "polyport.toml" in text
    assert "port" in text
