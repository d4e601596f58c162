"""Whether a daemon's processes are this machine's."""

from pathlib import Path

from polyport.engines.process import processes


def is_here(pid: int, container: str) -> bool:
    """Whether that process is the container's, and not another one of this machine with the same number.

    Its cgroup has the container's id, or its parent has it in its command: every daemon gives it one, but rootless ones
    make no cgroups of version 1.
    """
    try:
        if container in Path(f"/proc/{pid}/cgroup").read_text("ascii"):
            return True
        process = processes.read(pid)
        return process is not None and container.encode() in Path(f"/proc/{process.parent}/cmdline").read_bytes()
    except OSError:
        return False
