"""The native client and the model container, against each other and against servers that misbehave."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from bench.cases import CASES, MODELS, SMALL, Case
from bench.client import Client, Target, WrongAnswer
from bench.ground import Unavailable
from botocore.eventstream import EventStreamBuffer

from bench import client, ground, tools

ECHO = next(case for case in CASES if case.name == "direct")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Both, compiled."""
    folder = tmp_path_factory.mktemp("native")
    try:
        return {name: tools.compile_native(folder, name) for name in ("client", "model")}
    except Unavailable as error:
        pytest.skip(str(error))


@pytest.fixture
def models(programs: dict[str, Path], tmp_path: Path) -> Iterator[dict[str, tuple[int, ...]]]:
    """All model containers."""
    with ground.models(programs["model"], tmp_path, frozenset()) as ports:
        yield ports


@pytest.fixture
def caller(programs: dict[str, Path], tmp_path: Path) -> Client:
    """The client."""
    return Client(programs["client"], tmp_path, frozenset())


def run(caller: Client, case: Case, target: Target, max_calls: int = 200) -> client.Run:
    """Few calls, no warm-up."""
    return caller.run(case, target, seconds=20, warm_up=0, max_calls=max_calls, on_start=lambda: None)


@pytest.mark.parametrize("name", ["direct", "64KB", "6MB", "stream"])
def test_every_kind_of_work_is_answered_rightly(name: str, models: dict[str, tuple[int, ...]], caller: Client) -> None:
    """The model echoes, counts and streams, and the client, which checks every answer, is content."""
    case = next(case for case in CASES if case.name == name)
    target = Target(models[case.endpoint][0], "/invocations")
    client.check(case, target)
    found = run(caller, case, target, max_calls=20)
    assert 20 <= len(found.latencies) < 20 + case.connections
    assert 0 < found.latencies.percentile(0.5) < 20e9


def test_the_stages_of_a_chain_leave_their_marks(models: dict[str, tuple[int, ...]]) -> None:
    """What one stage answers is the next one's body; the marks show that each had its turn."""
    body = SMALL
    for port in models["chain"]:
        case = Case("", "", "chain", body, body, ())
        with pytest.raises(WrongAnswer, match="is not the expected"):
            client.check(case, Target(port, "/invocations"))
        mark = MODELS["chain"][models["chain"].index(port)]["MARK"].encode()
        body += mark
    assert body == next(case for case in CASES if case.name == "chain").expected


def test_a_run_is_bounded_by_time(models: dict[str, tuple[int, ...]], caller: Client) -> None:
    """Without a bound on calls the seconds end it."""
    started = []
    target = Target(models["echo"][0], "/invocations")
    found = caller.run(ECHO, target, seconds=0.3, warm_up=0.1, on_start=lambda: started.append(True))
    assert started == [True]
    assert 0.3 <= found.seconds < 10


@contextmanager
def server(status: int, body: bytes, **headers: str) -> Iterator[int]:
    """Answers every POST alike; gives its port."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            for name, value in {"Content_Length": str(len(body)), **headers}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: Any) -> None:
            """The client leaves in the middle of its last calls."""

    with Server(("127.0.0.1", 0), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield listening.server_address[1]
        listening.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "body"), [(500, SMALL), (200, SMALL[:-1]), (200, SMALL + b" "), (200, SMALL[:-1] + b"]")]
)
def test_a_wrong_answer_is_never_timed(status: int, body: bytes, caller: Client) -> None:
    """A status that is not 200 and a body that is short, long or altered are refused, by the check and in the run."""
    with server(status, body) as port:
        with pytest.raises(WrongAnswer):
            client.check(ECHO, Target(port, "/"))
        with pytest.raises(WrongAnswer, match=r"answers were wrong, the first: (status|not the expected)"):
            run(caller, ECHO, Target(port, "/"))


def test_an_answer_that_breaks_off_is_wrong(caller: Client) -> None:
    """A connection that is closed in the middle of an answer counts as a wrong answer, not as a retry."""
    with server(200, SMALL[:5], Content_Length="34", Connection="close") as port, pytest.raises(WrongAnswer):
        run(caller, ECHO, Target(port, "/"))


def test_a_connection_closed_between_calls_is_opened_again(caller: Client) -> None:
    """`Connection: close` after a whole answer is the server's right."""
    with server(200, SMALL, Connection="close") as port:
        assert len(run(caller, ECHO, Target(port, "/"), max_calls=50).latencies) >= 50


