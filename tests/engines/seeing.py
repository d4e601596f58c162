"""Helpers of the process engine's tests: what a container sees, and what the machine allows."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from engines.labs import DEADLINE, ProcessLab, instance, run, until_healthy
from polyport.domain.instances import Container
from polyport.engines.process import processes
from polyport.engines.process.engine import ProcessEngine

DUMP = "print('DUMP ' + __import__('json').dumps({expression}), flush=True)"


def dump(expression: str) -> dict[str, list[str]]:
    """Has a container print the value of an expression as JSON."""
    return {"runs": [DUMP.replace("{expression}", expression)]}


def read_dump(lab: ProcessLab, hostname: str = "first") -> Any:
    """What it printed, once it is in the log."""
    end = time.monotonic() + DEADLINE
    while True:
        text = lab.log(hostname).read_text() if lab.log(hostname).exists() else ""
        dumped, _, rest = text.partition(" stdout DUMP ")[2].partition("\n")
        if dumped and (rest or text.endswith("\n")):
            return json.loads(dumped)
        assert time.monotonic() < end, "nothing was dumped in time"
        time.sleep(0.01)


def see(lab: ProcessLab, container: Container, **settings: Any) -> Any:
    """The value that the container dumped."""

    async def story(engine: ProcessEngine) -> None:
        await engine.apply(instance(container))
        await until_healthy(engine)

    run(lab.make(**settings), story)
    return read_dump(lab, container.hostname)


def is_gone(pid: int) -> bool:
    """It ended; a zombie that nobody collected yet counts as ended."""
    process = processes.read(pid)
    return process is None or process.ended


def make_models(tmp_path: Path) -> dict[str, str]:
    """Two folders of model data, as the artifact cache would have them."""
    for name, text in (("one", "weights"), ("two", "more")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w").write_text(text)
    return {"model": str(tmp_path / "one"), "additional-model-data-sources/extra": str(tmp_path / "two")}


def can_mount() -> bool:
    """Whether this machine allows mounts in a namespace of one's own, as another program sees it."""
    flags = ["-m"] if os.getuid() == 0 else ["-Um"]
    return subprocess.run(["unshare", *flags, "true"], capture_output=True, check=False).returncode == 0


def can_sandbox() -> bool:
    """Whether bubblewrap works, as it says itself."""
    if shutil.which("bwrap") is None:
        return False
    command = ["bwrap", "--unshare-pid", "--unshare-net", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


#: The levels of isolation that can be tested here.
LEVELS = [
    *(["bubblewrap"] if can_sandbox() else []),
    "mounts" if can_mount() else "none",
]


def members_of(marks: processes.Marks) -> set[int]:
    """The processes of a container, without those that keep its sandbox."""
    return {pid for pid in processes.find_members(marks) if not _keeps_a_sandbox(pid)}


def descendants_of(pid: int) -> set[int]:
    """The same for all containers of a supervisor."""
    return {found for found in processes.find_descendants(pid) if not _keeps_a_sandbox(found)}


def _keeps_a_sandbox(pid: int) -> bool:
    words = Path(f"/proc/{pid}/cmdline").read_bytes()
    return words.split(b"\0")[0].endswith(b"/bwrap") or b"trap '' TERM" in words
