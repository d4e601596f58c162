"""`polyport doctor ENDPOINT`: what happened to each of its containers, the cause of what is wrong, and the fix.

It reads what control has noted beside the logs, so it can tell of instances that are gone, of deleted endpoints, and
while no server runs.
"""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import typer

from polyport import settings
from polyport.cli import console
from polyport.cli.cases import Case
from polyport.control import chronicle, plan
from polyport.domain.endpoints import Endpoint
from polyport.domain.events import Event
from polyport.domain.names import Owner
from polyport.engines import logs
from polyport.errors import UsageError
from polyport.store import Store, sqlite_url

#: Of the instances that are no more, so many are told of: the latest.
LATEST = 3


def examine(loaded: settings.Settings, name: str, account: str | None, region: str | None, *, as_json: bool) -> None:
    """Print it. Raises `UsageError` when nothing is known of such an endpoint, `typer.Exit` when something is wrong."""
    owner = Owner(account or loaded.account_id, region or loaded.region)
    endpoint = _row(loaded, owner, name)
    cases = list(_cases(loaded, owner, name, endpoint))
    if endpoint is None and not cases:
        raise UsageError(f"Nothing is known of an endpoint {name} of account {owner.account} in {owner.region}.")
    wrong = _wrong(endpoint, cases)
    if as_json:
        typer.echo(json.dumps(_report(name, endpoint, cases, wrong), indent=2))
    else:
        for line in _lines(name, endpoint, cases, wrong):
            console.out.print(line, highlight=False, markup=False, soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


def _row(loaded: settings.Settings, owner: Owner, name: str) -> Endpoint | None:
    database = loaded.home / "polyport.db"
    if not database.exists():
        return None

    async def main() -> Endpoint | None:
        store = Store(sqlite_url(database))
        await store.open(upgrade=False)
        try:
            return await store.get_endpoint(owner, name)
        finally:
            await store.close()

    return asyncio.run(main())


def _cases(loaded: settings.Settings, owner: Owner, name: str, endpoint: Endpoint | None) -> Iterator[Case]:
    """Those of the endpoint now, and the latest of those that were; oldest first."""
    labels = {"account": owner.account, "region": owner.region, "endpoint": name}
    live = {row.id for row in plan.all_instances(endpoint.state)} if endpoint else set()
    cases = []
    for variant, instance, path in chronicle.find(loaded.home, labels):
        events = tuple(chronicle.read(path))
        if endpoint is None or not events or events[-1].at >= endpoint.created_at:
            tails = {log.stem: logs.read_tail(log) for log in sorted(path.parent.glob("*.log"))} if instance else {}
            cases.append(Case(instance, variant, instance in live, events, tails))
    cases.sort(key=lambda case: case.events[0].at if case.events else 0.0)
    gone = [case for case in cases if not case.is_live]
    dropped = gone[: max(0, len(gone) - LATEST)]
    yield from (case for case in cases if case not in dropped)


def _wrong(endpoint: Endpoint | None, cases: list[Case]) -> list[tuple[Case, Event]]:
    """What is wrong: with live instances, or with the latest that were when the endpoint failed. Each cause once."""
    failed = endpoint is None or bool(endpoint.state.failure_reason)
    chosen = [case for case in cases if case.is_live] or (cases[-1:] if failed else [])
    told: dict[tuple[str, str], tuple[Case, Event]] = {}
    for case in chosen:
        for event in case.findings.values():
            told.setdefault((event.hostname, event.cause), (case, event))
    return list(told.values())


def _lines(name: str, endpoint: Endpoint | None, cases: list[Case], wrong: list[tuple[Case, Event]]) -> Iterator[str]:
    yield f"Endpoint {name} is {endpoint.status if endpoint else 'gone; this is what is known of it'}."
    for case in cases:
        yield ""
        title = f"Instance {case.instance}" if case.instance else "Before there was an instance"
        yield f"{title}, variant {case.variant}{'' if case.is_live or not case.instance else ' (gone)'}"
        for event in sorted(case.events, key=lambda event: event.at):
            where = f"{event.hostname}: " if event.hostname else ""
            yield f"  {_time(event.at)}  {event.kind:<9} {where}{event.text.splitlines()[0] if event.text else ''}"
    yield ""
    if not wrong:
        reason = endpoint.state.failure_reason if endpoint else ""
        yield reason or "Nothing is known to be wrong."
    for case, event in wrong:
        where = f"Container {event.hostname}" if event.hostname else f"Variant {case.variant}"
        yield f"{where}, {event.cause}:"
        yield f"  Cause: {event.text}"
        yield f"  Fix: {event.fix}"
        output = event.output or case.output.get(event.hostname, ())
        if output:
            yield "  Its last output:"
            yield from (f"    {line}" for line in output)


def _report(name: str, endpoint: Endpoint | None, cases: list[Case], wrong: list[tuple[Case, Event]]) -> dict[str, Any]:
    return {
        "endpoint": name,
        "status": str(endpoint.status) if endpoint else None,
        "failure_reason": (endpoint.state.failure_reason if endpoint else "") or None,
        "wrong": [
            {
                "instance": case.instance,
                "variant": case.variant,
                "container": event.hostname,
                "name": event.cause,
                "cause": event.text,
                "fix": event.fix,
                "output": list(event.output or case.output.get(event.hostname, ())),
            }
            for case, event in wrong
        ],
        "instances": [
            {
                "id": case.instance,
                "variant": case.variant,
                "live": case.is_live,
                "events": [
                    {"at": _time(event.at), "kind": event.kind, "container": event.hostname, "text": event.text}
                    for event in sorted(case.events, key=lambda event: event.at)
                ],
                "output": case.output,
            }
            for case in cases
        ],
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
