"""`polyport demo`."""

import os
import shlex
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from botocore.exceptions import BotoCoreError, ClientError

from polyport import settings
from polyport.cli import alarm, console
from polyport.cli.demo import client, places, rollout, serving
from polyport.cli.demo.report import Report
from polyport.cli.demo.story import EXAMPLES, DemoFailed, Story, new_suffix
from polyport.cli.demo.tally import Tally
from polyport.cli.demo.workshops import DaemonWorkshop, ProcessWorkshop, Workshop
from polyport.cli.image import showing
from polyport.domain.alarms import AlarmState
from polyport.engines import catalog
from polyport.errors import UsageError


def run(keep: bool, url: str | None, home: Path | None, engine: str) -> None:
    """See `polyport.cli.demo.demo`."""
    with telling() as report, tempfile.TemporaryDirectory(prefix="polyport-demo-") as work:
        if url is None:
            with_own_server(Path(work), report, keep, engine)
        else:
            with_server_at(url, home, Path(work), report, keep, engine)


@contextmanager
def telling() -> Iterator[Report]:
    """A report to tell a story with. What goes wrong in it is one line and exit status 1; SIGTERM tidies up too."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        yield Report(console.out)
    except (DemoFailed, client.EndpointFailed, ClientError, BotoCoreError) as error:
        console.err.print(f"polyport demo: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error


def with_own_server(work: Path, report: Report, keep: bool, engine: str) -> None:
    """Start one, on any free port and with a home of its own; stop it in the end."""
    with places.own_home(places.cache_folder()) as home:
        settled = catalog.settle(settings.load({"home": home, "engine": engine}, os.environ))
        story = Story(home, work, report, workshop(settled))
        prepare(story)
        with report.step("Start polyport serve") as step:
            server = serving.Server(home, settled.engine, settled.docker_host)
            try:
                url = server.wait()
            except BaseException:
                server.stop()
                raise
            step.result = url
        with server:
            tell(story, report, url, own=True, keep=keep)
            if keep:
                server.keep()
                console.out.print(f"The server goes on until: kill {server.process.pid}", highlight=False)
                return
            with report.step("Stop polyport serve"):
                server.stop()


def with_server_at(url: str, home: Path | None, work: Path, report: Report, keep: bool, engine: str) -> None:
    """Use one that runs. Its home must be known: images are built and archives are laid there."""
    if not serving.healthy(url):
        raise UsageError(f"There is no Polyport at {url}: GET {url.rstrip('/')}/healthz does not answer 200.")
    loaded = settings.load({"engine": engine, **({"home": home} if home else {})}, os.environ)
    story = Story(loaded.home, work, report, workshop(catalog.settle(loaded)), new_suffix())
    prepare(story)
    tell(story, report, url, own=False, keep=keep)


def workshop(settled: settings.Settings) -> Workshop:
    """By the engine of the server that the demo uses."""
    return DaemonWorkshop(settled) if settled.engine == "docker" else ProcessWorkshop(settled.home)


def prepare(story: Story) -> None:
    """What needs no server."""
    story.build_images()
    story.train()


def tell(story: Story, report: Report, url: str, own: bool, keep: bool) -> None:
    """The part that uses a server, and what was learnt."""
    serving.point_clients_at(url, own)
    with tidied_up(story, own):
        story.time_alone()
        sagemaker, runtime = client.control_client(), client.runtime_client()
        story.create(sagemaker)
        story.invoke_direct(runtime)
        story.go_serial(sagemaker)
        story.invoke_serial(runtime)
        if not keep:
            story.delete(sagemaker)
    console.out.print(report.table())
    console.out.print(story.verdict(), highlight=False)
    if keep:
        say_how_to_play(story, url)


def run_update(engine: str) -> None:
    """See `polyport.cli.demo.update`."""
    with telling() as report, places.own_home(places.cache_folder()) as home:
        settled = catalog.settle(settings.load({"home": home, "engine": engine}, os.environ))
        with report.step(f"Build the image {rollout.IMAGE}") as step:
            alias = f"{client.REGISTRY}/{rollout.IMAGE}:demo"
            workshop(settled).build(rollout.IMAGE, EXAMPLES / rollout.IMAGE, showing.narrate(step.say), alias)
        with serving.Server(home, settled.engine, settled.docker_host) as server:
            serving.point_clients_at(server.wait(), own=True)
            tell_update(rollout.Rollout(console.out, report, lambda: set_alarm(home)))


def tell_update(story: rollout.Rollout) -> None:
    """Both updates under the same clients. Raises `DemoFailed` when a call failed."""
    story.create()
    with Tally(rollout.ENDPOINT) as tally:
        for update in (story.go_well, story.go_back):
            before = tally.calls
            result = update(tally)
            console.out.print(result, highlight=False, markup=False, soft_wrap=True)
            if tally.failures:
                raise DemoFailed(f"{len(tally.failures)} of {tally.calls} calls failed; {tally.failures[0]}")
            console.out.print(f"{tally.calls - before} calls meanwhile, none failed.", highlight=False)
    story.delete()


def set_alarm(home: Path) -> None:
    """What `polyport alarm set` does."""
    alarm.set_state(rollout.ALARM, AlarmState.ALARM, home=home)


@contextmanager
def tidied_up(story: Story, own: bool) -> Iterator[None]:
    """Nothing stays on another's server when the demo fails or is interrupted. One of its own goes away as a whole."""
    try:
        yield
    except BaseException:
        if not own:
            story.abandon(client.control_client())
        raise


def say_how_to_play(story: Story, url: str) -> None:
    """The environment and calls to paste."""
    for name, value in serving.exports(url).items():
        console.out.print(f"export {name}={shlex.quote(value)}", highlight=False, soft_wrap=True)
    console.out.print(f"\n{story.examples()}\n", highlight=False, markup=False, soft_wrap=True)
