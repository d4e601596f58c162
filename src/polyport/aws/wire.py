"""HTTP parts as plain values: what comes in (`Head`), what goes out (`Response`)."""

import zlib
from collections.abc import AsyncGenerator, Iterable

import msgspec

#: The largest control-plane request, in bytes. SageMaker's largest, a model of 15 containers, takes a tenth of it.
MAX_BODY = 1024 * 1024

RawHeaders = Iterable[tuple[bytes, bytes]]


class Head(msgspec.Struct, frozen=True):
    """A request without its body. ``path`` is still percent-encoded; ``query`` has no question mark.

    ``headers`` has lower-case names; values of a repeated header are joined with ``", "``.
    """

    method: str
    path: str
    query: str = ""
    headers: dict[str, str] = {}


class Response(msgspec.Struct, frozen=True):
    """An answer. Whoever sends it adds ``Content-Length`` and ``Date``. ``stream``: what comes after the body, bit by
    bit; its length is not known."""

    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    stream: AsyncGenerator[bytes, None] | None = None


def head_of(method: str, path: str, query: str, raw_headers: RawHeaders) -> Head:
    """A `Head` from header pairs as ASGI and httptools give them (any case, Latin-1)."""
    headers: dict[str, str] = {}
    for raw_name, raw_value in raw_headers:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1").strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Head(method, path, query, headers)


def unpacked(head: Head, body: bytes) -> bytes | None:
    """The body as it was before the client packed it with gzip, as SDKs do with large PutMetricData calls.

    ``None``: it is no gzip, not whole, or longer than `MAX_BODY` when unpacked.
    """
    if head.headers.get("content-encoding", "").lower() != "gzip":
        return body
    unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        plain = unpacker.decompress(body, MAX_BODY)
    except zlib.error:
        return None
    return plain if unpacker.eof else None
