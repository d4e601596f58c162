"""A worker that says what it holds: ``python watched.py OPTIONS``, options as the worker takes them. On SIGUSR1
it prints a line of JSON. Its collector is off, so that nothing hides what only a collector would free."""

import asyncio
import gc
import json
import signal
import socket
import sys
import time
from collections import Counter
from pathlib import Path

from polyport.gateway import worker
from polyport.gateway.calls import forward, invocation, streaming
from polyport.gateway.clients import connection, request
from polyport.gateway.containers import upstream
from polyport.gateway.options import Options

KINDS = (
    connection.Connection,
    forward.Forward,
    invocation.Invocation,
    streaming.StreamedInvocation,
    upstream.Upstream,
)
original = worker.serve


def report() -> None:
    """Objects as they are; and, when there are none, what a collection finds and how many seconds it takes."""
    counts = Counter(type(one).__name__ for one in gc.get_objects() if isinstance(one, KINDS))
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    started = time.perf_counter()
    state = {
        "objects": counts,
        "requests": sum(isinstance(one, request.Request) for one in gc.get_objects()),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": descriptors,
        "garbage": 0 if counts else gc.collect(),
        "pause": time.perf_counter() - started,
        "frozen": gc.get_freeze_count(),
    }
    print(json.dumps(state), flush=True)


async def serve(options: Options, listeners: tuple[socket.socket, ...]) -> None:
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, report)
    await original(options, listeners)


if __name__ == "__main__":
    worker.serve = serve
    gc.disable()
    sys.exit(worker.main(sys.argv[1:]))
