"""Finding the daemon: which sockets there may be, which one answers, and what it is."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from polyport.errors import UsageError
from polyport.settings import Settings

if TYPE_CHECKING:
    import aiodocker

#: Seconds that one socket may take to say what it is; Podman answers late while a build holds its storage.
PROBE_TIMEOUT = 20.0
#: Seconds that connecting, and any short request, may take.
CONNECT_TIMEOUT = 5.0

#: What `explain` says of a socket that is not there.
ABSENT = "there is no such socket"

DOCKER = "docker"
PODMAN = "podman"


class NoDaemon(UsageError):
    """Nothing answers at any of the sockets. The text names them."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A daemon that answered, and a client for it, which `close` closes."""

    client: "aiodocker.Docker"
    #: ``docker`` or ``podman``.
    kind: str
    #: It runs as an ordinary user: container addresses cannot be reached from here.
    is_rootless: bool
    version: str
    url: str
    #: Of the machine, memory in bytes; 0 where it does not say.
    cpus: int = 0
    memory: int = 0
    offers_gpus: bool = False
    is_selinux: bool = False
    #: It runs in a virtual machine of Docker Desktop or the like.
    is_desktop: bool = False
    #: Where it keeps images, on its machine.
    root: str = ""

    @property
    def is_routable(self) -> bool:
        """Whether container addresses can be reached from here; else their ports are published on loopback."""
        here = sys.platform == "linux" and self.url.startswith("unix://")
        return here and not self.is_rootless and not self.is_desktop

    async def close(self) -> None:
        """Let go; containers go on."""
        await self.client.close()


async def connect(settings: Settings) -> Daemon:
    """The first daemon that answers.

    Raises `UsageError` when the client is not installed, and `NoDaemon` (one too) with the sockets that were tried when
    none answers.
    """
    check_installed()
    tried: list[str] = []
    for url in candidates(settings.docker_host, os.environ):
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                return await probe(url)
        except TimeoutError:
            tried.append(f"{url} (no answer within {PROBE_TIMEOUT:g} s)")
        except Exception as error:  # noqa: BLE001 - whatever it is: the next socket may be a daemon's
            tried.append(f"{url} ({explain(error)})")
    raise NoDaemon(
        f"No Docker or Podman answers. Tried: {', '.join(tried)}. Start one (systemctl start docker, or "
        "systemctl --user start podman.socket), or set DOCKER_HOST or the setting docker_host."
    )


def candidates(docker_host: str, environ: Mapping[str, str]) -> tuple[str, ...]:
    """The addresses to try, in order. One that was set is the only one; the setting goes before ``DOCKER_HOST``."""
    if chosen := docker_host or environ.get("DOCKER_HOST", ""):
        return (f"unix://{chosen}" if chosen.startswith("/") else chosen,)
    own = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    paths = (
        "/var/run/docker.sock",
        f"{own}/docker.sock",
        str(Path.home() / ".docker/run/docker.sock"),
        "/run/podman/podman.sock",
        f"{own}/podman/podman.sock",
    )
    return tuple(f"unix://{path}" for path in paths)


def check_installed() -> None:
    """The client is an extra: most of Polyport does without. Raises `UsageError`."""
    try:
        import aiodocker  # noqa: F401, PLC0415 - only who uses this engine has it
    except ImportError as error:
        raise UsageError("The docker engine needs its client: pip install 'polyport[docker]'.") from error


async def probe(url: str) -> Daemon:
    """The daemon at that address. Raises whatever its client does; callers set a limit."""
    if url.startswith("unix://") and not Path(url.removeprefix("unix://")).exists():
        raise FileNotFoundError(ABSENT)
    client = _make_client(url)
    try:
        version, info = await client.version(), await client.system.info()
    except BaseException:
        await client.close()
        raise
    options = [str(option) for option in info.get("SecurityOptions") or ()]
    return Daemon(
        client=client,
        kind=PODMAN if _is_podman(version) else DOCKER,
        is_rootless=is_rootless(info),
        version=str(version.get("Version", "")),
        url=url,
        cpus=int(info.get("NCPU") or 0),
        memory=int(info.get("MemTotal") or 0),
        offers_gpus="nvidia" in (info.get("Runtimes") or {}) or bool(info.get("DiscoveredDevices")),
        is_selinux=any("selinux" in option for option in options),
        root=str(info.get("DockerRootDir") or ""),
        is_desktop="desktop" in str(info.get("OperatingSystem", "")).lower(),
    )


def _make_client(url: str) -> "aiodocker.Docker":
    """No limit on a whole request, since waits and streams are long: callers set their own, connecting has one here.

    No limit on connections either: each container's log holds one, and with all of them taken nothing would move.
    """
    import aiodocker  # noqa: PLC0415 - an extra
    import aiohttp  # noqa: PLC0415 - comes with it

    client = aiodocker.Docker(url, timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT))
    client.connector._limit = 0  # can only be given together with all that aiodocker finds out for TLS
    return client


def is_rootless(info: Mapping[str, Any]) -> bool:
    """By the daemon's description of itself. Docker has it among the security options, Podman apart."""
    return bool(info.get("Rootless")) or any("rootless" in str(each) for each in info.get("SecurityOptions") or ())


def _is_podman(version: Mapping[str, Any]) -> bool:
    names = (str(component.get("Name", "")) for component in version.get("Components") or ())
    return any("podman" in name.lower() for name in names)


def explain(error: Exception) -> str:
    """What the operating system says, without the address, which is told anyway."""
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
