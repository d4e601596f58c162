"""What the machine as a whole has left: the disk of the home, and its GPUs where `nvidia-smi` answers."""

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import msgspec

log = logging.getLogger(__name__)

PROGRAM = "nvidia-smi"
_QUERY = ("--query-gpu=utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits")
#: Seconds that it may take, and looks that are left out after one that failed: ten minutes.
LIMIT = 5.0
REST = 60
_MOST_OUTPUT = 65536


class Gpus(msgspec.Struct, frozen=True):
    """Percent, 100 for each GPU that is busy, or whose memory is full."""

    busy: float
    memory: float


class GpuWatch:
    """Asks `nvidia-smi`, if there is one."""

    def __init__(self) -> None:
        self._rest = 0

    async def look(self) -> Gpus | None:
        """``None``: there is none, or it does not answer."""
        if self._rest:
            self._rest -= 1
            return None
        program = shutil.which(PROGRAM)
        if program is None:
            return None
        try:
            found = parse((await _output(program)).splitlines())
        except TimeoutError:
            log.warning("%s does not tell of GPUs: no answer within %g seconds", PROGRAM, LIMIT)
            found = None
        except (OSError, ValueError) as error:
            log.warning("%s does not tell of GPUs: %s", PROGRAM, error)
            found = None
        if found is None:
            self._rest = REST
        return found


def parse(lines: Iterable[str]) -> Gpus | None:
    """Of its table of values. What a GPU does not tell counts as nothing; without any GPU, ``None``. Raises
    `ValueError` for what is no such table."""
    rows = [[_number(cell) for cell in line.split(",")] for line in lines if line.strip()]
    if any(len(row) != 3 for row in rows):
        raise ValueError("it answers in another form")
    if not rows:
        return None
    memory = sum(100 * used / total for _, used, total in rows if total)
    return Gpus(sum(busy for busy, _, _ in rows), memory)


def disk_used(folder: Path) -> float | None:
    """Percent of the file system that the folder lies on, as `df` tells it; ``None`` when it cannot be asked."""
    try:
        found = shutil.disk_usage(folder)
    except OSError:
        return None
    there = found.used + found.free
    return 100 * found.used / there if there else None


def _number(cell: str) -> float:
    text = cell.strip()
    return 0.0 if text.startswith("[") else float(text)


async def _output(program: str) -> str:
    """Into a file, not a pipe: whatever else holds a pipe open would be waited for."""
    nothing = asyncio.subprocess.DEVNULL
    with tempfile.TemporaryFile() as file:
        process = await asyncio.create_subprocess_exec(program, *_QUERY, stdin=nothing, stdout=file, stderr=nothing)
        try:
            async with asyncio.timeout(LIMIT):
                status = await process.wait()
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
                await process.wait()
        if status:
            raise ValueError(f"it ended with status {status}")
        file.seek(0)
        return file.read(_MOST_OUTPUT).decode(errors="replace")
