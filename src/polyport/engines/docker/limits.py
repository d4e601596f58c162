"""What an ``InstanceType`` has: CPUs, memory and GPUs, for those who want containers held to it."""

import re
from collections.abc import Iterable

import msgspec

from polyport.errors import UsageError

GIB = 1024**3
_ENTRY = re.compile(r"([^=\s]+)=([0-9.]+):([0-9.]+)(?::([0-9]+))?")


class Size(msgspec.Struct, frozen=True):
    """CPUs, memory in GiB, GPUs."""

    cpus: float
    memory: float
    gpus: int = 0


_STEPS = {"large": 2, "xlarge": 4, "2xlarge": 8, "4xlarge": 16, "8xlarge": 32, "12xlarge": 48, "16xlarge": 64}
_STEPS |= {"24xlarge": 96}
#: GiB per CPU of the families that come in those steps.
_FAMILIES = {
    "c5": 2.0,
    "c5d": 2.0,
    "c6g": 2.0,
    "c6i": 2.0,
    "c7g": 2.0,
    "c7i": 2.0,
    "m4": 4.0,
    "m5": 4.0,
    "m5d": 4.0,
    "m6g": 4.0,
    "m6i": 4.0,
    "m7i": 4.0,
    "r5": 8.0,
    "r5d": 8.0,
    "r6g": 8.0,
    "r6i": 8.0,
    "r7i": 8.0,
}
#: Those that follow no rule.
_SINGLE = {
    "ml.t2.medium": Size(2, 4),
    "ml.t2.large": Size(2, 8),
    "ml.t2.xlarge": Size(4, 16),
    "ml.t2.2xlarge": Size(8, 32),
    "ml.g4dn.xlarge": Size(4, 16, 1),
    "ml.g4dn.2xlarge": Size(8, 32, 1),
    "ml.g4dn.4xlarge": Size(16, 64, 1),
    "ml.g4dn.8xlarge": Size(32, 128, 1),
    "ml.g4dn.12xlarge": Size(48, 192, 4),
    "ml.g4dn.16xlarge": Size(64, 256, 1),
    "ml.g5.xlarge": Size(4, 16, 1),
    "ml.g5.2xlarge": Size(8, 32, 1),
    "ml.g5.4xlarge": Size(16, 64, 1),
    "ml.g5.8xlarge": Size(32, 128, 1),
    "ml.g5.12xlarge": Size(48, 192, 4),
    "ml.g5.16xlarge": Size(64, 256, 1),
    "ml.g5.24xlarge": Size(96, 384, 4),
    "ml.g5.48xlarge": Size(192, 768, 8),
    "ml.p3.2xlarge": Size(8, 61, 1),
    "ml.p3.8xlarge": Size(32, 244, 4),
    "ml.p3.16xlarge": Size(64, 488, 8),
    "ml.p4d.24xlarge": Size(96, 1152, 8),
    "ml.p5.48xlarge": Size(192, 2048, 8),
}


def find(instance_type: str, own: Iterable[str]) -> Size | None:
    """The size of a type: from the user's entries, else from the table; ``None`` for one that neither has."""
    table = parse(own)
    if instance_type in table:
        return table[instance_type]
    if instance_type in _SINGLE:
        return _SINGLE[instance_type]
    family, _, step = instance_type.removeprefix("ml.").partition(".")
    if family in _FAMILIES and step in _STEPS:
        return Size(_STEPS[step], _STEPS[step] * _FAMILIES[family])
    return None


def parse(entries: Iterable[str]) -> dict[str, Size]:
    """``TYPE=CPUS:GIB`` or ``TYPE=CPUS:GIB:GPUS``. Raises `UsageError` for anything else."""
    table = {}
    for entry in entries:
        match = _ENTRY.fullmatch(entry.strip())
        try:
            if match is None:
                raise ValueError
            name, cpus, memory, gpus = match.groups()
            table[name] = Size(float(cpus), float(memory), int(gpus or 0))
        except ValueError:
            raise UsageError(f"instance_types: {entry!r} is not TYPE=CPUS:GIB or TYPE=CPUS:GIB:GPUS.") from None
    return table
