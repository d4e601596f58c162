"""Captured calls on their way from the spool to their store: sent once, in order, and waited for while it is dead."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from polyport.artifacts.outgoing import Outgoing
from polyport.domain.captures import Capture, Captured, Captures
from polyport.server import capturing
from polyport.server.capturing import Sender
from polyport.settings import Settings
from polyport.telemetry.capture import spool
from polyport.telemetry.capture.records import Call, Entry, Target
from polyport.telemetry.capture.writing import Writer

NOW = 1_700_000_000.0


class Store:
    """What a store got: (path, headers, body). ``status`` is what it answers."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, str], bytes]] = []
        self.status = 200
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                store.got.append((self.path, dict(self.headers), body))
                self.send_response(store.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self._thread = threading.Thread(target=self.server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self._thread.join()


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    made = Store()
    yield made
    made.close()


class Clock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def sender(home: Path, clock: Clock, url: str = "") -> Sender:
    settings = Settings(home=home, s3_endpoint_url=url)
    return Sender(home, Outgoing(settings), clock)


def put(home: Path, *bodies: bytes, destination: str = "s3://bucket/captured", at: float = NOW, **more: Any) -> None:
    """One file that is ready."""
    capture = Capture(destination, 100, True, False, ("text/csv",), **more)
    target = Target("123456789012", "us-east-1", "e", "v", capture, int(at // 3600))
    calls = [Call(Entry("id", at, "", "text/csv", len(body)), [body]) for body in bodies]
    writer = Writer(home / spool.FOLDER, 30.0, 10**9)
    writer.write({target: calls}, at)
    writer.close(at)


def found(home: Path) -> list[tuple[str, list[str]]]:
    """The objects in bucket folders, by key, with the bodies in their lines."""
    root = home / "buckets"
    return [
        (str(file.relative_to(root)), _bodies(file.read_bytes())) for file in sorted(root.rglob("*")) if file.is_file()
    ]


def _bodies(data: bytes) -> list[str]:
    return [json.loads(line)["captureData"]["endpointInput"]["data"] for line in data.splitlines()]


def test_a_file_becomes_an_object_in_the_bucket_folder(tmp_path: Path, clock: Clock) -> None:
    """The folder of the bucket is made if there is none; the spool is empty afterwards."""
    put(tmp_path, b"one", b"two")
    sender(tmp_path, clock).send()
    [(key, bodies)] = found(tmp_path)
    assert key.startswith("bucket/captured/e/v/2023/11/14/22/13-20-000-")
    assert bodies == ["one", "two"]
    assert spool.measure(tmp_path / spool.FOLDER).total == 0


def test_a_file_becomes_an_object_in_the_store(tmp_path: Path, clock: Clock, store: Store) -> None:
    """Signed with the server's own credentials, as it reads model data; with the key of `KmsKeyId`."""
    put(tmp_path, b"one", kms_key="a-key")
    sending = sender(tmp_path, clock, store.url)
    sending.send()
    [(path, headers, body)] = store.got
    assert path.startswith("/bucket/captured/e/v/2023/11/14/22/13-20-000-")
    assert "Credential=key/" in headers["Authorization"]
    assert headers["x-amz-server-side-encryption-aws-kms-key-id"] == "a-key"
    assert _bodies(body) == ["one"]
    assert spool.ready(tmp_path / spool.FOLDER) == []
    sending.close()


def test_a_key_has_no_effect_in_folders_and_that_is_said(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once."""
    caplog.set_level(logging.INFO, "polyport")
    put(tmp_path, b"one", kms_key="a-key")
    put(tmp_path, b"two", kms_key="a-key")
    sender(tmp_path, clock).send()
    assert caplog.text.count("KmsKeyId has no effect") == 1
    assert len(found(tmp_path)) == 2


def test_a_store_that_takes_nothing_is_left_alone_for_longer_and_longer(
    tmp_path: Path, clock: Clock, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """The file waits; other destinations are served; the log says it once. Then all is sent, the oldest first, under
    the names that it would have had."""
    caplog.set_level(logging.INFO, "polyport")
    store.status = 403
    put(tmp_path, b"one")
    put(tmp_path, b"two", at=NOW + 1)
    sending = sender(tmp_path, clock, store.url)
    tries = []
    for second in range(60):
        before = len(store.got)
        clock.now = NOW + 10 + second
        sending.send()
        if len(store.got) > before:
            tries.append(second)
            assert len(store.got) == before + 1, "one failure is enough"
    assert tries == [0, 1, 3, 8, 23, 53]
    assert caplog.text.count("captured calls wait for s3://bucket/captured") == 1
    first = store.got[0][0]
    store.status = 200
    store.got.clear()
    clock.now += 1000
    sending.send()
    assert [_bodies(body) for _, _, body in store.got] == [["one"], ["two"]]
    assert store.got[0][0] == first
    assert "captured calls go to s3://bucket/captured again" in caplog.text
    sending.close()


def test_one_destination_in_trouble_does_not_hold_up_others(tmp_path: Path, clock: Clock) -> None:
    """A bucket folder that is a link to somewhere else is not followed; the others are written."""
    (tmp_path / "buckets" / "bad").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "buckets" / "bad" / "e").symlink_to(tmp_path / "elsewhere")
    put(tmp_path, b"one", destination="s3://bad")
    put(tmp_path, b"two", destination="s3://good", at=NOW + 1)
    sender(tmp_path, clock).send()
    assert [bodies for _, bodies in found(tmp_path)] == [["two"]]
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert len(spool.ready(tmp_path / spool.FOLDER)) == 1


def test_what_no_store_took_for_a_day_is_dropped_and_counted(tmp_path: Path, clock: Clock, store: Store) -> None:
    """By the calls that were in it."""
    store.status = 404
    put(tmp_path, b"one", b"two")
    sending = sender(tmp_path, clock, store.url)
    sending.send()
    assert len(spool.ready(tmp_path / spool.FOLDER)) == 1
    clock.now += capturing.KEPT_FOR + 60
    sending.send()
    assert spool.ready(tmp_path / spool.FOLDER) == []
    drops = sending.samples()["polyport_capture_drops_total"]
    assert drops == {("123456789012", "us-east-1", "e", "v", "store"): 2}
    sending.close()


def test_a_file_that_holds_nothing_is_removed(tmp_path: Path, clock: Clock) -> None:
    """Its worker was killed before the first call was in it."""
    put(tmp_path, b"one")
    [file] = spool.ready(tmp_path / spool.FOLDER)
    file.write_bytes(file.read_bytes()[:10])
    sender(tmp_path, clock).send()
    assert spool.ready(tmp_path / spool.FOLDER) == []
    assert found(tmp_path) == []


def test_it_sends_by_itself_and_the_last_when_it_is_closed(tmp_path: Path) -> None:
    """In its own thread."""
    sending = Sender(tmp_path, Outgoing(Settings(home=tmp_path)))
    put(tmp_path, b"one")
    sending.start()
    end = time.monotonic() + 20
    while not found(tmp_path):
        assert time.monotonic() < end, "it is not sent"
        time.sleep(0.01)
    put(tmp_path, b"two", at=NOW + 1)
    sending.close()
    assert [bodies for _, bodies in found(tmp_path)] == [["one"], ["two"]]


def test_sums_of_all_workers_are_told_to_prometheus(tmp_path: Path, clock: Clock) -> None:
    """What a worker says takes the place of what it said before; a worker that is gone still counts. Before the first
    capture, nothing is said."""
    sending = sender(tmp_path, clock)
    assert sending.samples() == {}
    one = Captured("123456789012", "us-east-1", "e", "v", 3, {"disk": 1})
    sending.take(Captures("first", (one,)))
    sending.take(Captures("second", (replace(one, kept=10, dropped={}),)))
    sending.take(Captures("first", (replace(one, kept=5, dropped={"disk": 2, "no room": 7}),)))
    key = ("123456789012", "us-east-1", "e", "v")
    found = sending.samples()
    assert found["polyport_captured_calls_total"] == {key: 15}
    assert found["polyport_capture_drops_total"] == {(*key, "disk"): 2, (*key, "no room"): 7}
    for number in range(100):
        sending.take(Captures(f"later {number}", (replace(one, kept=1, dropped={}),)))
    assert sending.samples()["polyport_captured_calls_total"] == {key: 115}
