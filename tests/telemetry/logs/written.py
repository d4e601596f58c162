"""Log files as engines write them, with times that a test chooses."""

from pathlib import Path

from polyport.engines import logs
from polyport.telemetry.logs import parts, places
from polyport.telemetry.logs.records import Event


def record(at: float, text: str, source: str = "stdout") -> bytes:
    """One line of a log file."""
    return logs.format_time(at) + f" {source} {text}\n".encode()


def write(path: Path, *lines: tuple[float, str], max_bytes: int = 1 << 30, keep: int = 5) -> None:
    """Appends lines, as an engine does."""
    log = logs.Log(path, max_bytes, keep)
    log.append([record(at, text) for at, text in lines])
    log.close()


def log_of(home: Path, endpoint: str = "demo", container: str = "a", instance: str = "i-1", variant: str = "V") -> Path:
    """Where the log of a container is."""
    owner = ("123456789012", "us-east-1")
    return home.joinpath("logs", *owner, endpoint, variant, instance, container + places.SUFFIX)


def events(path: Path, *arguments: object) -> list[Event]:
    """All events of a log, in order."""
    with parts.Log(path) as log:
        return [item for item in log.forward(*arguments) if isinstance(item, Event)]  # type: ignore[arg-type]
