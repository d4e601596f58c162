"""A mount namespace of one's own, so that each container sees its own ``/opt/ml``, the model data in it read-only.

Nothing is created on the host's real file system outside the instance's folder, and no mount is seen outside the
namespace. This keeps containers out of each other's way; against hostile code there are `bubblewrap` and `users`.
"""

import contextlib
import os
import stat
from collections.abc import Iterable
from pathlib import Path

from polyport.engines.process.isolation import Unavailable, kernel
from polyport.engines.process.isolation.kernel import MS_BIND, MS_PRIVATE, MS_RDONLY, MS_REC, MS_REMOUNT

#: Flags of a mount that an unprivileged remount must not drop, by the bit `os.statvfs` shows them as.
_KEPT_FLAGS = {0x2: 0x2, 0x4: 0x4, 0x8: 0x8, 0x400: 0x400, 0x800: 0x800, 0x1000: 1 << 21}

OPT_ML = Path("/opt/ml")


def enter(base: Path, stage: Path, artifacts: dict[str, str], protected: list[str], reached: Iterable[str]) -> None:
    """Gives the calling process (and its children) ``base`` as ``/opt/ml``. Raises `Unavailable`.

    ``artifacts`` maps paths below ``base`` (existing empty folders) to the folders to be seen there, read-only;
    ``protected`` are further paths to be read-only; ``stage`` is an empty folder in which ``/opt`` is rebuilt.
    ``reached`` are paths that any user is to reach, whatever the folders above them allow: see `_open_way`.
    After a failure the process must end: it may be halfway in.
    """
    try:
        _unshare()
        kernel.mount("none", "/", MS_REC | MS_PRIVATE)
        _open_way(reached)
        for path, source in artifacts.items():
            _bind_read_only(source, base / path)
            _bind_read_only(source, source)
        for folder in protected:
            _bind_read_only(folder, folder)
        _show_as_opt_ml(base, stage)
    except OSError as error:
        raise Unavailable(str(error)) from error


def find_covers(paths: Iterable[str]) -> set[Path]:
    """The outermost folders above these paths that other users may not pass."""
    found = set()
    for path in paths:
        for folder in reversed(Path(os.path.realpath(path)).parents):
            if not folder.stat().st_mode & stat.S_IXOTH:
                found.add(folder)
                break
    return found


def _unshare() -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        with contextlib.suppress(OSError):
            kernel.unshare(kernel.CLONE_NEWNS)
            return
    kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
    # Without this the kernel refuses an unprivileged gid_map.
    Path("/proc/self/setgroups").write_text("deny", "ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", "ascii")


def _open_way(paths: Iterable[str]) -> None:
    """Where a folder above one of the paths is closed to other users, an empty one takes its place, and only the paths
    appear in it: a container with a user of its own finds its files in ``/root``, and nothing else of it."""
    wanted = {path: os.path.realpath(path) for path in paths if os.path.lexists(path)}
    covers = find_covers(wanted)
    below = sorted({real for real in wanted.values() if any(cover in Path(real).parents for cover in covers)})
    held = {real: os.open(real, os.O_PATH) for real in below}
    for cover in covers:
        kernel.mount("tmpfs", cover, kernel.MS_NOSUID | kernel.MS_NODEV, "tmpfs", "mode=0755,size=1m")
    for real, fd in held.items():
        if not os.path.lexists(real):
            _make_place(Path(real), is_folder=stat.S_ISDIR(os.fstat(fd).st_mode))
            kernel.mount(f"/proc/self/fd/{fd}", real, MS_BIND | MS_REC)
        os.close(fd)
    for path, real in wanted.items():
        if path != real and not os.path.lexists(path):
            _make_parents(Path(path))
            Path(path).symlink_to(real)


def _make_place(path: Path, *, is_folder: bool) -> None:
    _make_parents(path)
    if is_folder:
        path.mkdir(exist_ok=True)
    else:
        path.touch()


def _make_parents(path: Path) -> None:
    before = os.umask(0o022)
    path.parent.mkdir(parents=True, exist_ok=True)
    os.umask(before)


def _show_as_opt_ml(base: Path, stage: Path) -> None:
    """Binds over ``/opt/ml``; where there is none, over ``/opt``, a folder with all that is in it and ``ml``."""
    if OPT_ML.is_dir():
        kernel.mount(base, OPT_ML, MS_BIND | MS_REC)
        return
    with os.scandir(OPT_ML.parent) as entries:
        for entry in entries:
            _stage(entry, stage / entry.name)
    (stage / OPT_ML.name).mkdir(exist_ok=True)
    kernel.mount(base, stage / OPT_ML.name, MS_BIND | MS_REC)
    kernel.mount(stage, OPT_ML.parent, MS_BIND | MS_REC)


def _stage(entry: "os.DirEntry[str]", target: Path) -> None:
    if entry.is_symlink():
        target.unlink(missing_ok=True)
        target.symlink_to(Path(entry.path).readlink())
        return
    if entry.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    kernel.mount(entry.path, target, MS_BIND | MS_REC)


def _bind_read_only(source: str | Path, target: str | Path) -> None:
    kernel.mount(source, target, MS_BIND | MS_REC)
    # A bind takes its flags in a second step; those that were set stay set, or the kernel refuses in a user namespace.
    present = os.statvfs(target).f_flag
    kept = sum(flag for bit, flag in _KEPT_FLAGS.items() if present & bit)
    kernel.mount("none", target, MS_REMOUNT | MS_BIND | MS_RDONLY | kept)
