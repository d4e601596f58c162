"""What a process of ours needs of the kernel."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
#: The environment variable with the process id of whoever started this.
PARENT = "_POLYPORT_PARENT"


def die_with_parent() -> None:
    """Make the kernel end this process when its parent goes, however it goes (Linux). One that went before this was
    asked for is known by the number that it left in the environment (`PARENT`)."""
    if not sys.platform.startswith("linux"):
        return
    parent = int(os.environ.pop(PARENT, "") or os.getppid())
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)
