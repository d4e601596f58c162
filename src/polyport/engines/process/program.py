"""What is to be started: the main process of a container, where, and what it may see."""

from pathlib import Path
from typing import Any

from polyport.engines.process import folders


class Program:
    """``protected`` are paths that it must not write to. ``level`` is one of `isolation`'s."""

    __slots__ = (
        "artifacts",
        "command",
        "environment",
        "folder",
        "home",
        "hostname",
        "level",
        "network_isolation",
        "paths",
        "port",
        "protected",
        "user",
    )

    def __init__(
        self,
        *,
        command: list[str],
        environment: dict[str, str],
        folder: Path,
        hostname: str,
        port: int,
        level: str,
        user: int | None,
        home: str,
        paths: list[str],
        artifacts: dict[str, str],
        protected: list[str],
        network_isolation: bool,
    ) -> None:
        self.command = command
        self.environment = environment
        self.folder = folder
        self.hostname = hostname
        self.port = port
        self.level = level
        self.user = user
        self.home = home
        self.paths = paths
        self.artifacts = artifacts
        self.protected = protected
        self.network_isolation = network_isolation

    @property
    def own_folders(self) -> list[Path]:
        """Those that it may write to."""
        return [self.folder / name for name in (folders.WORK, folders.HOME, folders.TMP, folders.BASE)]

    @property
    def base(self) -> Path:
        """Its ``/opt/ml``."""
        return self.folder / folders.BASE


def from_entry(entry: dict[str, Any], folder: Path, level: str) -> Program:
    """From an entry of ``spec.json``. Without model data, the empty model folder is read-only too. So is the image,
    unless the container lives inside it."""
    image = entry["folder"]
    return Program(
        command=entry["command"],
        environment=entry["environment"],
        folder=folder,
        hostname=entry["hostname"],
        port=entry["port"],
        level=level,
        user=entry.get("user"),
        home=entry.get("home", ""),
        paths=entry.get("paths", []),
        artifacts={folders.MODEL: str(folder / folders.BASE / folders.MODEL), **entry["artifacts"]},
        protected=[image] if image and not folder.is_relative_to(image) else [],
        network_isolation=entry.get("network_isolation", False),
    )
