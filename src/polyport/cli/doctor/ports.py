"""The port of the server, and those of containers: free, or who has them."""

from collections.abc import Iterator
from pathlib import Path

from polyport.cli.doctor.findings import OK, TROUBLE, WARNING, Finding, Machine
from polyport.engines import ports
from polyport.engines.process import diagnose
from polyport.errors import UsageError
from polyport.server import address
from polyport.server import home as homes
from polyport.server import ports as own
from polyport.server.sockets import sockets

#: With fewer places for containers than these there is a warning.
FEW = 10


def check_server(machine: Machine) -> Iterator[Finding]:
    """The server that runs on the home, or the port that one would take."""
    settings = machine.settings
    if homes.is_locked(settings.home):
        yield _running(settings.home)
        return
    where = f"{settings.host}:{settings.port}"
    try:
        own.reserve(settings.host, settings.port).close()
    except UsageError as error:
        pid = diagnose.find_listener(settings.port)
        found = f"{where} is taken by {_name(pid)}" if pid else str(error).partition(". ")[0]
        yield Finding("port", TROUBLE, found, "End it, or choose another port with --port or POLYPORT_PORT.")
    else:
        yield Finding("port", OK, f"no server runs on this home; {where} is free" if settings.port else "any free one")


def check_ports(machine: Machine) -> Iterator[Finding]:
    """How many containers there can be."""
    name, wanted = "container ports", machine.settings.port_range
    try:
        blocks = ports.list_blocks(wanted)
    except UsageError as error:
        yield Finding(name, TROUBLE, str(error), "Set port_range to more ports.")
        return
    taken = diagnose.list_listening()
    free = sum(not any(port in taken for port in range(first, first + ports.BLOCK)) for first in blocks)
    state = TROUBLE if not free else WARNING if free < FEW else OK
    found = f"{wanted}: room for {free} more containers, {len(blocks)} in all"
    yield Finding(name, state, found, "" if state == OK else "Set port_range to more ports.")
    if (outgoing := _outgoing()) and _overlap((blocks[0], blocks[-1] + ports.BLOCK - 1), outgoing):
        yield Finding(
            name,
            WARNING,
            f"{wanted} has ports that this machine also gives to outgoing connections ({outgoing[0]}-{outgoing[1]})",
            "Set port_range to ports outside of net.ipv4.ip_local_port_range.",
        )


def _running(home: Path) -> Finding:
    holder = homes.read_holder(home) or "a server that starts"
    status, facts = address.health(sockets(home).control)
    if not status:
        advice = "It may be starting, or at its end; if this stays, see its log and start it again."
        return Finding("server", TROUBLE, f"{holder} holds this home, but does not answer", advice)
    trouble = facts.get("trouble", "")
    if facts.get("status") != "ok":
        detail = trouble or f"{len(facts.get('gateways', ()))} of {facts.get('workers_expected')} workers are ready"
        return Finding("server", WARNING, f"{holder} is {facts.get('status')}: {detail}", "See engines, and its log.")
    return Finding("server", OK, f"{holder} answers")


def _name(pid: int) -> str:
    try:
        return f"process {pid} ({Path(f'/proc/{pid}/comm').read_text('utf-8').strip()})"
    except OSError:
        return f"process {pid}"


def _outgoing() -> tuple[int, int] | None:
    try:
        low, high = Path("/proc/sys/net/ipv4/ip_local_port_range").read_text("ascii").split()
    except (OSError, ValueError):
        return None
    return int(low), int(high)


def _overlap(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
