"""Heads that were read before. Programs send the same head again and again, byte by byte the same, and what a parser
makes of it then is the same too: one look-up instead of a dozen callbacks.

Only heads whose whole message came in one piece are kept, and only as many as fit into a few hundred KiB. That the
bytes after the first empty line are as many as the body had proves that they are the body, and nothing but it.
"""

from polyport.gateway.calls import headers
from polyport.gateway.clients.request import Headers, Known, Request

#: Heads of each kind, and bytes of one: a longer one is not likely to come again.
MOST = 256
LONGEST = 1024
END = b"\r\n\r\n"

#: What makes a head the only one of its kind (a signature), or its request one that is not simply served.
_UNUSUAL = (b"authorization", b"expect", b"transfer-encoding")

Answer = tuple[int, Headers, int, bytes, bytes]
"""Status, headers, length of the body, the last lines of the head for the client (`headers.last_lines`), and the type
for the next container."""

_requests: dict[bytes, Known] = {}
_answers: dict[bytes, Answer] = {}


def find_request(data: bytes) -> tuple[Known, bytes] | None:
    """The request that ``data`` is, whole and nothing else, if its head is known: that, and its body."""
    end = data.find(END, 0, LONGEST) + 4
    known = _requests.get(data[:end])
    return (known, data[end:]) if known is not None and known.size == len(data) - end else None


def keep_request(data: bytes, request: Request) -> None:
    """The parser, at the start of a message, has read ``data`` to its end, and ``request`` last of all."""
    end = data.find(END, 0, LONGEST) + 4
    if end < 4 or request.size != len(data) - end or request.is_legacy or not request.keep_alive:
        return
    if not any(name in request.fields for name in _UNUSUAL):
        _make_room(_requests)
        _requests[data[:end]] = Known(request)


def find_answer(data: bytes) -> tuple[Answer, bytes] | None:
    """The answer that ``data`` is, whole and nothing else, if its head is known, and its body."""
    end = data.find(END, 0, LONGEST) + 4
    known = _answers.get(data[:end])
    return (known, data[end:]) if known is not None and known[2] == len(data) - end else None


def keep_answer(data: bytes, status: int, lines: Headers, size: int) -> None:
    """The parser, at the start of a message, has read ``data`` to its end, and of it a body of that size (bytes)."""
    end = data.find(END, 0, LONGEST) + 4
    if end >= 4 and size == len(data) - end:
        _make_room(_answers)
        fields = headers.from_container(lines)
        kind = fields.get(headers.TYPE, headers.DEFAULT_TYPE)
        _answers[data[:end]] = status, lines, size, headers.last_lines(fields, size), kind


def forget() -> None:
    """Know nothing."""
    _requests.clear()
    _answers.clear()


def _make_room(known: dict[bytes, Known] | dict[bytes, Answer]) -> None:
    if len(known) >= MOST:
        known.clear()
