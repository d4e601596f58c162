"""The requests to the daemon that the engine makes: each with a time limit, each failure one of three errors."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from polyport.engines.docker.daemon import Daemon
from polyport.errors import EngineError

if TYPE_CHECKING:
    import aiohttp

#: Seconds that a question may take, and an order (creating and starting do much on a slow disk). Podman answers
#: questions late while a build holds its storage.
ASK_TIMEOUT = 30.0
ORDER_TIMEOUT = 120.0
#: What aiodocker reports for a daemon that it cannot connect to.
_NOT_CONNECTED = 900


class Away(EngineError):
    """The daemon does not answer, or not in time; it may be asked again later."""


class Missing(EngineError):
    """The daemon knows no such container, network or image."""


class Refused(EngineError):
    """The daemon says no; the text is its own."""


class Calls:
    """One client for all containers. ``on_trouble`` is called whenever the daemon goes away or comes back."""

    def __init__(self, daemon: Daemon, on_trouble: Callable[[], None] = lambda: None) -> None:
        self._client = daemon.client
        self._url = daemon.url
        self._on_trouble = on_trouble
        #: Why the daemon cannot be used at the moment; empty when it can.
        self.trouble = ""

    async def ask(self, path: str, **params: str) -> Any:
        """A GET; the JSON it answers with."""
        async with self._request("GET", path, ASK_TIMEOUT, params) as response:
            return json.loads(await response.read())

    async def order(self, method: str, where: str, body: Any = None, **params: str) -> Any:
        """Something that changes something; the JSON it answers with, ``None`` for no answer."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body)
        async with self._request(method, where, ORDER_TIMEOUT, params, data) as response:
            answer = await response.read()
        return json.loads(answer) if answer[:1] in {b"{", b"["} else None

    async def run(self, container: str, *command: str) -> bytes:
        """What a command printed inside a container."""
        asked = {"Cmd": list(command), "AttachStdout": True, "AttachStderr": False, "Tty": True}
        made = await self.order("POST", f"containers/{container}/exec", asked)
        body = json.dumps({"Detach": False, "Tty": True})
        async with self._request("POST", f"exec/{made['Id']}/start", ASK_TIMEOUT, {}, body) as response:
            async with asyncio.timeout(ASK_TIMEOUT):
                return await response.read()

    @asynccontextmanager
    async def stream(self, path: str, **params: str) -> AsyncIterator["aiohttp.StreamReader"]:
        """A GET whose answer takes as long as it takes. Raises `Away` when it breaks off."""
        async with self._request("GET", path, ASK_TIMEOUT, params) as response:
            yield response.content

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, timeout: float, params: Mapping[str, str], data: str | bytes | None = None
    ) -> AsyncIterator["aiohttp.ClientResponse"]:
        """``timeout`` (seconds) covers everything up to the head of the answer; what follows is quick, or a stream."""
        import aiodocker  # noqa: PLC0415 - an extra; it is loaded by now
        import aiohttp  # noqa: PLC0415

        kind = "application/x-tar" if isinstance(data, bytes) else "application/json"
        context = self._client._query(path, method, params=dict(params), data=data, headers={"Content-Type": kind})
        try:
            async with asyncio.timeout(timeout):
                response = await context.__aenter__()
            try:
                self._note("")
                yield response
            finally:
                response.close()
        except aiodocker.DockerError as error:
            raise self._translate(error.status, error.message) from error
        except TimeoutError as error:
            raise self._away(f"no answer within {timeout:g} s") from error
        except (aiohttp.ClientError, OSError) as error:
            raise self._away(str(error) or type(error).__name__) from error

    def _translate(self, status: int, message: str) -> EngineError:
        if status == _NOT_CONNECTED:
            return self._away("it cannot be connected to")
        self._note("")
        return Missing(message) if status == 404 else Refused(message)

    def _away(self, why: str) -> Away:
        text = f"the daemon at {self._url} does not answer: {why}"
        self._note(text)
        return Away(text)

    def _note(self, trouble: str) -> None:
        if bool(trouble) != bool(self.trouble):
            self.trouble = trouble
            self._on_trouble()
