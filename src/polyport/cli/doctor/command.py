"""`polyport doctor` itself: runs the checks, none of which may hold up the others, and shows what they find."""

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Generic, TypeVar

import msgspec
import typer
from rich.markup import escape
from rich.table import Table

from polyport import settings
from polyport.cli import console, patient
from polyport.cli.access.desk import Account
from polyport.cli.doctor import clock, engines, isolation, ports
from polyport.cli.doctor import home as homes
from polyport.cli.doctor.findings import OK, TROUBLE, WARNING, Finding, Machine
from polyport.cli.endpoints import Region
from polyport.cli.image.commands import Home, load
from polyport.engines.process.isolation import probe

#: Seconds that all checks together may take.
PATIENCE = 20.0
Found = TypeVar("Found")
Check = Callable[[Machine], Iterator[Finding]]
_COLOURS = {OK: "green", WARNING: "yellow", TROUBLE: "red"}

#: A check is a function that yields findings; in the order of the table.
CHECKS: tuple[Check, ...] = (
    homes.check_versions,
    ports.check_server,
    ports.check_ports,
    engines.check_engines,
    isolation.check_isolation,
    isolation.check_model_view,
    isolation.check_network,
    isolation.check_users,
    isolation.check_paths,
    homes.check_home,
    homes.check_disk,
    clock.check_clock,
    isolation.check_compiler,
)


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
    """Check this machine: ports, engines, isolation, disk, versions and clock; what is wrong or weaker than it could
    be, and what to do. With an endpoint: what happened to each of its containers, the cause of what is wrong, and the
    fix.

    Exit status 1 when there is trouble, or when something is wrong with the endpoint.
    """
    loaded = load(home)
    if endpoint is not None:
        patient.examine(loaded, endpoint, account, region, as_json=as_json)
        return
    findings = list(look_over(loaded))
    if as_json:
        typer.echo(json.dumps([msgspec.structs.asdict(finding) for finding in findings], indent=2))
    elif console.out.is_terminal:
        console.out.print(_table(findings))
    else:
        for finding in findings:
            typer.echo(
                "\t".join(word for word in (finding.state, finding.check, finding.found, finding.advice) if word)
            )
    _leave(int(any(finding.state == TROUBLE for finding in findings)))


def look_over(loaded: settings.Settings, patience: float = PATIENCE) -> Iterator[Finding]:
    """All checks at the same time, told in their order; one that takes longer than that is a finding of its own."""
    found = _Running(probe.find).wait(time.monotonic() + patience)
    machine = Machine(loaded, found or probe.Found(*["trying it took too long"] * 3))
    until = time.monotonic() + patience
    running = [(check, _Running(partial(_list, check, machine))) for check in CHECKS]
    for check, each in running:
        findings = each.wait(until)
        if findings is None:
            name = check.__name__.removeprefix("check_")
            advice = "Something that it looks at hangs: a disk, a daemon, or a network file system."
            yield Finding(name, TROUBLE, f"nothing was found out within {patience:g} s", advice)
        else:
            yield from findings


def _list(check: Check, machine: Machine) -> list[Finding]:
    return list(check(machine))


def examine(machine: Machine) -> Iterator[Finding]:
    """All checks, one after the other."""
    for check in CHECKS:
        yield from check(machine)


class _Running(Generic[Found]):
    """Work that is not waited for longer than one likes; its thread ends with the program."""

    def __init__(self, work: Callable[[], Found]) -> None:
        self._result: Found | None = None
        self._error: Exception | None = None
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def wait(self, until: float) -> Found | None:
        """Its result, or ``None`` when it has none by then (monotonic seconds). Raises what it raised."""
        self._thread.join(max(0.0, until - time.monotonic()))
        if self._error is not None:
            raise self._error
        return None if self._thread.is_alive() else self._result

    def _run(self) -> None:
        try:
            self._result = self._work()
        except Exception as error:  # noqa: BLE001  raised again where it is waited for
            self._error = error


def _leave(status: int) -> None:
    """What still hangs would hold up an ordinary end."""
    if any(thread.daemon and thread.is_alive() for thread in threading.enumerate()):
        sys.stdout.flush()
        os._exit(status)
    if status:
        raise typer.Exit(status)


def _table(findings: list[Finding]) -> Table:
    """For a terminal."""
    table = Table("Check", "State", "Found", "What to do", box=None, pad_edge=False)
    for finding in findings:
        state = f"[{_COLOURS[finding.state]}]{finding.state}[/]"
        table.add_row(finding.check, state, escape(finding.found), escape(finding.advice))
    return table
