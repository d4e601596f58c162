"""CBOR (RFC 8949), as much of it as Smithy's RPC protocol uses, and requests and answers in it."""

import struct
from collections.abc import Mapping
from typing import Any

import msgspec
from botocore.model import OperationModel, Shape

from polyport.aws import moments, parse, unknowns
from polyport.aws.render import REQUEST_ID
from polyport.aws.unknowns import Unknown
from polyport.aws.wire import Response
from polyport.errors import ApiError

CONTENT_TYPE = b"application/cbor"
#: How deep values may be within values.
_DEEPEST = 64
_FLOATS = {25: ">e", 26: ">f", 27: ">d"}
_SIMPLE = {20: False, 21: True, 22: None, 23: None}
_BREAK = object()
_INDEFINITE = 31
_EPOCH_TAG = 1


class _Reader:
    """One item after the other. Raises `ValueError` for what is no CBOR."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def whole(self) -> Any:
        """The only item there is."""
        value = self._item(0)
        if value is _BREAK or self._at != len(self._data):
            raise ValueError("there is more than one value")
        return value

    def _take(self, size: int) -> bytes:
        piece = self._data[self._at : self._at + size]
        if len(piece) != size:
            raise ValueError("it ends too early")
        self._at += size
        return piece

    def _item(self, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("it is nested too deeply")
        first = self._take(1)[0]
        major, info = first >> 5, first & 31
        if major == 7:
            return self._simple(info)
        size = self._size(info, major)
        if major == 0:
            return size
        if major == 1:
            return -1 - size
        if major in {2, 3}:
            return self._string(major, size, depth)
        if major == 4:
            return self._list(size, depth)
        return self._map(size, depth) if major == 5 else self._item(depth + 1)

    def _size(self, info: int, major: int) -> int:
        """-1: it ends with a break."""
        if info < 24:
            return info
        if info <= 27:
            return int.from_bytes(self._take(1 << (info - 24)), "big")
        if info == _INDEFINITE and major in {2, 3, 4, 5}:
            return -1
        raise ValueError("a length is malformed")

    def _simple(self, info: int) -> Any:
        if info in _SIMPLE:
            return _SIMPLE[info]
        if info in _FLOATS:
            return struct.unpack(_FLOATS[info], self._take(1 << (info - 24)))[0]
        if info == _INDEFINITE:
            return _BREAK
        raise ValueError("there is a value of no known kind")

    def _string(self, major: int, size: int, depth: int) -> Any:
        if size < 0:
            pieces = self._until_break(depth)
            kind = bytes if major == 2 else str
            if not all(isinstance(piece, kind) for piece in pieces):
                raise ValueError("a string is made of other things")
            return kind().join(pieces)
        raw = self._take(size)
        return raw if major == 2 else raw.decode()

    def _until_break(self, depth: int) -> list[Any]:
        found = []
        while (value := self._item(depth + 1)) is not _BREAK:
            found.append(value)
        return found

    def _list(self, size: int, depth: int) -> list[Any]:
        if size < 0:
            return self._until_break(depth)
        if size > len(self._data):
            raise ValueError("it ends too early")
        return [self._inner(depth) for _ in range(size)]

    def _map(self, size: int, depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if size > len(self._data):
            raise ValueError("it ends too early")
        while size:
            size -= 1
            key = self._item(depth + 1)
            if key is _BREAK and size < -1:
                break
            if not isinstance(key, str):
                raise ValueError("a key is no text")
            found[key] = self._inner(depth)
        return found

    def _inner(self, depth: int) -> Any:
        value = self._item(depth + 1)
        if value is _BREAK:
            raise ValueError("a break is where a value should be")
        return value


def decode(data: bytes) -> Any:
    """The value. Tags are passed over. Raises `ValueError`."""
    return _Reader(data).whole()


def encode(value: Any) -> bytes:
    """The bytes of a value made of what CBOR has; a float is always one of eight bytes."""
    out = bytearray()
    _write(out, value)
    return bytes(out)


def _write(out: bytearray, value: Any) -> None:
    if value is None or isinstance(value, bool):
        out.append(0xF6 if value is None else 0xF5 if value else 0xF4)
    elif isinstance(value, int):
        out += head(0x20, -1 - value) if value < 0 else head(0x00, value)
    elif isinstance(value, float):
        out += b"\xfb" + struct.pack(">d", value)
    elif isinstance(value, bytes | str):
        raw = value if isinstance(value, bytes) else value.encode()
        out += head(0x40 if isinstance(value, bytes) else 0x60, len(raw)) + raw
    elif isinstance(value, Moment):
        out += head(0xC0, _EPOCH_TAG)
        _write(out, value.seconds)
    elif isinstance(value, Mapping):
        out += head(0xA0, len(value))
        for key, inner in value.items():
            _write(out, key)
            _write(out, inner)
    else:
        out += head(0x80, len(value))
        for inner in value:
            _write(out, inner)


def head(major: int, size: int) -> bytes:
    """The first bytes of an item: its major type, and its size in as few bytes as it takes."""
    if size < 24:
        return bytes([major | size])
    for code, length in ((24, 1), (25, 2), (26, 4)):
        if size < 1 << (8 * length):
            return bytes([major | code]) + size.to_bytes(length, "big")
    return bytes([major | 27]) + size.to_bytes(8, "big")


class Moment(msgspec.Struct, frozen=True):
    """Epoch seconds, tagged as such."""

    seconds: float


def parse_cbor(operation: OperationModel, body: bytes) -> dict[str, Any]:
    """The members of a request. Raises `ApiError` as `parse.parse_json` does."""
    try:
        values = decode(body) if body else {}
    except (ValueError, struct.error, RecursionError) as error:
        raise ApiError("SerializationException", f"The request body is not valid CBOR: {error}") from error
    if not isinstance(values, dict):
        raise ApiError("SerializationException", "The request body must be a CBOR map.")
    if operation.input_shape is None:
        return {}
    unknown: Unknown = []
    request = parse.read_values(operation.input_shape, values, unknown)
    if unknown:
        raise ApiError("ValidationException", unknowns.message(operation.name, unknown))
    return request


def render_cbor(operation: OperationModel, answer: Mapping[str, Any] | None, request_id: str) -> Response:
    """The 200 of an operation. `ValueError` or `TypeError` when ``answer`` is not of the output shape."""
    shape = operation.output_shape
    body = b"" if shape is None else encode(_shaped(shape, answer or {}))
    headers = ((b"smithy-protocol", b"rpc-v2-cbor"), (REQUEST_ID, request_id.encode()))
    return Response(200, ((b"Content-Type", CONTENT_TYPE), *headers), body)


def _shaped(shape: Shape, value: Any) -> Any:
    kind = shape.type_name
    if kind == "structure":
        return _structure(shape, value)
    if kind == "list":
        return [_shaped(shape.member, inner) for inner in value]
    if kind == "map":
        return {str(key): _shaped(shape.value, inner) for key, inner in value.items()}
    if kind == "timestamp":
        return Moment(moments.milliseconds(value) / 1000)
    if kind in {"float", "double"}:
        return float(value)
    return int(value) if kind in {"integer", "long"} else value


def _structure(shape: Shape, value: Mapping[str, Any]) -> dict[str, Any]:
    for name in value:
        if name not in shape.members:
            raise ValueError(f"{shape.name} has no member {name!r}")
    return {name: _shaped(shape.members[name], inner) for name, inner in value.items() if inner is not None}
