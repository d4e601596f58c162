"""`polyport doctor`: what this machine gives, what is weaker than it could be, and how to get more."""

import json
import os
import pwd
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from polyport import settings
from polyport.cli import console, patient
from polyport.cli.access.desk import Account
from polyport.cli.endpoints import Region
from polyport.cli.image.commands import Home, load
from polyport.engines import ports
from polyport.engines.process import isolation
from polyport.engines.process.isolation import probe
from polyport.errors import UsageError

OK, WEAKER, MISSING = "ok", "weaker", "missing"
_COLOURS = {OK: "green", WEAKER: "yellow", MISSING: "red"}

_LEVELS = {
    isolation.BUBBLEWRAP: "each container has a view of the files, a process list and a host name of its own",
    isolation.MOUNTS: "containers see this machine's files and processes; each has its own /opt/ml",
    isolation.NONE: "containers are plain processes of this machine",
}


class Finding(msgspec.Struct, frozen=True):
    """One row. ``state`` is ``ok``, ``weaker`` (it works, more is possible) or ``missing`` (the settings demand it)."""

    check: str
    state: str
    found: str
    #: How to get more; empty: there is no more.
    advice: str = ""


class Machine:
    """What checks look at: the settings, and what was found out by trying."""

    def __init__(self, loaded: settings.Settings, found: probe.Found) -> None:
        self.settings = loaded
        self.found = found
        self.demand = ""
        try:
            self.choice = probe.choose(loaded, found)
        except UsageError as error:
            self.demand = str(error)
            self.choice = probe.choose(msgspec.structs.replace(loaded, isolation="auto", container_users="off"), found)


