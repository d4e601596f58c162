"""HTTP/1.1 as RFC 9112 has it, read by nobody else's parser: the judge of what a gateway reads and writes."""

import re
from typing import NamedTuple

_TOKEN = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_VALUE = rb"[\t\x20-\x7e\x80-\xff]*"
#: RFC 9112, 3: several blanks may stand for one.
_REQUEST = re.compile(rb"(%b) +([\x21-\x7e]+) +HTTP/1\.([01])" % _TOKEN)
_STATUS = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [^\r\n]*)?")
_HEADER = re.compile(rb"(%b):[ \t]*(%b?)[ \t]*" % (_TOKEN, _VALUE))
_SIZE = re.compile(rb"([0-9a-fA-F]{1,15})(?:;%b)?" % _VALUE)
_DIGITS = re.compile(rb"[0-9]{1,18}")

Headers = list[tuple[bytes, bytes]]


class Malformed(Exception):
    """It is no HTTP message."""


class Incomplete(Exception):
    """It ends too early to be one."""


class Request(NamedTuple):
    """A whole request."""

    method: bytes
    target: bytes
    version: int
    headers: Headers
    body: bytes

    def values(self, name: bytes) -> list[bytes]:
        """Of a header, by lower-case name."""
        return _values(self.headers, name)


class Answer(NamedTuple):
    """A whole answer. ``ends_connection``: nothing may come after it."""

    status: int
    headers: Headers
    body: bytes
    ends_connection: bool

    def values(self, name: bytes) -> list[bytes]:
        """Of a header, by lower-case name."""
        return _values(self.headers, name)


def request(data: bytes) -> tuple[Request, bytes]:
    """The first request, and what comes after it. Raises `Malformed`, `Incomplete`."""
    line, headers, rest = _head(data.lstrip(b"\r\n"))
    match = _REQUEST.fullmatch(line)
    if match is None:
        raise Malformed("the request line")
    body, rest = _body(headers, rest, has_length=True)
    return Request(match[1], match[2], int(match[3]), headers, body), rest


def requests(data: bytes) -> list[Request]:
    """All whole requests up to the first that is none."""
    found = []
    try:
        while True:
            one, data = request(data)
            found.append(one)
    except (Malformed, Incomplete):
        return found


def answer(data: bytes, *, is_bodyless: bool = False, is_over: bool = False) -> tuple[Answer, bytes]:
    """The first answer, and what comes after it. ``is_bodyless``: the request was HEAD; ``is_over``: the connection was
    closed after the data. Raises `Malformed`, `Incomplete`."""
    line, headers, rest = _head(data.lstrip(b"\r\n"))
    match = _STATUS.fullmatch(line)
    if match is None:
        raise Malformed("the status line")
    status, version = int(match[2]), int(match[1])
    tokens = {token.strip().lower() for value in _values(headers, b"connection") for token in value.split(b",")}
    ends = b"close" in tokens or (version == 0 and b"keep-alive" not in tokens)
    if is_bodyless or status < 200 or status in (204, 304):
        _framing(headers)
        return Answer(status, headers, b"", ends), rest
    if _framing(headers) is None:
        if not is_over:
            raise Incomplete
        return Answer(status, headers, rest, True), b""
    body, rest = _body(headers, rest, has_length=False)
    return Answer(status, headers, body, ends), rest


def _values(headers: Headers, name: bytes) -> list[bytes]:
    return [value for key, value in headers if key.lower() == name]


def _head(data: bytes) -> tuple[bytes, Headers, bytes]:
    head, end, rest = data.partition(b"\r\n\r\n")
    if not end:
        raise Incomplete
    line, *lines = head.split(b"\r\n")
    return line, [_header(one) for one in lines], rest


def _header(line: bytes) -> tuple[bytes, bytes]:
    match = _HEADER.fullmatch(line)
    if match is None:
        raise Malformed(f"the header line {line!r}")
    return match[1], match[2].strip(b" \t")


def _framing(headers: Headers) -> int | None:
    """The length; -1: in chunks; ``None``: nothing is said. Raises `Malformed`."""
    codings, lengths = _values(headers, b"transfer-encoding"), _values(headers, b"content-length")
    if codings:
        if lengths or [coding.lower() for coding in codings] != [b"chunked"]:
            raise Malformed("how its body ends")
        return -1
    if not lengths:
        return None
    if len(lengths) > 1 or not _DIGITS.fullmatch(lengths[0]):
        raise Malformed("its length")
    return int(lengths[0])


def _body(headers: Headers, rest: bytes, *, has_length: bool) -> tuple[bytes, bytes]:
    length = _framing(headers)
    if length is None:
        assert has_length, "an answer without a length ends with its connection"
        length = 0
    if length < 0:
        return _chunks(rest)
    if len(rest) < length:
        raise Incomplete
    return rest[:length], rest[length:]


def _chunks(rest: bytes) -> tuple[bytes, bytes]:
    body = b""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise Incomplete
        match = _SIZE.fullmatch(line)
        if match is None:
            raise Malformed(f"the chunk size {line!r}")
        size = int(match[1], 16)
        if not size:
            return body, _trailers(rest)
        if len(rest) < size + 2:
            raise Incomplete
        if rest[size : size + 2] != b"\r\n":
            raise Malformed("a chunk is longer than its size")
        body, rest = body + rest[:size], rest[size + 2 :]


def _trailers(rest: bytes) -> bytes:
    """What comes after them."""
    while True:
        line, end, rest = rest.partition(b"\r\n")
        if not end:
            raise Incomplete
        if not line:
            return rest
        # Whatever it says: what comes after a body frames nothing.
        _header(line)
