"""`polyport top` beside a real server, in a pipe and in a terminal."""

import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

import pytest

from support.server import Server, call, create_endpoint, wait_for, wait_for_status

IMAGE = "123456789012.dkr.ecr.us-east-1.amazonaws.com/anything:1"


@pytest.fixture
def served(make_server: Callable[..., Server]) -> Server:
    """A server with a pipeline that was called thirty times."""
    server = make_server(engine="fake").start()
    create_endpoint(server, "pair", *({"Image": IMAGE, "ContainerHostname": name} for name in ("first", "second")))
    wait_for_status(server.client("sagemaker"), "pair", "InService")
    runtime = server.client("sagemaker-runtime")
    for _ in range(30):
        call(runtime, "pair")
    return server


def test_a_script_finds_all_of_it_as_json(served: Server) -> None:
    """Calls by variant, latencies by stage, states of instances; within seconds of the calls."""

    def seen() -> dict[str, Any] | None:
        [endpoint] = json.loads(served.command("top", "pair", "--json"))["endpoints"]
        return endpoint if endpoint["variants"][0]["stages"][1]["load"]["latency"] else None

    endpoint = wait_for(seen, "the calls")
    assert endpoint["status"] == "InService"
    [variant] = endpoint["variants"]
    assert variant["load"]["calls"] > 0
    assert [stage["hostname"] for stage in variant["stages"]] == ["first", "second"]
    assert all(stage["load"]["latency"]["p99"] > 0 for stage in variant["stages"])
    [instance] = variant["instances"]
    assert (instance["part"], instance["state"]) == ("active", "healthy")


def test_in_a_pipe_it_looks_once(served: Server) -> None:
    """Whole lines of text without colours, and it ends by itself."""
    said = served.command("top")
    assert "\x1b" not in said
    assert f"at {served.url}" in said.splitlines()[0]
    assert any(line.startswith("pair ") and "InService" in line for line in said.splitlines())
    assert any(line.startswith("    second") and "1 of 1 healthy" in line for line in said.splitlines())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_in_a_terminal_it_goes_on_until_it_is_ended(served: Server, number: signal.Signals) -> None:
    """On a screen of its own, in as many lines as the terminal has, drawn again and again; whatever ends it, the
    terminal is left as it was, and the exit status is 0."""
    screen, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 100, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "polyport", "top", "--interval", "0.2"],
        env={name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES"}}
        | {"POLYPORT_HOME": str(served.home), "TERM": "xterm-256color"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
    )
    os.close(terminal)
    said = b""

    def read() -> bytes:
        nonlocal said
        try:
            said += os.read(screen, 65536)
        except OSError:  # nobody has the other side open any more
            assert process.wait(10) == 0
        return said

    until = time.monotonic() + 20
    while said.count(b"polyport top ") < 3:
        assert time.monotonic() < until, said
        read()
    process.send_signal(number)
    while process.poll() is None:
        assert time.monotonic() < until, said
        read()
    os.close(screen)
    assert process.wait(10) == 0, said
    assert said.startswith(b"\x1b[?1049h")
    assert said.count(b"\x1b[?1049h") == 1
    assert b"\x1b[?1049l" in said
    assert b"Traceback" not in said
    frame = said.split(b"\x1b[H")[2]
    assert frame.count(b"\n") <= 12


def test_a_server_that_ends_is_told_and_the_next_one_seen(served: Server) -> None:
    """Over a home whose server was stopped nothing is shown as if it were alive."""
    served.stop()
    done = subprocess.run(
        [sys.executable, "-m", "polyport", "top"],
        env=os.environ | {"POLYPORT_HOME": str(served.home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"polyport: No server runs on the home {served.home}")
    served.start()
    assert "pair" in served.command("top", "--once")
