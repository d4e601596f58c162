"""Heads that were read before. Programs send the same head again and again, byte by byte the same, and what a parser
makes of it then is the same too: one look-up instead of a dozen callbacks.

Only heads whose whole message came in one piece are kept, and only as many as fit into a few hundred KiB. That the
bytes after the first empty line are as many as the body had proves that they are the body, and nothing but it.

Signed heads differ each time, but only in their time, their signature, and an id that SDKs add. Without those three, at
the very same places, they are the same again; only those are kept whose signature was found right.
"""

import re

from polyport.aws import sigv4
from polyport.aws.claims import Claim
from polyport.aws.sigv4 import Mould
from polyport.gateway.calls import headers
from polyport.gateway.clients.request import Headers, Known, Request
from polyport.telemetry.traces import context

#: Heads of each kind, and bytes of one: a longer one is not likely to come again.
MOST = 256
LONGEST = 1024
END = b"\r\n\r\n"

#: What makes a head the only one of its kind (a signature), or its request one that is not simply served. The context
#: of a trace, which is no field, makes it the only one too.
_UNUSUAL = (b"authorization", b"origin", b"expect", b"transfer-encoding")

Answer = tuple[int, Headers, int, bytes, bytes]
"""Status, headers, length of the body, the last lines of the head for the client (`headers.last_lines`), and the type
for the next container."""

#: Bytes of a signed head, which may hold a session token, and of a message that is remembered until it was verified.
LONGEST_SIGNED = 4096
LONGEST_WIRE = 16 * 1024
#: What stands before what differs in signed heads: 16, 64 and 36 bytes.
INVOCATION_ID = b"amz-sdk-invocation-id"
_DATE_LINE, _MARK, _ID_LINE = b"\r\nX-Amz-Date: ", b", Signature=", b"\r\n%b: " % INVOCATION_ID
_TIME = re.compile(rb"[0-9]{8}T[0-9]{6}Z")
_SIGNATURE = re.compile(rb"[0-9a-f]{64}")
_ID = re.compile(rb"[0-9a-fA-F-]{36}")

_requests: dict[bytes, Known] = {}
#: By what is left of a head, and where it was cut.
_signed: dict[tuple[bytes, int, int, int], tuple[Known, Mould]] = {}
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
    if not any(name in request.fields for name in _UNUSUAL) and context.PARENT not in request.members:
        _make_room(_requests)
        _requests[data[:end]] = Known(request)


def find_signed(data: bytes) -> Request | None:
    """The request that ``data`` is, whole and nothing else, if its head is known but for what differs. Its id is still
    to be given."""
    end = data.find(END, 0, LONGEST_SIGNED) + 4
    cut = _cut(data, end)
    found = _signed.get(cut[0]) if cut is not None else None
    if cut is None or found is None or found[0].size != len(data) - end:
        return None
    known, mould = found
    request = known.request(b"", data[end:])
    request.seal = mould, cut[1], cut[2]
    return request


def keep_signed(request: Request, claim: Claim) -> None:
    """The signature of a request that came as ``request.wire`` was found right."""
    data, request.wire = request.wire, b""
    end = data.find(END, 0, LONGEST_SIGNED) + 4
    if end < 4 or request.size != len(data) - end or request.is_legacy or not request.keep_alive:
        return
    if context.PARENT in request.members:
        return
    cut = _cut(data, end)
    # What was cut must be what was verified, and nothing else of what is signed.
    if cut is None or cut[1:] != (claim.timestamp, claim.signature) or INVOCATION_ID in claim.terms.names:
        return
    mould = sigv4.mould(claim, request.method, request.target)
    if mould is not None and b"expect" not in request.fields and b"transfer-encoding" not in request.fields:
        if len(_signed) >= MOST:
            _signed.clear()
        _signed[cut[0]] = Known(request), mould


def _cut(data: bytes, end: int) -> tuple[tuple[bytes, int, int, int], bytes, bytes] | None:
    """What is left of the head without what differs, with the places; then the time and the signature. ``None``: it is
    not written as SDKs write it."""
    day = data.find(_DATE_LINE, 0, end) + len(_DATE_LINE)
    sign = data.find(_MARK, day, end) + len(_MARK)
    if day < len(_DATE_LINE) or sign < day:
        return None
    time, signature = data[day : day + 16], data[sign : sign + 64]
    if not _TIME.fullmatch(time) or not _SIGNATURE.fullmatch(signature):
        return None
    identity = data.find(_ID_LINE, sign, end) + len(_ID_LINE)
    if identity < len(_ID_LINE):
        left = b"\0".join((data[:day], data[day + 16 : sign], data[sign + 64 : end]))
        return (left, day, sign, 0), time, signature
    if not _ID.fullmatch(data[identity : identity + 36]):
        return None
    left = b"\0".join((data[:day], data[day + 16 : sign], data[sign + 64 : identity], data[identity + 36 : end]))
    return (left, day, sign, identity), time, signature


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
    _signed.clear()


def _make_room(known: dict[bytes, Known] | dict[bytes, Answer]) -> None:
    if len(known) >= MOST:
        known.clear()
