"""Long requests whose answers come line by line: pulls and builds."""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import IO, TYPE_CHECKING, Any

import aiohttp
from aiodocker.exceptions import DockerStreamError

if TYPE_CHECKING:
    from aiodocker import Docker

#: Seconds that connecting may take; the answer takes what it takes, callers bound it.
CONNECT_TIMEOUT = 10.0
#: Bytes of one line, and of one piece of what is sent.
LINE_LIMIT, PIECE = 1024 * 1024, 256 * 1024


async def post(
    client: "Docker",
    path: str,
    params: Mapping[str, str],
    headers: Mapping[str, str] | None = None,
    file: IO[bytes] | None = None,
) -> AsyncGenerator[dict[str, Any], None]:
    """The lines of the answer, parsed. Raises `DockerError` for what the daemon says is an error.

    aiodocker's own streams leave their connection open when they are given up, and the daemon would go on pulling.
    """
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT)
    data = None if file is None else _pieces(file)
    query = client._query(path, "POST", params=dict(params), headers=headers, data=data, timeout=timeout)
    async with query as response:
        try:
            rest = b""
            async for piece in response.content.iter_any():
                *lines, rest = (rest + piece).split(b"\n")
                for line in filter(bytes.strip, lines):
                    yield _parse(line)
                if len(rest) > LINE_LIMIT:
                    raise DockerStreamError("the daemon's answer has a line without an end")
            if rest.strip():
                yield _parse(rest)
        except aiohttp.ClientError as error:
            raise DockerStreamError(f"the daemon broke off: {error}") from error
        finally:
            response.close()


async def _pieces(file: IO[bytes]) -> AsyncIterator[bytes]:
    while piece := file.read(PIECE):
        yield piece


def _parse(line: bytes) -> dict[str, Any]:
    try:
        found = json.loads(line)
    except ValueError:
        raise DockerStreamError(f"the daemon's answer is not JSON: {line[:100]!r}") from None
    if not isinstance(found, dict):
        return {}
    if "error" in found or "errorDetail" in found:
        detail = found.get("errorDetail")
        message = (detail.get("message") if isinstance(detail, dict) else None) or found.get("error")
        raise DockerStreamError(str(message or "an error without words"))
    return found
