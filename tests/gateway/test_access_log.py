"""The access log: what a line says, and that writing it can hurt nobody."""

import gc
import json
import logging
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from gateway.fakes import OK, World, answer, direct, invoke, serial, single
from gateway.sites import Site
from gateway.workers import Lab, wait_for
from polyport.gateway import access_log
from polyport.gateway.calls.invocation import Invocation
from polyport.gateway.options import from_settings
from polyport.settings import Settings


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


@pytest.fixture
def world(path: Path) -> World:
    return World(single(), direct(), serial(), access_log=str(path))


def lines(world: World, path: Path) -> list[dict[str, Any]]:
    """All lines there are once all are written."""
    assert world.gateway.access_log is not None
    world.gateway.access_log.close()
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def test_a_line_tells_what_was_asked_of_whom_and_what_came_of_it(world: World, path: Path) -> None:
    """Everything but what the client or the model said."""
    client = world.connect()
    client.extra["peername"] = ("192.0.2.1", 4711)
    client.receive(
        invoke(
            "direct",
            b"secret",
            X_Amzn_SageMaker_Target_Container_Hostname="second",
            X_Amzn_SageMaker_Custom_Attributes="secret",
            Authorization="secret",
        )
    )
    world.pool(12).accept().receive(answer(b"secret"))
    raw = client.take()
    (line,) = lines(world, path)
    assert raw.split(b"\r\n")[1] == b"x-amzn-RequestId: " + line["request_id"].encode()
    assert line["time"].endswith("Z")
    assert line["stages"]["second"] >= 0
    assert line["total"] >= line["stages"]["second"]
    told = {
        "client": "192.0.2.1:4711",
        "endpoint": "direct",
        "variant": "AllTraffic",
        "instance": "i2",
        "containers": ["second"],
        "status": 200,
        "error": "",
        "request_bytes": 6,
        "response_bytes": len(raw),
    }
    assert {name: line[name] for name in told} == told
    assert "secret" not in path.read_text()


def test_a_pipeline_s_line_tells_the_time_of_each_stage(world: World, path: Path) -> None:
    """As far as the call came."""
    world.call(invoke("serial"), (21, answer()), (22, answer(status="500 No")))
    (line,) = lines(world, path)
    assert line["containers"] == ["one", "two", "three"]
    assert list(line["stages"]) == ["one", "two"]
    assert (line["status"], line["error"]) == (424, "ModelError")


def test_refusals_are_lines_too(world: World, path: Path) -> None:
    """With the endpoint's name as the client wrote it; what a client writes cannot break a line."""
    raw = world.call(invoke("nowhere"))
    world.call(invoke("", path="/endpoints/a%0Ab%22/invocations"))
    world.call(invoke("", path="/endpoints/"))
    first, second, third = lines(world, path)
    assert (first["endpoint"], first["status"], first["error"]) == ("nowhere", 400, "ValidationError")
    assert first["response_bytes"] == len(raw)
    assert second["endpoint"] == 'a\nb"'
    assert third["endpoint"] == ""


def test_every_request_of_a_connection_has_its_line(world: World, path: Path) -> None:
    """In order, also when they came together."""
    client = world.connect()
    client.receive(invoke("single", b"a") + invoke("nowhere", b"bb") + invoke("single", b"ccc"))
    world.pool(1).accept().receive(OK)
    world.busy(1).receive(OK)
    assert [(line["request_bytes"], line["status"]) for line in lines(world, path)] == [(1, 200), (2, 400), (3, 200)]


