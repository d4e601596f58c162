"""Calls: one by one to see that the answer is right, and many, by the native client, to time them."""

import http.client
import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from botocore.eventstream import EventStreamBuffer

from bench import signing
from bench.cases import Case
from bench.histogram import Histogram

#: Seconds that a single call may take.
PATIENCE = 20.0


class WrongAnswer(Exception):
    """The system does not do this work, or not right; the text says how."""


@dataclass(frozen=True)
class Target:
    """Where a system takes the calls of a case. ``framed``: it answers with event-stream messages; ``expected``: it
    answers in its own words, not in those of the case; ``key``: what signed cases are signed with."""

    port: int
    path: str
    framed: bool = False
    expected: bytes | None = None
    key: signing.Key = signing.ANY_KEY

    def answer(self, case: Case) -> bytes:
        """The body that must come back."""
        return case.expected if self.expected is None else self.expected


@dataclass(frozen=True)
class Run:
    """What the native client counted."""

    latencies: Histogram
    seconds: float


def headers(case: Case, target: Target, *, tampered: bool = False) -> dict[str, str]:
    """The request's headers in order; ``tampered`` spoils the signature."""
    plain = {
        "Host": f"127.0.0.1:{target.port}",
        "Content-Type": "application/json",
        "Content-Length": str(len(case.body)),
    }
    return plain if not case.signed else signing.sign(plain, target.path, case.body, target.key, tampered=tampered)


def request(case: Case, target: Target) -> bytes:
    """The whole request as it goes over the wire."""
    lines = [f"POST {target.path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers(case, target).items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + case.body


def check(case: Case, target: Target) -> None:
    """Call once. Raises `WrongAnswer` unless status and body are as expected, and a bad signature is refused."""
    status, body = _call(case, target, headers(case, target))
    if status != 200:
        raise WrongAnswer(f"status {status}: {body[:200].decode(errors='replace')}")
    found = unframed(body) if target.framed else body
    wanted = target.answer(case)
    if found != wanted:
        raise WrongAnswer(
            f"{found[:60]!r} ({len(found)} bytes) is not the expected {wanted[:60]!r} ({len(wanted)} bytes)"
        )
    if case.signed and _call(case, target, headers(case, target, tampered=True))[0] != 403:
        raise WrongAnswer("not yet: a wrong signature is not refused, so nothing is verified that could be timed")


def unframed(body: bytes) -> bytes:
    """The payloads of event-stream messages, checksums verified. Raises `WrongAnswer` for an exception in band."""
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    payloads = []
    for message in buffer:
        if message.headers.get(":message-type") != "event":
            raise WrongAnswer(f"the stream broke: {message.headers} {message.payload[:200]!r}")
        payloads.append(message.payload)
    return b"".join(payloads)


def _call(case: Case, target: Target, sent: dict[str, str]) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", target.port, timeout=PATIENCE)
    try:
        connection.request("POST", target.path, case.body, sent)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise WrongAnswer(f"no answer: {error!r}") from error
    finally:
        connection.close()


class Client:
    """The native client; ``folder`` gets the files it reads, ``cpus`` (none: any) are those it may use."""

    def __init__(self, program: Path, folder: Path, cpus: frozenset[int]) -> None:
        self._program = program
        self._folder = folder
        self._cpus = cpus

    def run(
        self,
        case: Case,
        target: Target,
        *,
        seconds: float,
        warm_up: float,
        max_calls: int = 0,
        on_start: Callable[[], None],
        pinned: bool = True,
    ) -> Run:
        """Call for so many seconds, or until ``max_calls`` (0: no bound). ``on_start`` is called when the warm-up is
        over. Raises `WrongAnswer` when any answer was wrong."""
        sent, expected = self._folder / "request", self._folder / "expected"
        sent.write_bytes(request(case, target))
        expected.write_bytes(target.answer(case))
        numbers = map(str, (target.port, case.connections, warm_up, seconds, max_calls))
        command = [str(self._program), *numbers, str(sent), str(expected), "framed" if target.framed else "plain"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stdout
            assert process.stderr
            if pinned and self._cpus:
                os.sched_setaffinity(process.pid, self._cpus)
            return _read(process.stdout, process.stderr, on_start)


def _read(output: IO[str], trouble: IO[str], on_start: Callable[[], None]) -> Run:
    if output.readline() != "start\n":
        raise WrongAnswer(trouble.read().strip() or "the client ended early")
    on_start()
    line = output.readline()
    if not line:
        raise WrongAnswer(trouble.read().strip() or "the client ended early")
    found = json.loads(line)
    if found["errors"]:
        counts = f"{found['errors']} of {found['calls']}"
        raise WrongAnswer(f"{counts} answers were wrong, the first: {found['first_error']}")
    if not found["calls"]:
        raise WrongAnswer("no call was answered in time")
    return Run(Histogram(map(tuple, found["histogram"])), found["seconds"])
