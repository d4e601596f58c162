"""A base image for builds: Python under the name that base images have for it, and what compiled packages need."""

import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

from support import containers

NAME = "localhost/polyport-test/python3:3"
#: What wheels expect of any Linux, and LightGBM besides.
LIBRARIES = ("libgomp.so.1", "libstdc++.so.6", "libgcc_s.so.1")
LIBRARIES += ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libm.so.6")


def make(folder: Path) -> str:
    """Builds it in an empty folder; its name."""
    link = "import os; os.path.lexists('/usr/bin/python3') or os.symlink('/usr/bin/python', '/usr/bin/python3')"
    (folder / "libraries").mkdir()
    for library in LIBRARIES:
        if found := _find(library):
            shutil.copy(os.path.realpath(found), folder / "libraries" / library)
    lines = [
        f"FROM {containers.PYTHON_IMAGE}",
        f'RUN ["{containers.PYTHON}", "-c", "{link}"]',
        f"COPY libraries /usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
        "ENV FROM_BASE=yes",
    ]
    (folder / "Containerfile").write_text("\n".join(lines))
    containers.podman("build", "--quiet", "--tag", NAME, str(folder))
    return NAME


def _find(library: str) -> str | None:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    found = re.search(rf"^\s*{re.escape(library)} .*=> (\S+)$", listed, re.MULTILINE)
    return found[1] if found else None