def doctor(
    endpoint: Annotated[
        str | None,
        typer.Argument(metavar="[ENDPOINT]", help="Tell what happened to this endpoint's containers instead."),
    ] = None,
    account: Account = None,
    region: Region = None,
    home: Home = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Check what keeps containers to themselves on this machine, and say how to get more. With an endpoint: what
    happened to each of its containers, the cause of what is wrong, and the fix.

    Exit status 1 when something is missing that the settings demand, or when something is wrong with the endpoint.
    """
    loaded = load(home)
    if endpoint is not None:
        patient.examine(loaded, endpoint, account, region, as_json=as_json)
        return
    findings = list(examine(Machine(loaded, probe.find())))
    if as_json:
        typer.echo(json.dumps([msgspec.structs.asdict(finding) for finding in findings], indent=2))
    elif console.out.is_terminal:
        console.out.print(_table(findings))
    else:
        for finding in findings:
            typer.echo(
                "\t".join(word for word in (finding.state, finding.check, finding.found, finding.advice) if word)
            )
    if any(finding.state == MISSING for finding in findings):
        raise typer.Exit(1)


def examine(machine: Machine) -> Iterator[Finding]:
    """All checks, in the order of the table."""
    for check in CHECKS:
        yield from check(machine)


def check_isolation(machine: Machine) -> Iterator[Finding]:
    """Which level is in force, and why not a better one."""
    name, level = "isolation", machine.choice.level
    if machine.demand:
        yield Finding(name, MISSING, machine.demand, _how_to_get_bubblewrap(machine))
        return
    found = f"{level}: {_LEVELS[level]}"
    if level == isolation.BUBBLEWRAP:
        yield Finding(name, OK, f"{found} ({machine.found.program})")
    elif not machine.found.bubblewrap:
        yield Finding(name, WEAKER, found, f"bubblewrap works here: set isolation = 'auto' (it is {level!r}).")
    else:
        yield Finding(name, WEAKER, f"{found}; bubblewrap: {machine.found.bubblewrap}", _how_to_get_bubblewrap(machine))


def check_model_view(machine: Machine) -> Iterator[Finding]:
    """Whether model data is at /opt/ml/model, as in SageMaker."""
    if machine.choice.level == isolation.NONE:
        yield Finding(
            "/opt/ml",
            WEAKER,
            f"model data is at SAGEMAKER_BASE_DIR only, not write-protected (mounts: {machine.found.mounts or 'off'})",
            "Programs that read /opt/ml/model need bubblewrap, or mounts in a namespace of their own.",
        )
    else:
        yield Finding("/opt/ml", OK, "each container sees its own model data at /opt/ml/model, read-only")


def check_network(machine: Machine) -> Iterator[Finding]:
    """Whether EnableNetworkIsolation can be kept."""
    problem = machine.choice.network_problem
    if problem:
        yield Finding("network isolation", WEAKER, problem, _how_to_get_bubblewrap(machine))
    else:
        yield Finding("network isolation", OK, "EnableNetworkIsolation leaves a container its own loopback only")


def check_users(machine: Machine) -> Iterator[Finding]:
    """Who containers run as."""
    name, wanted = "container users", machine.settings.container_user_range
    if machine.choice.users is not None:
        clashes = ", ".join(_others_in(range(*machine.choice.users)))
        if clashes:
            yield Finding(
                name, WEAKER, f"ids {wanted} are also those of {clashes}", "Set container_user_range to unused ids."
            )
        else:
            yield Finding(name, OK, f"each container runs as a user of its own (ids {wanted})")
        return
    who = f"containers run as this user ({os.getuid()})"
    if os.getuid() == 0:
        advice = "Set container_users = 'auto'." if machine.settings.container_users == "off" else ""
        yield Finding(name, WEAKER, who, advice or "It needs bubblewrap or mounts; see isolation.")
    elif machine.choice.level == isolation.BUBBLEWRAP:
        yield Finding(name, OK, f"{who}, each in a sandbox that shows nothing else of it")
    else:
        yield Finding(name, WEAKER, who, "With bubblewrap they would not reach this user's files and processes.")


def check_home(machine: Machine) -> Iterator[Finding]:
    """Whether others may look into the home, and at keys."""
    home = machine.settings.home
    if not home.is_dir():
        yield Finding("home", OK, f"{home} is not there yet; the server makes it")
        return
    open_to_others = home.stat().st_mode & 0o077
    advice = f"chmod 700 {home}" if open_to_others else ""
    found = f"{home} {'can be looked into by other users' if open_to_others else 'is closed to other users'}"
    yield Finding("home", WEAKER if open_to_others else OK, found, advice)
    for path in sorted(home.glob("*.key")):
        if path.stat().st_mode & 0o077:
            yield Finding("key file", WEAKER, f"{path} can be read by other users", f"chmod 600 {path}")
        else:
            yield Finding("key file", OK, f"{path} is its owner's alone")


def check_paths(machine: Machine) -> Iterator[Finding]:
    """Whether what containers are to see is there."""
    for path in machine.settings.container_paths:
        if not path.startswith("/"):
            yield Finding("container_paths", MISSING, f"{path!r} is no absolute path", "Give paths that begin with /.")
        elif not Path(path).exists():
            yield Finding("container_paths", MISSING, f"{path} does not exist", "Take it out of the setting.")


def check_ports(machine: Machine) -> Iterator[Finding]:
    """How many containers there can be."""
    wanted = machine.settings.port_range
    try:
        count = len(ports.list_blocks(wanted))
    except UsageError as error:
        yield Finding("ports", MISSING, str(error), "Set port_range to more ports.")
    else:
        yield Finding("ports", OK, f"{wanted}: room for {count} containers")


def check_compiler(_: Machine) -> Iterator[Finding]:
    """So that nobody goes looking for one."""
    yield Finding("compiler", OK, "none is needed, but for packages of images that come without a wheel")


#: A check is a function that yields findings; more of them go here.
CHECKS: tuple[Callable[[Machine], Iterator[Finding]], ...] = (
    check_isolation,
    check_model_view,
    check_network,
    check_users,
    check_home,
    check_paths,
    check_ports,
    check_compiler,
)


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


def _table(findings: list[Finding]) -> Table:
    """For a terminal."""
    table = Table("Check", "State", "Found", "How to get more", box=None, pad_edge=False)
    for finding in findings:
        state = f"[{_COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row(finding.check, state, escape(finding.found), escape(finding.advice))
    return table
