"""A mount namespace of one's own, so that each container sees its own ``/opt/ml``, the model data in it read-only.

Nothing is created on the host's real file system outside the instance's folder, and no mount is seen outside the
namespace. This keeps containers out of each other's way; it is no prison for hostile code.
"""

import ctypes
import os
from pathlib import Path

_CLONE_NEWNS = 0x00020000
_CLONE_NEWUSER = 0x10000000
_MS_RDONLY, _MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE = 0x1, 0x20, 0x1000, 0x4000, 0x40000
#: Flags of a mount that an unprivileged remount must not drop, by the bit `os.statvfs` shows them as.
_KEPT_FLAGS = {0x2: 0x2, 0x4: 0x4, 0x8: 0x8, 0x400: 0x400, 0x800: 0x800, 0x1000: 1 << 21}
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)

OPT_ML = Path("/opt/ml")


class Unavailable(Exception):
    """This machine does not let the process have mounts of its own."""


def enter(base: Path, stage: Path, artifacts: dict[str, str], protected: list[str]) -> None:
    """Gives the calling process (and its children) ``base`` as ``/opt/ml``. Raises `Unavailable`.

    ``artifacts`` maps paths below ``base`` (existing empty folders) to the folders to be seen there, read-only;
    ``protected`` are further paths to be read-only; ``stage`` is an empty folder in which ``/opt`` is rebuilt.
    After a failure the process must end: it may be halfway in.
    """
    try:
        _unshare()
        _mount("none", "/", _MS_REC | _MS_PRIVATE)
        for path, source in artifacts.items():
            _bind_read_only(source, base / path)
            _bind_read_only(source, source)
        for folder in protected:
            _bind_read_only(folder, folder)
        _show_as_opt_ml(base, stage)
    except OSError as error:
        raise Unavailable(str(error)) from error


def die_with(parent: int) -> None:
    """Has the kernel kill the calling process once ``parent`` ends. Forgotten by the kernel when the user changes."""
    _prctl(_PR_SET_PDEATHSIG, 9)
    if os.getppid() != parent:  # it ended before we asked
        os._exit(1)


def adopt_orphans() -> None:
    """Makes the calling process the parent of descendants whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def _unshare() -> None:
    uid, gid = os.getuid(), os.getgid()
    if uid == 0 and _libc.unshare(_CLONE_NEWNS) == 0:
        return
    if _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS) != 0:
        raise _os_error("unshare")
    # Without this the kernel refuses an unprivileged gid_map.
    Path("/proc/self/setgroups").write_text("deny", "ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", "ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", "ascii")


def _show_as_opt_ml(base: Path, stage: Path) -> None:
    """Binds over ``/opt/ml``; where there is none, over ``/opt``, a folder with all that is in it and ``ml``."""
    if OPT_ML.is_dir():
        _mount(base, OPT_ML, _MS_BIND | _MS_REC)
        return
    with os.scandir(OPT_ML.parent) as entries:
        for entry in entries:
            _stage(entry, stage / entry.name)
    (stage / OPT_ML.name).mkdir(exist_ok=True)
    _mount(base, stage / OPT_ML.name, _MS_BIND | _MS_REC)
    _mount(stage, OPT_ML.parent, _MS_BIND | _MS_REC)


def _stage(entry: "os.DirEntry[str]", target: Path) -> None:
    if entry.is_symlink():
        target.unlink(missing_ok=True)
        target.symlink_to(Path(entry.path).readlink())
        return
    if entry.is_dir():
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    _mount(entry.path, target, _MS_BIND | _MS_REC)


def _bind_read_only(source: str | Path, target: str | Path) -> None:
    _mount(source, target, _MS_BIND | _MS_REC)
    # A bind takes its flags in a second step; those that were set stay set, or the kernel refuses in a user namespace.
    present = os.statvfs(target).f_flag
    kept = sum(flag for bit, flag in _KEPT_FLAGS.items() if present & bit)
    _mount("none", target, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _mount(source: str | Path, target: str | Path, flags: int) -> None:
    if _libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None) != 0:
        raise _os_error(f"mount on {target}")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise _os_error("prctl")


def _os_error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
