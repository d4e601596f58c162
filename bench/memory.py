"""How much memory a system holds: at rest, with many idle connections, and while a large body passes through."""

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack

from bench import client, processes
from bench.cases import Case
from bench.client import Target, WrongAnswer
from bench.results import Results

IDLE_CONNECTIONS = 1000
#: As large as SageMaker allows, in bytes.
BODY = 25 * 1024 * 1024
#: Seconds in which memory must come to rest, and between two looks.
SETTLE, LOOK = 3.0, 0.1
MEGA = 1e6


def measure(serving: list[int], idle: int, small: tuple[Case, Target], large: tuple[Case, Target]) -> dict[str, float]:
    """Figures in MB by name. ``idle`` is the memory at rest in bytes, taken before any call; ``small`` and ``large``
    are cases with their targets, for the idle connections and the body. Raises `WrongAnswer`."""
    client.check(*small)
    before = _at_rest(serving)
    idle_connections = _with_connections(serving, *small) - before
    before = _at_rest(serving)
    processes.reset_peaks(serving)
    client.check(*large)
    peak = processes.peak(serving) - before
    after = _at_rest(serving) - before
    return {
        "idle worker": idle / MEGA,
        f"{IDLE_CONNECTIONS} idle connections add": idle_connections / MEGA,
        "25 MB body adds at its peak": peak / MEGA,
        "25 MB body leaves behind": after / MEGA,
    }


def note(results: Results, measured: Callable[[], dict[str, float]]) -> None:
    """Put the figures into the results, or the reason why there are none."""
    try:
        results.figures.update(measured())
    except (WrongAnswer, OSError) as error:
        results.missing["polyport", "memory"] = str(error)


def _with_connections(serving: list[int], case: Case, target: Target) -> int:
    """Every connection has had one call, as a client's pool would leave it."""
    sent = client.request(case, target)
    with ExitStack() as open_ones:
        for _ in range(IDLE_CONNECTIONS):
            connection = socket.create_connection(("127.0.0.1", target.port), timeout=client.PATIENCE)
            open_ones.enter_context(connection)
            connection.sendall(sent)
            if b" 200 " not in connection.recv(65536)[:16]:
                raise WrongAnswer("a call on one of many connections was not answered with 200")
        return _at_rest(serving)


def _at_rest(serving: list[int]) -> int:
    """RSS in bytes once it has stopped to change, or after `SETTLE` seconds."""
    until = time.monotonic() + SETTLE
    last, now = -1, processes.memory(serving).rss
    while now != last and time.monotonic() < until:
        time.sleep(LOOK)
        last, now = now, processes.memory(serving).rss
    return now
