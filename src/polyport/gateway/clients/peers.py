"""What the kernel knows of a client that is not being read."""

import asyncio
import socket

_TCP_INFO: int | None = getattr(socket, "TCP_INFO", None)
#: Linux's TCP_CLOSE and TCP_CLOSE_WAIT, the first byte of its ``tcp_info``: reset, or closed by the other side.
_ENDED = (7, 8)


def has_left(transport: asyncio.Transport) -> bool:
    """Whether the client has closed its side. Event loops tell that only when all before it was read; this tells it at
    any time (Linux; elsewhere never)."""
    connection = transport.get_extra_info("socket")
    if connection is None or _TCP_INFO is None or transport.is_closing():
        return False
    try:
        return connection.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] in _ENDED
    except OSError:
        return False
