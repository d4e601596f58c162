"""What containers use of the machine: from their cgroups, or from their processes where they have none of their own, if
those are this machine's; else from what the daemon tells, which takes it much longer."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from polyport.engines.contract import Usage
from polyport.engines.docker import local
from polyport.engines.docker.calls import Calls
from polyport.engines.process import usage as by_process
from polyport.errors import EngineError

_CGROUPS = Path("/sys/fs/cgroup")
#: Of the memory controller of version 1, which writes a number near 2 to the 63 for no limit.
_NO_LIMIT = 1 << 60
#: Seconds that the daemon has for one container, and for how many it is asked at once.
_TIMEOUT = 5.0
_AT_ONCE = 8


async def measure(calls: Calls, containers: Mapping[tuple[str, str], tuple[str, int]]) -> dict[tuple[str, str], Usage]:
    """For containers by their keys: id and pid of the main process. What cannot be had is left out."""
    found = await asyncio.to_thread(_read_all, containers)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def ask(key: tuple[str, str], container: str) -> None:
        try:
            async with turns, asyncio.timeout(_TIMEOUT):
                told = await calls.ask(f"containers/{container}/stats", **{"stream": "false", "one-shot": "true"})
        except (EngineError, TimeoutError):
            return
        if usage := parse(told):
            found[key] = usage

    await asyncio.gather(*(ask(key, container) for key, (container, _) in containers.items() if key not in found))
    return found


def _read_all(containers: Mapping[tuple[str, str], tuple[str, int]]) -> dict[tuple[str, str], Usage]:
    found, without = {}, {}
    for key, (container, pid) in containers.items():
        if not local.is_here(pid, container):
            continue
        try:
            cgroups = Path(f"/proc/{pid}/cgroup").read_text("ascii")
        except OSError:
            continue
        if container not in cgroups:
            without[key] = pid
        elif usage := read(cgroups, _CGROUPS):
            found[key] = usage
    return found | (by_process.measure(without) if without else {})


def read(cgroups: str, root: Path) -> Usage | None:
    """From the cgroups of a process, as ``/proc/PID/cgroup`` lists them, of version 1 or 2, below ``root``."""
    paths: dict[str, Path] = {}
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            paths[controller] = Path(path.lstrip("/"))
    try:
        if "memory" in paths and "cpuacct" in paths:
            return _read_first(root / "cpuacct" / paths["cpuacct"], root / "memory" / paths["memory"])
        return _read_second(root / paths[""])
    except (OSError, ValueError, KeyError):
        return None


def _read_first(cpu: Path, memory: Path) -> Usage:
    limit = _read_number(memory / "memory.limit_in_bytes")
    used = _read_number(memory / "memory.usage_in_bytes") - _read_pairs(memory / "memory.stat")["total_inactive_file"]
    return Usage(
        at=time.time(),
        cpu_seconds=_read_number(cpu / "cpuacct.usage") / 1e9,
        memory_bytes=max(0, used),
        memory_limit=limit if limit < _NO_LIMIT else None,
    )


def _read_second(folder: Path) -> Usage:
    limit = (folder / "memory.max").read_text("ascii").strip()
    used = _read_number(folder / "memory.current") - _read_pairs(folder / "memory.stat")["inactive_file"]
    return Usage(
        at=time.time(),
        cpu_seconds=_read_pairs(folder / "cpu.stat")["usage_usec"] / 1e6,
        memory_bytes=max(0, used),
        memory_limit=None if limit == "max" else int(limit),
    )


def _read_number(path: Path) -> int:
    return int(path.read_text("ascii"))


def _read_pairs(path: Path) -> dict[str, int]:
    words = path.read_text("ascii").split()
    return dict(zip(words[::2], map(int, words[1::2]), strict=True))


def parse(told: Mapping[str, Any]) -> Usage | None:
    """From the daemon's own answer. ``None`` when it has no counts, as of a container that has just ended."""
    cpu, memory = told.get("cpu_stats") or {}, told.get("memory_stats") or {}
    nanoseconds, used = (cpu.get("cpu_usage") or {}).get("total_usage"), memory.get("usage")
    if not nanoseconds or not used:
        return None
    details = memory.get("stats") or {}
    idle = details.get("inactive_file", details.get("total_inactive_file", 0))
    limit = memory.get("limit") or 0
    return Usage(
        at=time.time(),
        cpu_seconds=nanoseconds / 1e9,
        memory_bytes=max(0, used - idle),
        memory_limit=limit if 0 < limit < _NO_LIMIT else None,
    )
