"""Which names of instances and containers may become names of files, and where their logs are."""

import re
from collections.abc import Mapping
from pathlib import Path

from polyport.domain.instances import Instance
from polyport.errors import EngineError
from polyport.telemetry.logs import places

#: The labels that a log's folders are named after, outermost first.
LOG_LABELS = ("account", "region", "endpoint", "variant")

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def is_safe_name(name: str) -> bool:
    """Whether it may become the name of a folder."""
    return _SAFE_NAME.fullmatch(name) is not None


def check(instance: Instance) -> None:
    """Raises `EngineError` for names that could reach outside their folders, and for what cannot be started at all."""
    names = [container.hostname for container in instance.containers]
    if len(set(names)) != len(names):
        raise EngineError(f"Instance {instance.id}: two containers have one name.")
    for name in (instance.id, *names):
        if not is_safe_name(name):
            raise EngineError(f"{name!r} cannot be the name of an instance or a container.")
    for container in instance.containers:
        if not container.command:
            raise EngineError(f"Container {container.hostname}: there is no command.")
        for path in container.artifacts:
            if not path or path.startswith("/") or ".." in path.split("/"):
                raise EngineError(f"Container {container.hostname}: {path!r} is no path below /opt/ml.")


def log_path(home: Path, instance: Instance, hostname: str) -> Path:
    """Where a container's log is."""
    return log_folder(home, instance.labels, instance.id) / (hostname + places.SUFFIX)


def log_folder(home: Path, labels: Mapping[str, str], instance_id: str = "") -> Path:
    """Where the logs of an instance are, or of all of a variant's. Labels come from users: what may not be in a file's
    name becomes ``_``."""
    parts = (places.component(labels.get(label, "")) for label in LOG_LABELS)
    return home.joinpath("logs", *parts, instance_id)