def test_a_server_that_is_not_there_is_an_error_with_a_reason(caller: Client) -> None:
    """The client says what went wrong instead of hanging."""
    with pytest.raises(WrongAnswer, match="connect"):
        run(caller, ECHO, Target(ground.free_port(), "/"))
    with pytest.raises(WrongAnswer, match="no answer"):
        client.check(ECHO, Target(ground.free_port(), "/"))


def frame(payload: bytes, kind: str = "event") -> bytes:
    """An event-stream message, put together by hand so that botocore can be asked whether it is one."""
    import binascii
    import struct

    headers = b"".join(
        struct.pack("!B", len(name)) + name + b"\x07" + struct.pack("!H", len(value)) + value
        for name, value in ((b":message-type", kind.encode()), (b":event-type", b"PayloadPart"))
    )
    prelude = struct.pack("!II", len(headers) + len(payload) + 16, len(headers))
    message = prelude + struct.pack("!I", binascii.crc32(prelude)) + headers + payload
    return message + struct.pack("!I", binascii.crc32(message))


def test_event_stream_messages_are_unwrapped(caller: Client) -> None:
    """However the payload is cut into messages, the client sees the whole; an exception in band is no answer."""
    for cut in (1, 7, 34):
        body = b"".join(frame(SMALL[at : at + cut]) for at in range(0, len(SMALL), cut))
        buffer = EventStreamBuffer()
        buffer.add_data(body)
        assert b"".join(message.payload for message in buffer) == SMALL
        with server(200, body) as port:
            target = Target(port, "/", framed=True)
            client.check(ECHO, target)
            assert len(run(caller, ECHO, target).latencies) >= 200
    with server(200, frame(SMALL) + frame(b"{}", "exception")) as port:
        target = Target(port, "/", framed=True)
        with pytest.raises(WrongAnswer, match="the stream broke"):
            client.check(ECHO, target)
        with pytest.raises(WrongAnswer, match="not the expected"):
            run(caller, ECHO, target)


def test_a_signature_that_nobody_checks_is_not_timed() -> None:
    """A server that accepts a wrong signature verifies none: the signed case says `not yet`."""
    case = next(case for case in CASES if case.name == "signed")
    with server(200, SMALL) as port, pytest.raises(WrongAnswer, match="not yet"):
        client.check(case, Target(port, case.path))


def test_the_signed_request_is_signed_over_its_body() -> None:
    """Another body has another signature, and a spoilt one differs in its last character alone."""
    case = next(case for case in CASES if case.name == "signed")
    target = Target(1, case.path)
    good, bad = (client.headers(case, target, tampered=spoilt)["Authorization"] for spoilt in (False, True))
    assert "Credential=polyport/" in good
    assert good[:-1] == bad[:-1]
    assert good != bad


def test_a_program_that_ends_early_says_why(tmp_path: Path) -> None:
    """The report repeats the program's last words."""
    started = ground.Program("broken", ["sh", "-c", "echo out of order; exit 3"], tmp_path)
    try:
        with pytest.raises(Unavailable, match="ended with status 3: out of order"):
            started.wait_for_port(ground.free_port())
    finally:
        started.stop()


def test_the_model_tells_http_that_is_no_call(models: dict[str, tuple[int, ...]]) -> None:
    """`/ping` is 200 for health checks, an unknown path 404, and HTTP/1.0 closes the connection."""
    for path, status in ((b"/ping", b"200 OK"), (b"/other", b"404 Not Found")):
        with socket.create_connection(("127.0.0.1", models["echo"][0]), timeout=10) as connection:
            connection.sendall(b"GET " + path + b" HTTP/1.0\r\nHost: x\r\n\r\n")
            with connection.makefile("rb") as file:
                assert file.read().startswith(b"HTTP/1.1 " + status)
