"""Where the demo keeps things: images in a cache that all runs share, the rest in a home of the run's own."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from polyport.errors import UsageError


def cache_folder() -> Path:
    """``polyport/demo`` in the user's cache folder."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "polyport" / "demo"


@contextmanager
def own_home(cache: Path) -> Iterator[Path]:
    """A new home folder, its images those of the cache. It stays behind if the caller keeps its server running.

    Homes of earlier runs that nobody uses any more are removed. Raises `UsageError` when the cache cannot be written.
    """
    try:
        home = make_home(cache)
    except OSError as error:
        raise UsageError(
            f"The cache folder {cache} cannot be written: {error.strerror}. Set XDG_CACHE_HOME."
        ) from error
    with (home / "demo.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            yield home
        finally:
            fcntl.flock(lock, fcntl.LOCK_UN)
            if not in_use(home):
                shutil.rmtree(home, ignore_errors=True)


def make_home(cache: Path) -> Path:
    """The folder itself, with ``images`` in it linked to the cache."""
    runs = cache / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    (cache / "images").mkdir(exist_ok=True)
    with (cache / "runs.lock").open("w") as lock:
        # Held until the new home has its own lock file: nobody takes it for an abandoned one before that.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for abandoned in [home for home in runs.iterdir() if not in_use(home)]:
            shutil.rmtree(abandoned, ignore_errors=True)
        home = Path(tempfile.mkdtemp(prefix="", dir=runs))
        (home / "images").symlink_to(cache / "images")
    return home


def in_use(home: Path) -> bool:
    """Whether a demo or a server holds its lock there."""
    with ExitStack() as stack:
        for name in ("demo.lock", "run/lock"):
            try:
                file = stack.enter_context((home / name).open())
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except FileNotFoundError:
                continue
            except OSError:
                return True
    return False
