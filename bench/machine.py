"""What machine this is, and which of its CPUs do what."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path

NOBODY: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Cpus:
    """Who may run where; empty sets: anywhere."""

    client: frozenset[int] = NOBODY
    models: frozenset[int] = NOBODY
    system: frozenset[int] = NOBODY

    def __str__(self) -> str:
        if not self.system:
            return "not pinned"
        names = {"client": self.client, "models": self.models, "system under test": self.system}
        return ", ".join(f"{name} on CPU {' '.join(map(str, sorted(cpus)))}" for name, cpus in names.items())


def plan(available: set[int]) -> Cpus:
    """Keep the system under test away from the client and the models, as far as there are CPUs."""
    ordered = sorted(available)
    if len(ordered) < 2:
        return Cpus()
    if len(ordered) == 2:
        shared = frozenset(ordered[:1])
        return Cpus(shared, shared, frozenset(ordered[1:]))
    return Cpus(frozenset(ordered[:1]), frozenset(ordered[1:2]), frozenset(ordered[2:]))


def available() -> set[int]:
    """The CPUs this process may use."""
    return os.sched_getaffinity(0)


def describe() -> dict[str, str]:
    """For the report: what figures depend on, and nothing that tells whose machine it is."""
    return {
        "cpu": _cpu_model(),
        "cores": str(len(available())),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "c library": " ".join(platform.libc_ver()),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())