@pytest.mark.parametrize("begun", [False, True])
def test_a_client_that_left_is_told_apart(world: World, path: Path, begun: bool) -> None:
    """By the error; the status is the one it was told, or 499."""
    client = world.connect()
    client.receive(invoke("single"))
    if begun:
        world.pool(1).accept().receive(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    client.hang_up()
    (line,) = lines(world, path)
    assert (line["status"], line["error"]) == (200 if begun else 499, "ClientGone")


@pytest.mark.parametrize("operation", ["invocations", "invocations-response-stream"])
def test_an_answer_that_broke_off_tells_why(world: World, path: Path, operation: str) -> None:
    """Though its status says otherwise."""
    client = world.connect()
    client.receive(invoke("single", operation=operation))
    container = world.pool(1).accept()
    container.receive(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
    container.hang_up()
    (line,) = lines(world, path)
    assert (line["status"], line["error"]) == (200, "ModelError")
    assert line["response_bytes"] == len(client.take())


def test_a_logged_call_leaves_no_cycle_behind(world: World) -> None:
    """The collector would have to stop the worker for it."""
    client = world.connect()
    world.call(invoke("single"), (1, OK))
    gc.collect()
    gc.disable()
    try:
        for _ in range(10):
            client.receive(invoke("single") + invoke("nowhere"))
            world.busy(1).receive(OK)
            client.take()
        gone = world.connect()
        gone.receive(invoke("single"))
        gone.hang_up()
        del gone
        left = [type(one) for one in gc.get_objects() if isinstance(one, access_log.Entry | Invocation)]
        assert not left
    finally:
        gc.enable()


def test_only_invocations_are_logged(world: World, path: Path) -> None:
    """Control logs its own."""
    client = world.connect()
    client.receive(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    world.control.accept().receive(OK)
    assert lines(world, path) == []


def test_the_sweep_writes_what_there_is(world: World, path: Path) -> None:
    """Once a second."""
    world.call(invoke("nowhere"))
    assert not path.exists()
    world.gateway.sweep()
    wait_for(lambda: path.exists() and path.read_bytes().endswith(b"\n"), "the line")


def test_a_file_that_was_moved_away_is_made_anew(world: World, path: Path) -> None:
    """As tools do that rotate logs."""
    world.call(invoke("nowhere"))
    assert len(lines(world, path)) == 1
    path.rename(path.with_suffix(".1"))
    world.call(invoke("nowhere"))
    assert len(lines(world, path)) == 1


def test_a_full_disk_costs_lines_and_nothing_else(
    world: World, path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once; when there is room again, a line that was cut off does not spoil the next."""
    real = os.write
    room = [10]

    def write(file: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        taken = min(room[0], len(data))
        room[0] -= taken
        return real(file, bytes(data[:taken]))

    monkeypatch.setattr(access_log.os, "write", write)
    log = world.gateway.access_log
    assert log is not None
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            world.call(invoke("nowhere"))
            log.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the access log cannot be written (No space left on device); lines are lost"
    ]
    assert log.lost == 3
    room[0] = 10_000
    world.call(invoke("nowhere"))
    log.close()
    torn, whole = path.read_text().splitlines()
    assert len(torn) == 10
    assert json.loads(whole)["endpoint"] == "nowhere"


def test_a_pipe_that_nobody_reads_delays_no_call_and_takes_no_memory_without_end(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Lines beyond a bound are lost, counted and told of."""
    reader, writer = os.pipe()
    monkeypatch.setattr(access_log, "STREAMS", {"stdout": writer})
    monkeypatch.setattr(access_log, "MAX_LINES", 1000)
    world = World(single(), access_log="stdout")
    for _ in range(1000):
        world.call(invoke("nowhere"))
    world.gateway.sweep()
    for _ in range(1010):
        world.call(invoke("nowhere"))
    world.gateway.sweep()
    read = bytearray()
    with caplog.at_level(logging.WARNING):
        drain = threading.Thread(target=lambda: read.extend(b"".join(iter(lambda: os.read(reader, 9999), b""))))
        drain.start()
        assert world.gateway.access_log is not None
        world.gateway.access_log.close()
        os.close(writer)
        drain.join()
    os.close(reader)
    assert len([json.loads(line) for line in read.splitlines()]) == 2000
    assert caplog.messages == ["10 lines of the access log were lost: it is too slow"]
    assert world.gateway.access_log.lost == 10


def test_lines_are_written_whole_in_pieces_that_a_pipe_takes_at_once() -> None:
    """So the lines of several workers do not mix."""
    lines = [b"a" * 3000 + b"\n", b"b\n", b"c" * 2000 + b"\n", b"d" * 9000 + b"\n", b"e\n"]
    pieces = list(access_log._pieces(lines, 4096))
    assert b"".join(pieces) == b"".join(lines)
    assert [len(piece) for piece in pieces] == [3003, 2001, 9001, 2]


def test_a_relative_path_is_taken_from_the_home() -> None:
    """Workers may run anywhere."""

    def where(access_log: str) -> str:
        made = from_settings(Settings(home=Path("/h"), access_log=access_log), name="w", channel="c", control="h")
        return made.access_log

    assert [where(text) for text in ("", "stderr", "a/b.log", "/x.log")] == ["", "stderr", "/h/a/b.log", "/x.log"]


def test_a_real_worker_s_last_lines_are_written_when_it_ends(lab: Lab, port: int, path: Path) -> None:
    """Nothing that was answered before SIGTERM is missing."""
    site = Site(lab, port, access_log=str(path))
    for name in ("single", "nowhere", "serial"):
        site.raw(invoke(name))
    site.process.terminate()
    assert site.process.wait(20) == 0
    told = [json.loads(line) for line in path.read_text().splitlines()]
    assert [(line["endpoint"], line["status"]) for line in told] == [("single", 200), ("nowhere", 400), ("serial", 200)]
    assert all(line["client"].startswith("127.0.0.1:") for line in told)
