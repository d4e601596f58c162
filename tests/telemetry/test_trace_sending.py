"""Spans on their way to a collector that does what a test wants."""

import logging
import threading
import time

import pytest

from polyport.telemetry.traces import sending
from polyport.telemetry.traces.context import Context
from polyport.telemetry.traces.sending import MAX_SPANS, PIECE, REPORT_INTERVAL, Sender
from polyport.telemetry.traces.spans import Kind, Span

SPAN = Span("s", Kind.CLIENT, Context(1, 2, 1), None, is_remote=False, began=1, ended=2, attributes={})


class Slow:
    """Takes what it is sent when it is let; says ``reason`` of it."""

    def __init__(self, reason: str = "") -> None:
        self.reason = reason
        self.taken: list[int] = []
        self.asked = threading.Event()
        self.go = threading.Event()
        self.closed = False

    def send(self, spans: list[Span]) -> str:
        self.asked.set()
        assert self.go.wait(20)
        self.taken.append(len(spans))
        if self.reason == "raise":
            raise RuntimeError("what nobody thought of")
        return self.reason

    def close(self) -> None:
        self.closed = True
        self.go.set()


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def quick(reason: str = "") -> Slow:
    made = Slow(reason)
    made.go.set()
    return made


def settle(sender: Sender) -> None:
    deadline = time.monotonic() + 20
    while sender._is_sending():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_spans_go_in_pieces_once_a_second() -> None:
    """Whoever adds them waits for nothing."""
    exporter = quick()
    sender = Sender(exporter)
    sender.add([SPAN] * (PIECE + 1))
    assert exporter.taken == []
    sender.flush()
    settle(sender)
    assert exporter.taken == [PIECE, 1]
    assert sender.lost == 0


def test_so_many_spans_wait_and_no_more() -> None:
    """The spans of a call go together or not at all; what does not fit is counted."""
    exporter = Slow()
    sender = Sender(exporter)
    sender.add([SPAN])
    sender.flush()
    assert exporter.asked.wait(20)
    for _ in range(MAX_SPANS // 4):
        sender.add([SPAN] * 4)
    sender.add([SPAN] * 3)
    # One thread at a time.
    sender.flush()
    assert sender.lost == 3
    exporter.go.set()
    settle(sender)
    sender.flush()
    settle(sender)
    assert sum(exporter.taken) == MAX_SPANS + 1
    assert sender.lost == 3


@pytest.mark.parametrize(("reason", "said"), [("it is full", "it is full"), ("raise", "RuntimeError: what nobody")])
def test_what_the_collector_does_not_take_is_logged_once_in_a_while(
    reason: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """With the number of spans since the last line, and the reason."""
    watch = Watch()
    sender = Sender(quick(reason), watch)
    with caplog.at_level(logging.WARNING):
        for _ in range(5):
            sender.add([SPAN] * 2)
            sender.flush()
            settle(sender)
        assert len(caplog.messages) == 1
        assert said in caplog.text
        watch.now += REPORT_INTERVAL
        sender.flush()
    told = [int(message.split()[0]) for message in caplog.messages]
    assert len(told) == 2
    assert sum(told) == sender.lost == 10


def test_the_last_spans_are_sent_at_the_end() -> None:
    """Those that are being sent, and those that wait."""
    exporter = Slow()
    sender = Sender(exporter)
    sender.add([SPAN] * 2)
    sender.flush()
    sender.add([SPAN] * 3)
    threading.Timer(0.05, exporter.go.set).start()
    sender.close()
    assert exporter.taken == [2, 3]
    assert exporter.closed
    assert sender.lost == 0


def test_a_collector_that_hangs_does_not_hold_up_the_end(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is waited for so long, then broken off, and what was not sent is told."""
    monkeypatch.setattr(sending, "PATIENCE", 0.1)
    exporter = Slow("broken off")
    sender = Sender(exporter)
    sender.add([SPAN])
    sender.flush()
    sender.add([SPAN] * 3)
    with caplog.at_level(logging.WARNING):
        sender.close()
    assert exporter.closed
    assert sender.lost >= 3
    assert "spans were lost" in caplog.text
    settle(sender)
