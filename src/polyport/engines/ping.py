"""``GET /ping`` over HTTP/1.1, for every engine whose containers are reached by TCP."""

import asyncio

from polyport.engines.contract import Ping

#: The head and the body of an answer are each read up to this many bytes; health needs a status line only.
MAX_BYTES = 16 * 1024
#: How long an answered ping may take to finish its body, in seconds; it decides nothing, but spares the container
#: a connection reset in its log.
_LINGER = 0.05


async def ping(host: str, port: int, timeout: float) -> Ping:
    """One ping; ``timeout`` (seconds) covers connecting and the head of the answer.

    Never raises for what the peer does.
    """
    try:
        async with asyncio.timeout(timeout):
            reader, writer = await asyncio.open_connection(host, port, limit=MAX_BYTES)
            try:
                writer.write(_request(host, port))
                head = await _final_head(reader)
            except BaseException:
                writer.transport.abort()
                raise
    except TimeoutError:
        return Ping(error="timeout")
    except ConnectionRefusedError:
        return Ping(error="refused")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Ping(error="closed")
    except (asyncio.LimitOverrunError, ValueError):
        return Ping(error="malformed")
    except OSError as error:
        return Ping(error=error.strerror or str(error))
    await _let_finish(reader, writer)
    return Ping(status=status_of(head))


def status_of(head: bytes) -> int:
    """The status of an answer's head. Raises `ValueError` when its first line is no HTTP/1 status line."""
    version, _, rest = head.partition(b"\r\n")[0].partition(b" ")
    code = rest[:3]
    if version not in (b"HTTP/1.1", b"HTTP/1.0") or not (
        code.isdigit() and len(code) == 3 and rest[3:4] in (b"", b" ")
    ):
        raise ValueError("not an HTTP/1 status line")
    return int(code)


def _request(host: str, port: int) -> bytes:
    lines = ("GET /ping HTTP/1.1", f"Host: {host}:{port}", "User-Agent: polyport", "Accept: */*", "Connection: close")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _final_head(reader: asyncio.StreamReader) -> bytes:
    """The first head that is not informational (1xx)."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if status_of(head) >= 200:
            return head


async def _let_finish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        async with asyncio.timeout(_LINGER):
            await reader.read(MAX_BYTES)
    except (TimeoutError, OSError):
        pass
    finally:
        writer.transport.abort()
