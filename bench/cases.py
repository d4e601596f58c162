"""The work that is measured. A case says what is sent, what must come back, and which systems take part."""

import json
import os
from dataclasses import dataclass, replace

#: 34 bytes, as a small tabular model gets it.
SMALL = b'{"instances":[[5.1,3.5,1.42,0.2]]}'

CHUNKS = 64
CHUNK_BYTES = 32

#: The containers behind every system, by the name of their endpoint: the environment of `native/model.c`.
MODELS: dict[str, tuple[dict[str, str], ...]] = {
    "echo": ({"ANSWER": "echo"},),
    "count": ({"ANSWER": "count"},),
    "stream": ({"ANSWER": "stream", "CHUNKS": str(CHUNKS), "CHUNK_BYTES": str(CHUNK_BYTES)},),
    "chain": tuple({"ANSWER": "echo", "MARK": mark} for mark in "abc"),
}

#: Polyport is run with 1 to so many workers: two at least, and more where CPUs are left beside client and models.
MOST_WORKERS = max(2, min(4, len(os.sched_getaffinity(0)) - 2))

PROXIES = ("nginx", "haproxy", "envoy")


@dataclass(frozen=True)
class Case:
    """One kind of work."""

    name: str
    title: str
    #: The endpoint, a key of `MODELS`.
    endpoint: str
    body: bytes
    expected: bytes
    systems: tuple[str, ...]
    connections: int = 16
    signed: bool = False
    streams: bool = False
    #: Needs so many CPUs for the system alone; it is run unpinned, for not every machine has them.
    workers: int = 1
    #: Nothing is pinned. With one call at a time most of what a pinned system adds is the waking of its idle CPU, which
    #: the container alone, on its client's CPU, is spared.
    free: bool = False

    @property
    def path(self) -> str:
        """The path at Polyport, and at the proxies, which map it to the container's ``/invocations``."""
        return f"/endpoints/{self.endpoint}/invocations" + ("-response-stream" if self.streams else "")

    def between(self, systems: tuple[str, ...]) -> "Case":
        """The same work for other systems."""
        return replace(self, systems=systems)


def pattern(size: int) -> bytes:
    """A body in which no byte is like its neighbours."""
    return (bytes(range(256)) * (size // 256 + 1))[:size]


def counted(body: bytes) -> bytes:
    """What a container that counts answers."""
    return json.dumps({"bytes": len(body), "sum": sum(body)}).encode()


def chunks() -> bytes:
    """What a container that streams answers, put together."""
    return b"".join((b"%d " % number + b"." * CHUNK_BYTES)[:CHUNK_BYTES] for number in range(CHUNKS))


def _echo(
    name: str, title: str, body: bytes, systems: tuple[str, ...], connections: int = 16, workers: int = 1
) -> Case:
    return Case(name, title, "echo", body, body, systems, connections=connections, workers=workers)


MIDDLE = pattern(64 * 1024)
LARGE = pattern(6 * 1000 * 1000)
ALL = ("polyport", *PROXIES)

CASES: tuple[Case, ...] = (
    _echo("direct", "direct call, 34-byte JSON, 16 connections", SMALL, (*ALL, "worker")),
    Case("signed", "direct call, SigV4 verified", "echo", SMALL, SMALL, ("polyport-keys",), signed=True),
    Case("chain", "serial chain of 3", "chain", SMALL, SMALL + b"abc", ("polyport",)),
    _echo("64KB", "64 KB there and back", MIDDLE, ALL),
    Case("6MB", "6 MB request body", "count", LARGE, counted(LARGE), ALL, connections=4),
    Case("6MB-signed", "6 MB request body, signed", "count", LARGE, counted(LARGE), ("polyport-keys",), 4, signed=True),
    Case("stream", f"response stream, {CHUNKS} chunks, one each ms", "stream", SMALL, chunks(), ALL, streams=True),
    _echo("1000-endpoints", "direct call, 1,000 endpoints loaded", SMALL, ("worker", "worker-1000")),
    replace(_echo("latency", "direct call, 1 connection", SMALL, ("container", *ALL), connections=1), free=True),
    _echo(
        "workers",
        "direct call, 64 connections, by workers",
        SMALL,
        ("polyport", *(f"polyport-{number}" for number in range(2, MOST_WORKERS + 1))),
        connections=64,
        workers=MOST_WORKERS,
    ),
)
