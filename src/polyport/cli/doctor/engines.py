"""What can start containers here: plain processes, and each Docker or Podman whose socket there is."""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from polyport.cli.doctor import home
from polyport.cli.doctor.findings import OK, TROUBLE, WARNING, Finding, Machine
from polyport.engines.docker import daemon
from polyport.errors import UsageError

#: Seconds that one socket may take. A daemon that answers later than that makes starts slow, too.
PATIENCE = 5.0
START = "Start one (systemctl start docker, or systemctl --user start podman.socket), or set docker_host."


def check_engines(machine: Machine) -> Iterator[Finding]:
    """The engine that the settings ask for comes first."""
    wanted = machine.settings.engine
    yield Finding("engine", OK, f"the setting engine is {wanted}")
    if sys.platform == "linux":
        yield Finding("process", OK, "containers run as processes of this machine, from images that Polyport builds")
    else:
        state = TROUBLE if wanted == "process" else WARNING
        yield Finding("process", state, "the process engine needs Linux", "Set engine = 'docker'.")
    yield from _check_daemons(machine)


def _check_daemons(machine: Machine) -> Iterator[Finding]:
    needed = machine.settings.engine == "docker"
    try:
        daemon.check_installed()
    except UsageError as error:
        yield Finding("docker", TROUBLE if needed else OK, "its client is not installed", str(error) if needed else "")
        return
    urls = daemon.candidates(machine.settings.docker_host, os.environ)
    answers = asyncio.run(_ask_all(urls))
    if not any(isinstance(answer, list) for answer in answers):
        found = (
            f"no Docker or Podman answers at {', '.join(urls)}" if needed else "none answers; other engines need none"
        )
        yield Finding("docker", TROUBLE if needed else OK, found, START if needed else "")
    for url, answer in zip(urls, answers, strict=True):
        if isinstance(answer, list):
            yield from answer
        elif not answer.startswith(daemon.ABSENT):
            yield Finding("docker", WARNING, f"{url} is there, but gives no answer: {answer}", _how_to_reach(answer))


async def _ask_all(urls: tuple[str, ...]) -> list[list[Finding] | str]:
    """Of each what it is, or why it does not answer."""
    return await asyncio.gather(*(_ask(url) for url in urls))


async def _ask(url: str) -> list[Finding] | str:
    try:
        async with asyncio.timeout(PATIENCE):
            found = await daemon.probe(url)
    except TimeoutError:
        return f"nothing within {PATIENCE:g} s"
    except Exception as error:  # noqa: BLE001  whatever it is, it is no daemon that answers
        return daemon.explain(error)
    async with asyncio.timeout(PATIENCE):
        await found.close()
    return list(_describe(found))


def _describe(found: daemon.Daemon) -> Iterator[Finding]:
    rights = "rootless" if found.is_rootless else "rootful"
    reached = "containers are reached by their address" if found.is_routable else "containers are reached by ports"
    yield Finding(found.kind, OK, f"{found.kind} {found.version} at {found.url}, {rights}: {reached}")
    # Of a daemon elsewhere, or one whose files are not shown to us, nothing can be said.
    if found.url.startswith("unix://") and found.root and os.access(found.root, os.R_OK):
        yield from home.describe_disk(f" of {found.kind}'s images", Path(found.root))


def _how_to_reach(answer: str) -> str:
    if "ermission" in answer:
        return "Let this user use it (for Docker: the group docker), or run a rootless Podman of its own."
    return "Restart it, or remove its socket when it is gone for good."
