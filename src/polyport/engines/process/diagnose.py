"""What a container that does not do well listens on, and what it said last. It blocks for some milliseconds."""

import contextlib
import ipaddress
import os
import sys
from pathlib import Path

from polyport.engines import logs
from polyport.engines.contract import Diagnosis
from polyport.engines.process import processes

_LISTEN = "0A"
#: What listens there answers at 127.0.0.1, as ``/proc/net/tcp`` and ``tcp6`` write it.
_REACHED = {
    "00000000",
    "0100007F" if sys.byteorder == "little" else "7F000001",
    "0" * 32,
    "0000000000000000FFFF00000100007F" if sys.byteorder == "little" else "00000000000000000000FFFF7F000001",
}


def diagnose(marks: processes.Marks | None, log: Path) -> Diagnosis:
    """For the container with these marks; ``None`` for one that was never started."""
    listening, unreachable = find_ports(processes.find_members(marks) if marks else set())
    return Diagnosis(listening=listening, unreachable=unreachable, output=logs.read_tail(log))


def find_ports(pids: set[int]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The TCP ports that these processes listen on, ascending; and the addresses that 127.0.0.1 does not lead to."""
    sockets = {inode for pid in pids for inode in _list_sockets(pid)}
    tables = (line for pid in pids for name in ("tcp", "tcp6") for line in _read_lines(pid, name))
    listeners = {(address, port) for inode, address, port in map(_parse_listener, tables) if inode in sockets}
    ports = {port for address, port in listeners if address in _REACHED}
    others = sorted(f"{_show(address)}:{port}" for address, port in listeners if port not in ports)
    return tuple(sorted(ports)), tuple(others)


def _show(address: str) -> str:
    """The kernel writes them word by word, each in this machine's order of bytes."""
    words = (bytes.fromhex(address[at : at + 8]) for at in range(0, len(address), 8))
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    return str(ipaddress.IPv4Address(raw)) if len(raw) == 4 else f"[{ipaddress.IPv6Address(raw)}]"


def _list_sockets(pid: int) -> set[str]:
    """The inodes of its open sockets."""
    found = set()
    with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        for entry in entries:
            with contextlib.suppress(OSError):  # closed meanwhile
                found.add(str(Path(entry.path).readlink()))
    return {target[8:-1] for target in found if target.startswith("socket:[")}


def _read_lines(pid: int, table: str) -> list[str]:
    try:
        return Path(f"/proc/{pid}/net/{table}").read_text("ascii").splitlines()[1:]
    except OSError:
        return []


def _parse_listener(line: str) -> tuple[str, str, int]:
    """The inode, address and port of a row that listens; no inode for others."""
    fields = line.split()
    if fields[3] != _LISTEN:
        return "", "", 0
    address, _, port = fields[1].rpartition(":")
    return fields[9], address, int(port, 16)


def list_listening() -> dict[int, set[str]]:
    """The TCP ports that anything listens on in this network namespace, with the inodes of those sockets."""
    found: dict[int, set[str]] = {}
    for line in (*_read_lines(os.getpid(), "tcp"), *_read_lines(os.getpid(), "tcp6")):
        inode, _, port = _parse_listener(line)
        if inode:
            found.setdefault(port, set()).add(inode)
    return found


def find_listener(port: int) -> int | None:
    """The process that listens on a port; ``None``: nobody does, or another user's process that is not shown to us."""
    inodes = list_listening().get(port, set())
    pids = sorted(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()) if inodes else []
    return next((pid for pid in pids if inodes & _list_sockets(pid)), None)
