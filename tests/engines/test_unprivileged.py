"""The same for a server that is not root, where root runs the tests."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from engines.seeing import LEVELS

#: A user namespace in which we are somebody else, without capabilities.
AS_USER = ("unshare", "--user", "--map-user=1000", "--map-group=1000")
#: What differs for such a server: the user namespace of a sandbox, on the way in and on the relay's.
CASES = "hostile or keyring or daemon or large_calls or reaches_nothing or outlives or finds_the_ports"


def can_become_a_user() -> bool:
    """Whether this machine lets us, and lets that user make sandboxes."""
    if os.getuid() != 0 or "bubblewrap" not in LEVELS or not shutil.which("unshare"):
        return False
    sandbox = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "true"]
    return subprocess.run([*AS_USER, *sandbox], capture_output=True, check=False).returncode == 0


@pytest.mark.slow
@pytest.mark.skipif(not can_become_a_user(), reason="only root tries to be somebody else, and only where it can")
def test_a_server_that_is_not_root_isolates_as_well() -> None:
    """Ordinary users are who runs Polyport on a laptop: nothing of it may depend on root."""
    files = [str(Path(__file__).with_name(name)) for name in ("test_isolation.py", "test_network_isolation.py")]
    # A folder with a short name, as a socket in it needs; longer ones are for pytest's own.
    with tempfile.TemporaryDirectory() as folder:
        options = ["-q", "-p", "no:cacheprovider", "-k", CASES, "--basetemp", f"{folder}/t"]
        done = subprocess.run(
            [*AS_USER, sys.executable, "-m", "pytest", *options, *files],
            cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=110, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert int(done.stdout.rpartition(" passed")[0].split()[-1]) >= 7
