"""The home folder: its layout, its lock, and sockets whose paths are short enough."""

import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path
from typing import IO

from polyport.errors import UsageError
from polyport.settings import Settings

#: What fits into a Unix socket's address on every system, less the longest file name used.
MAX_SOCKET_FOLDER = 80
#: Where the files of a backup wait until all of them are in their place.
UNFINISHED_RESTORE = "restore.unfinished"


def prepare(settings: Settings, *, unfinished: bool = False) -> None:
    """Make the home folder and what is always in it. Raises `UsageError` when it cannot be written, or when its state
    is ``unfinished`` and may not be: a restore was broken off, or the database is gone."""
    if not unfinished:
        _expect_state(settings.home)
    try:
        if not settings.home.exists():
            # One that is there already is its owner's to close; `polyport doctor` tells.
            settings.home.mkdir(parents=True)
            settings.home.chmod(0o700)
        for folder in (settings.home / "run", settings.buckets):
            folder.mkdir(parents=True, exist_ok=True)
        # Keys, the database and what containers wrote: nobody else's business.
        settings.home.chmod(0o700)
        (settings.home / "run").chmod(0o700)
        with tempfile.TemporaryFile(dir=settings.home):
            pass
    except OSError as error:
        raise UsageError(
            f"The home folder {settings.home} cannot be written: {error.strerror}. "
            "Choose another with --home or POLYPORT_HOME."
        ) from error


def lock(settings: Settings) -> IO[str]:
    """Take the home for this server; keep the file open for as long as it runs. Raises `UsageError` when it is taken.

    The lock is the kernel's: it is free again the moment its last holder is gone, however that ended.
    """
    path = settings.home / "run" / "lock"
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "another process"
        file.close()
        raise UsageError(
            f"The home folder {settings.home} is in use by {holder}. "
            "Stop that server, let this one take over from it with --replace, or choose another home with --home or "
            "POLYPORT_HOME."
        ) from error
    # Control inherits it: two of them never run on one home, even when a launcher was killed.
    os.set_inheritable(file.fileno(), True)
    return file


def _expect_state(folder: Path) -> None:
    """Half of a backup is no state to start from; and to start with an empty database would end all instances."""
    if (folder / UNFINISHED_RESTORE).exists():
        raise UsageError(f"A restore of {folder} was broken off. Do it again: polyport restore BACKUP --force.")
    database = folder / "polyport.db"
    if database.exists() and database.stat().st_size:
        return
    kept = [path for kind in ("instances", "docker") for path in (folder / "run" / kind).glob("i-*")]
    if kept:
        raise UsageError(
            f"The database {database} is missing or empty, but {len(kept)} instances of endpoints are here. "
            "Put a backup in its place: polyport restore BACKUP --force. "
            f"Or, to start anew without these endpoints, remove {kept[0].parent}."
        )


def is_locked(folder: Path) -> bool:
    """Whether a server runs on that home."""
    try:
        with (folder / "run" / "lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def read_holder(folder: Path) -> str:
    """Who holds the lock, as `sign` wrote it: empty while it starts."""
    try:
        return (folder / "run" / "lock").read_text("utf-8").strip()
    except OSError:
        return ""


def sign(lock_file: IO[str], url: str) -> None:
    """Write into the lock who holds it, for whoever comes too late."""
    lock_file.seek(0)
    lock_file.truncate()
    lock_file.write(f"the server with process id {os.getpid()} at {url}\n")
    lock_file.flush()


def socket_folder(home: Path) -> Path:
    """``run`` in the home, or a private short-named folder when that path is too long for a Unix socket."""
    folder = home / "run"
    if len(os.fsencode(folder)) <= MAX_SOCKET_FOLDER:
        return folder
    name = hashlib.sha256(os.fsencode(home)).hexdigest()[:16]
    short = Path("/tmp") / f"polyport-{os.getuid()}-{name}"  # noqa: S108  checked below to be ours alone
    short.mkdir(mode=0o700, exist_ok=True)
    found = short.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise UsageError(f"{short} is needed for sockets and does not belong to this user alone. Remove it.")
    return short
