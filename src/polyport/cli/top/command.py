"""`polyport top` itself: when it looks, and where it shows what it sees."""

import asyncio
import json
import os
import signal
import time
from contextlib import suppress
from typing import Annotated

import msgspec
import typer
from rich.live import Live

from polyport import settings
from polyport.cli import console
from polyport.cli.access import desk
from polyport.cli.access.desk import AsJson
from polyport.cli.top import drawing, picture
from polyport.cli.top.home import Home, Narrow
from polyport.errors import StoreError, UsageError

ORDERS = ", ".join(picture.ORDERS)


def top(
    endpoint: Annotated[
        str | None, typer.Argument(metavar="[ENDPOINT]", help="Show this endpoint alone, by default all.")
    ] = None,
    interval: Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between two looks.")] = 1.0,
    sort: Annotated[str, typer.Option(help=f"What goes first, the most of it: {ORDERS}.", metavar="BY")] = "load",
    once: Annotated[bool, typer.Option("--once", help="Look once, and end.")] = False,
    as_json: AsJson = False,
    account: Annotated[str | None, typer.Option(help="Only of this AWS account (12 digits).")] = None,
    region: Annotated[str | None, typer.Option(help="Only of this region.")] = None,
    home: desk.Home = None,
) -> None:
    """Watch a running server: endpoints, variants, instances and containers, with calls, latencies, errors, CPU and
    memory. Ctrl-C ends it.

    Where no terminal is, or with --json, it looks once.
    """
    if sort not in picture.ORDERS:
        raise UsageError(f"--sort {sort}: give one of {ORDERS}.")
    loaded = settings.load({"home": home} if home else {}, os.environ)
    narrow = Narrow(endpoint, account, region)
    live = console.out.is_terminal and not once and not as_json
    # Whatever ends it, the terminal is as it was.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(loaded, narrow, sort, interval if live else None, as_json=as_json))


async def _run(loaded: settings.Settings, narrow: Narrow, order: str, interval: float | None, *, as_json: bool) -> None:
    home = Home(loaded, narrow, order)
    await home.open()
    try:
        seen = await home.look(time.time())
        if interval is not None:
            await _watch(home, seen, interval)
        elif as_json:
            typer.echo(json.dumps(msgspec.to_builtins(seen), indent=2))
        elif console.out.is_terminal:
            console.out.print(drawing.draw(seen, console.out.width), no_wrap=True, highlight=False)
        else:
            typer.echo(drawing.draw(seen).plain)
    finally:
        await home.close()


async def _watch(home: Home, seen: picture.Picture, interval: float) -> None:
    """On a screen of its own, drawn in one piece each time; what was there before comes back at the end."""
    with Live(
        console=console.out, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False
    ) as live:
        while True:
            size = console.out.size
            live.update(drawing.draw(seen, size.width, size.height), refresh=True)
            await asyncio.sleep(interval)
            # A server that begins or ends just now may hold the rows: the next look will do.
            with suppress(StoreError):
                seen = await home.look(time.time())
