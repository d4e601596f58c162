"""What a container that does not do well listens on, and what it said last. It blocks for some milliseconds."""

import contextlib
import os
from pathlib import Path

from polyport.engines import logs
from polyport.engines.contract import Diagnosis
from polyport.engines.process import processes

_LISTEN = "0A"


def diagnose(marks: processes.Marks | None, log: Path) -> Diagnosis:
    """For the container with these marks; ``None`` for one that was never started."""
    members = processes.find_members(marks) if marks else set()
    return Diagnosis(listening=find_ports(members), output=logs.read_tail(log))


def find_ports(pids: set[int]) -> tuple[int, ...]:
    """The TCP ports that these processes listen on, ascending."""
    sockets = {inode for pid in pids for inode in _list_sockets(pid)}
    tables = (line for pid in pids for name in ("tcp", "tcp6") for line in _read_lines(pid, name))
    ports = {port for inode, port in map(_parse_listener, tables) if inode in sockets}
    return tuple(sorted(ports))


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


def _parse_listener(line: str) -> tuple[str, int]:
    """The inode and port of a row that listens; no inode for others."""
    fields = line.split()
    if fields[3] != _LISTEN:
        return "", 0
    return fields[9], int(fields[1].rpartition(":")[2], 16)
