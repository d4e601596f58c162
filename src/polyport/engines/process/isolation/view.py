"""What a container under bubblewrap sees of the file system, as arguments of ``bwrap``.

Everything that is not named here is not there. Later mounts go on top of earlier ones, so what lies deeper comes later.
"""

import glob
import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from polyport.engines.process import folders
from polyport.engines.process.isolation import mounts
from polyport.engines.process.program import Program

#: Where programs and libraries are on every Linux; those of them that are links stay links.
SYSTEM: Final = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
#: Of ``/etc``, what programs read to work at all. The rest is the configuration of other services, passwords included.
ETC: Final = (
    "alternatives",
    "ca-certificates",
    "ca-certificates.conf",
    "crypto-policies",
    "fonts",
    "gai.conf",
    "host.conf",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "locale.alias",
    "magic",
    "mime.types",
    "nsswitch.conf",
    "OpenCL",
    "os-release",
    "pki/ca-trust",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
    "vulkan",
)
#: How many processors there are, and how much of them is ours: numerical libraries choose their threads by it.
SYS: Final = ("devices/system/cpu", "devices/system/node", "fs/cgroup/cpu.max", "fs/cgroup/memory.max")
#: Graphics processors. With one of them ``/sys`` is shown whole: their drivers look for the device there.
DEVICES: Final = ("/dev/nvidia*", "/dev/dri", "/dev/kfd", "/dev/dxg")
#: Made for each container, in its folder: the host's would name the host's users and not the container.
IDENTITY: Final = ("passwd", "group", "hosts")

_TMP = Path("/tmp")  # noqa: S108 - the container's own


def arguments(program: Program) -> list[str]:
    """All mounts, in order."""
    return [
        *_system(),
        *device_arguments([path for pattern in DEVICES for path in sorted(glob.glob(pattern))]),  # noqa: PTH207 - absolute
        *_temporary(program),
        *_read_only(program),
        *_own(program),
        *("--remount-ro", "/dev", "--remount-ro", "/"),
    ]


def write_identity(program: Program) -> None:
    """Who the container's user is, and what its own host name means."""
    uid = os.getuid() if program.user is None else program.user
    gid = os.getgid() if program.user is None else program.user
    home = program.folder / folders.HOME
    names = {"root": f"root:x:0:0:root:{home if uid == 0 else '/'}:/bin/sh\n"}
    groups = {"root": "root:x:0:\n"}
    if uid != 0:
        names["container"] = f"container:x:{uid}:{gid}:container:{home}:/bin/sh\n"
        groups["container"] = f"container:x:{gid}:\n"
    names["nobody"] = "nobody:x:65534:65534:nobody:/:/usr/sbin/nologin\n"
    groups["nogroup"] = "nogroup:x:65534:\n"
    hosts = f"127.0.0.1 localhost {program.hostname}\n::1 localhost ip6-localhost ip6-loopback\n"
    texts = ("".join(names.values()), "".join(groups.values()), hosts + _hosts_of_the_machine(program))
    folder = program.folder / folders.ETC
    folder.mkdir(exist_ok=True)
    for name, text in zip(IDENTITY, texts, strict=True):
        (folder / name).write_text(text, encoding="utf-8")
        (folder / name).chmod(0o644)


def _hosts_of_the_machine(program: Program) -> str:
    """A container without network cannot reach any of them."""
    if program.network_isolation:
        return ""
    try:
        lines = Path("/etc/hosts").read_text("utf-8", "replace").splitlines()
    except OSError:
        return ""
    return "".join(f"{line}\n" for line in lines if "localhost" not in line.split())


def _system() -> list[str]:
    found: list[str] = []
    for name in SYSTEM:
        path = Path(name)
        if path.is_symlink():
            found += ["--symlink", str(path.readlink()), name]
        elif path.is_dir():
            found += _bind("--ro-bind", name)
    for name in ETC:
        if Path("/etc", name).exists():
            found += _bind("--ro-bind", f"/etc/{name}")
    return [*found, "--proc", "/proc", "--dev", "/dev", "--perms", "1777", "--tmpfs", "/dev/shm"]  # noqa: S108


def _bind(option: str, source: str, target: str = "") -> list[str]:
    """With the folders above it, which bwrap would close to all but itself."""
    target = target or source
    above = [str(folder) for folder in reversed(Path(target).parents)][1:]
    return [*(word for folder in above for word in ("--dir", folder)), option, source, target]


def device_arguments(found: Iterable[str]) -> list[str]:
    """For these graphics processors, if any."""
    devices = [word for path in found for word in _bind("--dev-bind", path)]
    if devices:
        return [*devices, "--ro-bind", "/sys", "/sys"]
    return [word for name in SYS if Path("/sys", name).exists() for word in _bind("--ro-bind", f"/sys/{name}")]


def _temporary(program: Program) -> list[str]:
    """``/tmp`` is on the disk, but where something else must appear below it: there mount points are made by us, and
    never in a folder that the container could have filled with links."""
    if any(_TMP in path.parents for path in (program.folder, *map(Path, _shown(program)))):
        return ["--perms", "1777", "--tmpfs", str(_TMP)]
    return ["--bind", str(program.folder / folders.TMP), str(_TMP)]


def _shown(program: Program) -> list[str]:
    """What it may read, without what the system's folders show anyway, parents first."""
    shown: list[str] = []
    for path in sorted({*program.paths, *program.protected}):
        if os.path.lexists(path) and not _is_there(path, [*SYSTEM, *shown], program.home):
            shown.append(path)
    return shown


def _is_there(path: str, shown: Iterable[str], home: str) -> bool:
    """With one of these folders; but the home is hidden in them, and what is needed of it is shown by itself."""
    above = [folder for folder in shown if Path(path).is_relative_to(folder)]
    if home and Path(path).is_relative_to(home):
        above = [folder for folder in above if Path(folder).is_relative_to(home)]
    return bool(above)


def _is_system(path: str) -> bool:
    return any(Path(path).is_relative_to(folder) for folder in SYSTEM)


def _read_only(program: Program) -> list[str]:
    """Polyport's own home is hidden, should one of the paths lie above it; what is needed of it comes afterwards."""
    shown = _shown(program)
    above = [path for path in shown if _contains(path, program.home)]
    below = [path for path in shown if path not in above]
    hidden = ["--tmpfs", program.home] if program.home and (above or _is_system(program.home)) else []
    return [*_show(above), *hidden, *_show(below)]


def _contains(path: str, home: str) -> bool:
    return bool(home) and Path(home).is_relative_to(path)


def _show(paths: Iterable[str]) -> list[str]:
    found: list[str] = []
    for path in paths:
        if stat.S_ISLNK(os.lstat(path).st_mode):
            found += _bind("--symlink", str(Path(path).readlink()), path)
        else:
            found += _bind("--ro-bind", path)
    return found


def _own(program: Program) -> list[str]:
    found = [word for path in program.own_folders for word in _bind("--bind", str(path))]
    found += _bind("--bind", str(program.base), str(mounts.OPT_ML))
    for path, source in sorted(program.artifacts.items()):
        for base in (program.base, mounts.OPT_ML):
            found += ["--ro-bind", source, str(base / path)]
    for name in IDENTITY:
        found += _bind("--ro-bind", str(program.folder / folders.ETC / name), f"/etc/{name}")
    return found
