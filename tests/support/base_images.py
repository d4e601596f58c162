"""The base images of tests on real containers, made from what is on this machine, without any registry."""

import io
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from pathlib import Path

#: Python under one name, without anything installed.
PYTHON_IMAGE = "localhost/polyport-test/python:1"
#: One static program.
STATIC_IMAGE = "localhost/polyport-test/static:1"
#: What builds begin with.
BUILD_IMAGE = "localhost/polyport-test/python3:1"
#: The interpreter in the first.
PYTHON = "/usr/bin/python"
#: What wheels expect of any Linux, and LightGBM besides.
_LIBRARIES = ("libgomp.so.1", "libstdc++.so.6", "libgcc_s.so.1")
_LIBRARIES += ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libm.so.6")
_UNNEEDED = {"test", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3", "site-packages", "dist-packages"}
_UNNEEDED |= {"__pycache__", "pydoc_data"}

#: Answers every request with its own name; ends by SIGTERM, as it must be asked to as process 1.
_STATIC_SOURCE = r"""
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
static void leave(int number) { _exit(0); }
int main(int count, char **words) {
    signal(SIGTERM, leave);
    printf("static %s\n", count > 1 ? words[1] : "");
    fflush(stdout);
    int yes = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(8080)};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (void *)&at, sizeof at) || listen(listener, 64)) return 3;
    for (;;) {
        char in[65536];
        int peer = accept(listener, 0, 0);
        const char *out = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nstatic";
        if (read(peer, in, sizeof in) > 0 && write(peer, out, strlen(out)) < 0) return 4;
        shutdown(peer, SHUT_WR);
        while (read(peer, in, sizeof in) > 0);
        close(peer);
    }
}
"""


def pack_python(folder: Path) -> Path:
    """An archive in that folder: the interpreter that runs this, its library and every shared library they need."""
    with tarfile.open(folder / "python.tar", "w") as archive:
        _add_python(archive)
    return folder / "python.tar"


def pack_static(folder: Path) -> Path:
    """An archive in that folder: one program without libraries, `/static`."""
    source, program = folder / "static.c", folder / "static"
    source.write_text(_STATIC_SOURCE)
    subprocess.run(["gcc", "-O1", "-static", "-o", program, source], capture_output=True, check=True)
    with tarfile.open(folder / "static.tar", "w") as archive:
        _add(archive, "static", program.read_bytes(), 0o755)
    return folder / "static.tar"


def write_build_base(folder: Path) -> None:
    """Writes, to an empty folder, what an image is built from that has `python3` and what compiled packages need."""
    link = "import os; os.path.lexists('/usr/bin/python3') or os.symlink('/usr/bin/python', '/usr/bin/python3')"
    (folder / "libraries").mkdir()
    for library in _LIBRARIES:
        if found := _find_library(library):
            shutil.copy(os.path.realpath(found), folder / "libraries" / library)
    lines = [
        f"FROM {PYTHON_IMAGE}",
        f'RUN ["{PYTHON}", "-c", "{link}"]',
        f"COPY libraries /usr/lib/{sysconfig.get_config_var('MULTIARCH')}",
        "ENV FROM_BASE=yes",
    ]
    (folder / "Dockerfile").write_text("\n".join(lines))


def _add_python(archive: tarfile.TarFile) -> None:
    library = Path(sysconfig.get_path("stdlib"))
    archive.add(os.path.realpath(sys.executable), PYTHON)
    archive.add(library, str(library), filter=_only_needed)
    programs = [os.path.realpath(sys.executable), *map(str, library.glob("lib-dynload/*.so"))]
    for path in sorted({os.path.normpath(path) for program in programs for path in _find_libraries(program)}):
        archive.add(os.path.realpath(path), path)
    for folder in ("tmp", "opt", "etc", "proc", "sys", "dev"):
        _add(archive, folder, b"", 0o1777 if folder == "tmp" else 0o755, tarfile.DIRTYPE)


def _only_needed(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(entry.name).parts
    return None if _UNNEEDED.intersection(parts) or any(part.startswith("config-") for part in parts) else entry


def _find_libraries(program: str) -> Iterator[str]:
    listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    for word in listed.split():
        if word.startswith("/"):
            yield word


def _find_library(name: str) -> str | None:
    listed = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=False).stdout
    found = re.search(rf"^\s*{re.escape(name)} .*=> (\S+)$", listed, re.MULTILINE)
    return found[1] if found else None


def _add(archive: tarfile.TarFile, name: str, data: bytes, mode: int, kind: bytes = tarfile.REGTYPE) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode, entry.type = len(data), mode, kind
    archive.addfile(entry, io.BytesIO(data))
