"""Asks a base image which packages fit: its Python, its machine, its C library."""

import asyncio
import json
from typing import TYPE_CHECKING, Any

import msgspec
from aiodocker.exceptions import DockerError

from polyport.errors import ImageError

if TYPE_CHECKING:
    from aiodocker import Docker

#: Seconds that a Python may take to say what it is.
TIMEOUT = 60.0
QUESTION = """
import json, os, platform, sys, sysconfig
try:
    libc = os.confstr("CS_GNU_LIBC_VERSION") or ""
except (OSError, ValueError):
    libc = ""
musl = "musl" in (sysconfig.get_config_var("SOABI") or "") + (sysconfig.get_config_var("HOST_GNU_TYPE") or "")
print(json.dumps({"python": list(sys.version_info[:2]), "machine": platform.machine(), "musl": musl,
                  "glibc": 0 if musl else int((libc.rpartition(".")[2] or "17"))}))
"""
#: The versions of the GNU C library that uv knows by name.
UV_GLIBC = (17, 28, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)
#: The oldest that wheels are made for, and of musl the newest.
OLDEST_GLIBC, NEWEST_MUSL = 5, 2


class Target(msgspec.Struct, frozen=True):
    """What wheels have to fit. ``python`` is (3, 11); ``glibc`` the minor version of the GNU C library 2.x."""

    python: tuple[int, int]
    machine: str
    musl: bool = False
    glibc: int = 17

    @property
    def version(self) -> str:
        """``3.11``."""
        return "{}.{}".format(*self.python)

    @property
    def uv_platform(self) -> str:
        """As ``uv pip compile --python-platform`` wants it."""
        if self.musl:
            return f"{self.machine}-unknown-linux-musl"
        minor = max((known for known in UV_GLIBC if known <= self.glibc), default=UV_GLIBC[0])
        return f"{self.machine}-manylinux_2_{minor}"

    @property
    def pip_platforms(self) -> tuple[str, ...]:
        """All tags of wheels that fit, the best first, for ``pip download --platform``."""
        if self.musl:
            return tuple(f"musllinux_1_{minor}_{self.machine}" for minor in range(NEWEST_MUSL, -1, -1))
        found = []
        older = {17: "manylinux2014", 12: "manylinux2010", 5: "manylinux1"}
        for minor in range(self.glibc, OLDEST_GLIBC - 1, -1):
            found.append(f"manylinux_2_{minor}_{self.machine}")
            if minor in older:
                found.append(f"{older[minor]}_{self.machine}")
        return (*found, f"linux_{self.machine}")


async def ask(client: "Docker", base: str) -> Target:
    """Run the base image's Python for a moment, without a network. Raises `ImageError`."""
    config: dict[str, Any] = {
        "Image": base,
        "Entrypoint": ["python3"],
        "Cmd": ["-I", "-c", QUESTION],
        "HostConfig": {"NetworkMode": "none"},
        "Labels": {"polyport.probe": "true"},
    }
    try:
        async with asyncio.timeout(TIMEOUT):
            container = await client.containers.create(config)
            try:
                await container.start()
                status = (await container.wait())["StatusCode"]
                said = "".join(await container.log(stdout=True, stderr=True)).strip()
            finally:
                await container.delete(force=True)
    except TimeoutError as error:
        raise ImageError(f"The base image {base} did not say within {TIMEOUT:g} s which Python it has.") from error
    except DockerError as error:
        if "not found" in error.message or "no such file" in error.message.lower():
            raise ImageError(f"The base image {base} has no python3, which the image needs.") from error
        raise ImageError(f"The base image {base} could not be started: {error.message}") from error
    if status != 0:
        raise ImageError(f"The Python of the base image {base} failed: {said[-400:] or status}")
    return msgspec.convert(json.loads(said), Target)
