"""The home: who may look into it, whether there is room, and who wrote it."""

import importlib.metadata
import os
import platform
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import polyport
from polyport.cli.doctor.findings import OK, TROUBLE, WARNING, Finding, Machine
from polyport.errors import PolyportError
from polyport.server import versions
from polyport.server.backups import DATABASE
from polyport.store import copies, schema

#: Bytes that are free below which there is a warning, and trouble.
_FEW, _TOO_FEW = 5 * 1024**3, 512 * 1024**2
#: The same of the inodes, in percent.
_FEW_INODES, _TOO_FEW_INODES = 5.0, 1.0
#: Folders of the home that may well be on other disks.
_PARTS = ("", "images", "buckets", "logs", "run")


def check_home(machine: Machine) -> Iterator[Finding]:
    """Whether others may look into the home, and at keys."""
    home = machine.settings.home
    if not home.is_dir():
        yield Finding("home", OK, f"{home} is not there yet; the server makes it")
        return
    open_to_others = home.stat().st_mode & 0o077
    advice = f"chmod 700 {home}" if open_to_others else ""
    found = f"{home} {'can be looked into by other users' if open_to_others else 'is closed to other users'}"
    yield Finding("home", WARNING if open_to_others else OK, found, advice)
    for path in sorted(home.glob("*.key")):
        if path.stat().st_mode & 0o077:
            yield Finding("key file", WARNING, f"{path} can be read by other users", f"chmod 600 {path}")
        else:
            yield Finding("key file", OK, f"{path} is its owner's alone")


def check_disk(machine: Machine) -> Iterator[Finding]:
    """Whether the home can be written, and each disk that it is on has room."""
    home = machine.settings.home
    seen: set[int] = set()
    for path in (_nearest(home / part) for part in _PARTS):
        device = path.stat().st_dev
        if device not in seen:
            seen.add(device)
            yield from describe_disk(f" of {path}", path)
    place = _nearest(home)
    try:
        with tempfile.TemporaryFile(dir=place) as file:
            file.write(b"x")
    except OSError as error:
        yield Finding(
            "writable",
            TROUBLE,
            f"{place} cannot be written: {error.strerror}",
            "Give it to the user that runs Polyport, or choose another home with --home or POLYPORT_HOME.",
        )
    else:
        yield Finding("writable", OK, f"{place} can be written")


def describe_disk(whose: str, path: Path) -> Iterator[Finding]:
    """Room and inodes where ``path`` is."""
    found = os.statvfs(path)
    room = found.f_bavail * found.f_frsize
    advice = "Make room: polyport image prune, older logs (setting log_retention_days), or a larger disk."
    state = TROUBLE if room < _TOO_FEW else WARNING if room < _FEW else OK
    yield Finding(f"disk{whose}", state, f"{room / 1024**3:.1f} GiB are free", "" if state == OK else advice)
    if found.f_files:
        share = 100 * found.f_favail / found.f_files
        state = TROUBLE if share < _TOO_FEW_INODES else WARNING if share < _FEW_INODES else OK
        advice = "Remove what has very many small files, or make a file system with more inodes."
        yield Finding(f"inodes{whose}", state, f"{share:.0f} % of its inodes are free", "" if state == OK else advice)


def check_versions(machine: Machine) -> Iterator[Finding]:
    """Of what Polyport is made of, and whether the home was written by a newer one."""
    yield Finding("versions", OK, ", ".join(_versions()))
    try:
        versions.expect_known(machine.settings.home)
        found = copies.revision(machine.settings.home / DATABASE)
    except PolyportError as error:
        yield Finding("database", TROUBLE, str(error), "Put a backup in its place (polyport restore) where it is lost.")
        return
    if found is None:
        yield Finding("database", OK, "there is none yet; the server makes it")
    elif found == schema.HEAD:
        yield Finding("database", OK, f"of this version (revision {found})")
    else:
        yield Finding("database", OK, f"of an older version (revision {found}): the next start brings it up to date")


def _versions() -> Iterator[str]:
    yield f"Polyport {polyport.__version__}"
    yield f"Python {platform.python_version()}"
    yield f"{platform.system()} {platform.release()} {platform.machine()}"
    yield f"SQLite {sqlite3.sqlite_version}"
    try:
        yield f"aiodocker {importlib.metadata.version('aiodocker')}"
    except importlib.metadata.PackageNotFoundError:
        yield "no aiodocker (pip install 'polyport[docker]' for Docker and Podman)"


def _nearest(path: Path) -> Path:
    """Itself, or the folder above it that there is."""
    return next(each for each in (path, *path.parents) if each.is_dir())
