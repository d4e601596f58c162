"""What keeps containers to themselves here, and how to get more."""

import os
import pwd
from collections.abc import Iterator
from pathlib import Path

from polyport.cli.doctor.findings import OK, TROUBLE, WARNING, Finding, Machine
from polyport.engines.process import isolation
from polyport.engines.process.isolation import probe

_LEVELS = {
    isolation.BUBBLEWRAP: "each container has a view of the files, a process list and a host name of its own",
    isolation.MOUNTS: "containers see this machine's files and processes; each has its own /opt/ml",
    isolation.NONE: "containers are plain processes of this machine",
}


def check_isolation(machine: Machine) -> Iterator[Finding]:
    """Which level is in force, and why not a better one."""
    name, level = "isolation", machine.choice.level
    if machine.demand:
        yield Finding(name, TROUBLE, machine.demand, _how_to_get_bubblewrap(machine))
        return
    found = f"{level}: {_LEVELS[level]}"
    if level == isolation.BUBBLEWRAP:
        yield Finding(name, OK, f"{found} ({machine.found.program})")
    elif not machine.found.bubblewrap:
        yield Finding(name, WARNING, found, f"bubblewrap works here: set isolation = 'auto' (it is {level!r}).")
    else:
        yield Finding(
            name, WARNING, f"{found}; bubblewrap: {machine.found.bubblewrap}", _how_to_get_bubblewrap(machine)
        )


def check_model_view(machine: Machine) -> Iterator[Finding]:
    """Whether model data is at /opt/ml/model, as in SageMaker."""
    if machine.choice.level == isolation.NONE:
        yield Finding(
            "/opt/ml",
            WARNING,
            f"model data is at SAGEMAKER_BASE_DIR only, not write-protected (mounts: {machine.found.mounts or 'off'})",
            "Programs that read /opt/ml/model need bubblewrap, or mounts in a namespace of their own.",
        )
    else:
        yield Finding("/opt/ml", OK, "each container sees its own model data at /opt/ml/model, read-only")


def check_network(machine: Machine) -> Iterator[Finding]:
    """Whether EnableNetworkIsolation can be kept."""
    problem = machine.choice.network_problem
    if problem:
        yield Finding("network isolation", WARNING, problem, _how_to_get_bubblewrap(machine))
    else:
        yield Finding("network isolation", OK, "EnableNetworkIsolation leaves a container its own loopback only")


def check_users(machine: Machine) -> Iterator[Finding]:
    """Who containers run as."""
    name, wanted = "container users", machine.settings.container_user_range
    if machine.choice.users is not None:
        clashes = ", ".join(_others_in(range(*machine.choice.users)))
        if clashes:
            yield Finding(
                name, WARNING, f"ids {wanted} are also those of {clashes}", "Set container_user_range to unused ids."
            )
        else:
            yield Finding(name, OK, f"each container runs as a user of its own (ids {wanted})")
        return
    who = f"containers run as this user ({os.getuid()})"
    if os.getuid() == 0:
        advice = "Set container_users = 'auto'." if machine.settings.container_users == "off" else ""
        yield Finding(name, WARNING, who, advice or "It needs bubblewrap or mounts; see isolation.")
    elif machine.choice.level == isolation.BUBBLEWRAP:
        yield Finding(name, OK, f"{who}, each in a sandbox that shows nothing else of it")
    else:
        yield Finding(name, WARNING, who, "With bubblewrap they would not reach this user's files and processes.")


def check_paths(machine: Machine) -> Iterator[Finding]:
    """Whether what containers are to see is there."""
    for path in machine.settings.container_paths:
        if not path.startswith("/"):
            yield Finding("container_paths", TROUBLE, f"{path!r} is no absolute path", "Give paths that begin with /.")
        elif not Path(path).exists():
            yield Finding("container_paths", TROUBLE, f"{path} does not exist", "Take it out of the setting.")


def check_compiler(_: Machine) -> Iterator[Finding]:
    """So that nobody goes looking for one."""
    yield Finding("compiler", OK, "none is needed, but for packages of images that come without a wheel")


def _how_to_get_bubblewrap(machine: Machine) -> str:
    if machine.found.program is None:
        return f"{probe.INSTALL}."
    hints = [advice for path, closed, advice in _SWITCHES if _read(path) == closed]
    if Path("/.dockerenv").exists() or Path("/run/.containerenv").exists():
        hints.append("This is a container: it needs --cap-add SYS_ADMIN and --security-opt seccomp=unconfined.")
    return " ".join(hints) or f"See why with: {machine.found.program} --unshare-all --ro-bind / / --proc /proc true"


#: Where kernels and distributions turn off what bubblewrap needs, and how to turn it on.
_SWITCHES: tuple[tuple[str, str, str], ...] = (
    ("user/max_user_namespaces", "0", "sysctl user.max_user_namespaces=10000"),
    ("kernel/unprivileged_userns_clone", "0", "sysctl kernel.unprivileged_userns_clone=1"),
    (
        "kernel/apparmor_restrict_unprivileged_userns",
        "1",
        "AppArmor keeps users from namespaces: install its profile for bwrap (Ubuntu: apt install apparmor-profiles).",
    ),
)


def _read(switch: str) -> str:
    try:
        return Path("/proc/sys", switch).read_text("ascii").strip()
    except OSError:
        return ""


def _others_in(ids: range) -> Iterator[str]:
    """Users of this machine, and ranges given to users for containers of theirs, that have some of these ids."""
    yield from (f"user {user.pw_name}" for user in pwd.getpwall() if user.pw_uid in ids)
    try:
        lines = Path("/etc/subuid").read_text("utf-8", "replace").splitlines()
    except OSError:
        return
    for line in lines:
        name, _, numbers = line.partition(":")
        first, _, count = numbers.partition(":")
        if first.isdigit() and count.isdigit() and int(first) < ids.stop and int(first) + int(count) > ids.start:
            yield f"/etc/subuid of {name}"
