"""The system calls that Python 3.11 has no function for. Each raises `OSError`."""

import ctypes
import os
import platform
from pathlib import Path
from typing import Final

CLONE_NEWNS: Final = 0x00020000
CLONE_NEWUTS: Final = 0x04000000
CLONE_NEWIPC: Final = 0x08000000
CLONE_NEWUSER: Final = 0x10000000
CLONE_NEWPID: Final = 0x20000000
CLONE_NEWNET: Final = 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND, MS_REC, MS_PRIVATE = 0x1, 0x2, 0x4, 0x20, 0x1000, 0x4000, 0x40000

_CLONE_PARENT = 0x00008000
_SIGCHLD = 17
#: The number of `clone`, which the C library wraps in a way that wants a stack, by machine.
_CLONE_NUMBERS = {"x86_64": 56, "aarch64": 220, "riscv64": 220, "ppc64le": 120}
#: The number of `keyctl`, for which the C library has no function.
_KEYCTL_NUMBERS = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271}
_KEYCTL_JOIN_SESSION_KEYRING = 1
_PR_SET_PDEATHSIG, _PR_CAPBSET_DROP, _PR_SET_CHILD_SUBREAPER, _PR_SET_NO_NEW_PRIVS = 1, 24, 36, 38
_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITY = 63

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)
_libc.syscall.restype = ctypes.c_long


def mount(source: str | Path, target: str | Path, flags: int, kind: str | None = None, options: str = "") -> None:
    """mount(2)."""
    texts = (os.fsencode(source), os.fsencode(target), kind.encode() if kind else None)
    if _libc.mount(*texts, flags, options.encode() or None) != 0:
        raise _error(f"mount on {target}")


def unshare(flags: int) -> None:
    """unshare(2)."""
    if _libc.unshare(flags) != 0:
        raise _error("unshare")


def setns(fd: int, flags: int) -> None:
    """setns(2) with a process as ``fd`` (`os.pidfd_open`): enters all the named namespaces of it, or none."""
    if _libc.setns(fd, flags) != 0:
        raise _error("setns")


def fork_sibling() -> int:
    """fork(2), but the child's parent is the caller's own: who waits for the caller waits for the child as well.

    For a process with one thread, and a child that soon executes a program: the C library does not know of it.
    """
    number = _CLONE_NUMBERS.get(platform.machine())
    if number is None:
        raise OSError(f"no sandbox can be entered on {platform.machine()}")
    arguments = (ctypes.c_ulong(_CLONE_PARENT | _SIGCHLD), *[ctypes.c_ulong(0)] * 4)
    pid: int = _libc.syscall(ctypes.c_long(number), *arguments)
    if pid < 0:
        raise _error("clone")
    return pid


def die_with_parent() -> None:
    """Has the kernel kill the calling process once its parent ends. Forgotten by the kernel when the user changes."""
    _prctl(_PR_SET_PDEATHSIG, 9)


def adopt_orphans() -> None:
    """Makes the calling process the parent of descendants whose own parent ends."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def leave_keyring() -> None:
    """The calling process gets an empty session keyring: the server's may hold keys of its user's disks and shares.
    A kernel without keyrings, or that refuses, is fine: there is nothing to be had then."""
    number = _KEYCTL_NUMBERS.get(platform.machine())
    if number is not None:
        _libc.syscall(ctypes.c_long(number), ctypes.c_ulong(_KEYCTL_JOIN_SESSION_KEYRING), *[ctypes.c_ulong(0)] * 4)


def forbid_new_privileges() -> None:
    """No program that the calling process executes gets more than it has: setuid bits and the like have no effect."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def bound_capabilities() -> None:
    """Nothing that the calling process executes will have a capability, whoever its user is."""
    for capability in range(_MAX_CAPABILITY + 1):
        try:
            _prctl(_PR_CAPBSET_DROP, capability)
        except PermissionError:
            return  # it has none, and cannot get any once new privileges are forbidden
        except OSError:
            return  # the kernel knows no higher one


def drop_capabilities() -> None:
    """The calling process has none from here on."""
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    data = (ctypes.c_uint32 * 6)()
    if _libc.capset(header, data) != 0:
        raise _error("capset")


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        raise _error("prctl")


def _error(what: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{what}: {os.strerror(number)}")
