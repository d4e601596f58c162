"""What containers use: from the kernel's own counters where the daemon's containers are this machine's, else from the
daemon.

The counters cost no daemon anything, answer while it is away, and tell which memory the kernel can take back: Podman
does not. Containers without a cgroup of their own (rootless, on cgroups of version 1) have neither.
"""

import asyncio
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from polyport.engines.contract import Usage
from polyport.engines.docker.calls import Calls
from polyport.errors import EngineError

#: Seconds until those that the daemon has not told of are left out.
LIMIT = 5.0
#: Questions to the daemon at the same time.
_AT_ONCE = 16
_CGROUPS = Path("/sys/fs/cgroup")


class Target(msgspec.Struct, frozen=True):
    """A container to be measured, by its id at the daemon, and its main process there."""

    instance_id: str
    hostname: str
    container: str
    pid: int

    def tell(self, reading: "Reading") -> Usage:
        """The same, as the contract has it."""
        return Usage(
            instance_id=self.instance_id,
            hostname=self.hostname,
            at=reading.at,
            cpu_seconds=reading.cpu_seconds,
            memory=reading.memory,
            memory_limit=reading.memory_limit,
        )


class Reading(msgspec.Struct, frozen=True):
    """Of one container, at a moment (epoch seconds). Bytes; ``None`` for no limit."""

    at: float
    cpu_seconds: float
    memory: int
    memory_limit: int | None


async def measure(
    calls: Calls, targets: Iterable[Target], machine_memory: int, limit: float = LIMIT
) -> tuple[Usage, ...]:
    """Of all that can be had within ``limit`` seconds. ``machine_memory`` (bytes): a limit as high as that is none."""
    found = await asyncio.to_thread(_read_all, tuple(targets))
    missing = [target for target, reading in found.items() if reading is None]
    if missing:
        found |= await _ask_all(calls, missing, machine_memory, limit)
    return tuple(target.tell(reading) for target, reading in found.items() if reading is not None)


def read_cgroup(container: str, pid: int) -> Reading | None:
    """By the files of the cgroup that is the container's; ``None`` when that process is not its main process here."""
    try:
        return read_folders(find_folders(Path(f"/proc/{pid}/cgroup").read_text("ascii"), container))
    except (OSError, LookupError, ValueError):  # it ended this moment, or its cgroup has not what is needed
        return None


def find_folders(cgroups: str, container: str) -> dict[str, Path]:
    """Where the kernel counts for a container, by controller (empty: version 2), from the ``/proc/PID/cgroup`` of a
    process in it. That process may be in a cgroup further down: what bears the container's id is all of it."""
    found = {}
    for line in cgroups.splitlines():
        _, controllers, path = line.split(":", 2)
        parts = path.strip("/").split("/")
        own = next((at for at, part in enumerate(parts) if container in part), None)
        if own is not None:
            for controller in controllers.split(","):
                found[controller] = _CGROUPS.joinpath(controller, *parts[: own + 1])
    return found


def read_folders(folders: Mapping[str, Path]) -> Reading:
    """From those that `find_folders` found. Raises `OSError`, `LookupError` or `ValueError` for what is not there."""
    return Reading(time.time(), _read_cpu_seconds(folders), *_read_memory(folders))


def parse_limit(text: str) -> int | None:
    """Of a cgroup. Version 2 says ``max`` for none, version 1 the largest number of pages there is."""
    number = int(text) if text.strip() != "max" else 1 << 63
    return number if number < 1 << 60 else None


def parse_answer(answer: Mapping[str, Any], machine_memory: int) -> Reading | None:
    """From what the daemon says; ``None`` when it says nothing, as of containers that do not run."""
    cpu = ((answer.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage")
    memory = answer.get("memory_stats") or {}
    if not cpu or not memory.get("usage"):
        return None
    stats = memory.get("stats") or {}
    idle = stats.get("total_inactive_file", stats.get("inactive_file", 0))
    limit = memory.get("limit") or 0
    is_limited = 0 < limit < (machine_memory or 1 << 60)
    return Reading(time.time(), cpu / 1e9, max(0, memory["usage"] - idle), limit if is_limited else None)


def _read_all(targets: tuple[Target, ...]) -> dict[Target, Reading | None]:
    return {target: read_cgroup(target.container, target.pid) for target in targets}


async def _ask_all(
    calls: Calls, targets: Iterable[Target], machine_memory: int, limit: float
) -> dict[Target, Reading | None]:
    """Those that were told in time. A daemon that is slow at this is not for that taken to be away."""
    turns = asyncio.Semaphore(_AT_ONCE)
    found: dict[Target, Reading | None] = {}

    async def ask(target: Target) -> None:
        async with turns:
            found[target] = await _ask(calls, target.container, machine_memory)

    tasks = [asyncio.create_task(ask(target)) for target in targets]
    try:
        await asyncio.wait(tasks, timeout=limit)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return found


async def _ask(calls: Calls, container: str, machine_memory: int) -> Reading | None:
    try:
        answer = await calls.ask(f"containers/{container}/stats", **{"stream": "false", "one-shot": "true"})
        return parse_answer(answer, machine_memory)
    except (EngineError, ValueError, TypeError, AttributeError):  # Podman answers with nothing for one that has ended
        return None


def _read_cpu_seconds(folders: Mapping[str, Path]) -> float:
    if "cpuacct" in folders:
        return int(_read(folders["cpuacct"], "cpuacct.usage")) / 1e9
    return _pairs(_read(folders[""], "cpu.stat"))["usage_usec"] / 1e6


def _read_memory(folders: Mapping[str, Path]) -> tuple[int, int | None]:
    """In use, and the limit."""
    if "memory" in folders:
        folder, names = folders["memory"], ("memory.usage_in_bytes", "total_inactive_file", "memory.limit_in_bytes")
    else:
        folder, names = folders[""], ("memory.current", "inactive_file", "memory.max")
    used, idle, most = names
    in_use = int(_read(folder, used)) - _pairs(_read(folder, "memory.stat")).get(idle, 0)
    return max(0, in_use), parse_limit(_read(folder, most))


def _read(folder: Path, name: str) -> str:
    return (folder / name).read_text("ascii")


def _pairs(text: str) -> dict[str, int]:
    """Of a file with a name and a number in each line."""
    words = text.split()
    return {name: int(number) for name, number in zip(words[::2], words[1::2], strict=False)}
