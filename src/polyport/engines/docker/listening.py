"""Where a container listens. Its network is its own: whatever listens there is its."""

import asyncio
from collections.abc import Iterable
from pathlib import Path

import msgspec

from polyport.engines.docker import local
from polyport.engines.docker.calls import Calls
from polyport.errors import EngineError

_TABLES = ("tcp", "tcp6")
_LISTEN = "0A"
#: Docker's own name server, which it runs in every container's network.
_NAME_SERVER = "0B00007F"
_LOOPBACK = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")


class Listening(msgspec.Struct, frozen=True):
    """TCP ports, ascending: those that others can reach, and those that only the container itself can."""

    reachable: tuple[int, ...] = ()
    loopback: tuple[int, ...] = ()


async def find(calls: Calls, container: str, pid: int) -> Listening:
    """By the tables of its main process; by those that the container shows where that process is not this machine's."""
    tables = await asyncio.to_thread(_read_tables, container, pid)
    if tables is None:
        try:
            shown = await calls.run(container, "cat", *(f"/proc/net/{name}" for name in _TABLES))
        except (EngineError, TimeoutError):  # many images have no `cat`
            return Listening()
        tables = shown.decode("ascii", "replace").splitlines()
    return parse(tables)


def parse(rows: Iterable[str]) -> Listening:
    """From rows of ``/proc/net/tcp`` and ``tcp6``; their headings are skipped."""
    reachable: set[int] = set()
    loopback: set[int] = set()
    for row in rows:
        fields = row.split()
        if len(fields) > 3 and fields[3] == _LISTEN:
            address, _, port = fields[1].partition(":")
            if address == _NAME_SERVER:
                continue
            (loopback if address.startswith("7F", 6) or address in _LOOPBACK else reachable).add(int(port, 16))
    return Listening(tuple(sorted(reachable)), tuple(sorted(loopback - reachable)))


def _read_tables(container: str, pid: int) -> list[str] | None:
    """``None`` when that process is not the container's here."""
    if not local.is_here(pid, container):
        return None
    try:
        texts = [Path(f"/proc/{pid}/net/{name}").read_text("ascii") for name in _TABLES]
    except OSError:
        return None
    return [row for text in texts for row in text.splitlines()]
