"""What a captured call is on its way through the spool, and the line of JSON that becomes of it. Pure.

A spool file is a `Target`, then `Entry` after `Entry`, each as 4 bytes of length (big-endian) and MessagePack; behind
an entry are the bytes of its two bodies, as they are. A file that was cut off by a crash is good up to there.
"""

import base64
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from polyport.domain.captures import Capture

Pieces = Sequence[bytes | bytearray]

_PREFIX = 4


class Target(msgspec.Struct, frozen=True, array_like=True):
    """Where all of one file goes. ``hour`` is that of its calls, in hours since the epoch."""

    account: str
    region: str
    endpoint: str
    variant: str
    capture: Capture
    hour: int


class Entry(msgspec.Struct, array_like=True):
    """One call. A side whose size is ``None`` is not kept; sizes are bytes."""

    event_id: str
    #: Epoch seconds at which the call began.
    at: float
    inference_id: str = ""
    input_type: str = ""
    input_size: int | None = None
    output_type: str = ""
    output_size: int | None = None


class Call(msgspec.Struct):
    """An entry with the pieces of its bodies."""

    entry: Entry
    input: Pieces = ()
    output: Pieces = ()

    def frame(self) -> list[bytes | bytearray]:
        """As it is written; nothing is copied."""
        return [frame(self.entry), *self.input, *self.output]


def frame(value: Target | Entry) -> bytes:
    """With its length before it."""
    body = msgspec.msgpack.encode(value)
    return len(body).to_bytes(_PREFIX, "big") + body


def size_of(pieces: Pieces) -> int:
    """Bytes."""
    return sum(map(len, pieces))


def read(data: bytes) -> tuple[Target, Iterator[bytes]]:
    """The target of a spool file, and its lines. Raises `ValueError` when not even the target is whole."""
    at, target = _decode(data, 0, Target)
    return target, _lines(data, at, target.capture)


def _lines(data: bytes, at: int, capture: Capture) -> Iterator[bytes]:
    while at < len(data):
        try:
            start, entry = _decode(data, at, Entry)
        except ValueError:
            return
        middle = start + (entry.input_size or 0)
        at = middle + (entry.output_size or 0)
        if at > len(data):
            return
        yield line(capture, entry, data[start:middle], data[middle:at])


def _decode(data: bytes, at: int, kind: type[Any]) -> tuple[int, Any]:
    start = at + _PREFIX
    end = start + int.from_bytes(data[at:start], "big")
    if end > len(data) or end == start:
        raise ValueError("cut off")
    try:
        return end, msgspec.msgpack.decode(data[start:end], type=kind)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error


def line(capture: Capture, entry: Entry, input_: bytes, output: bytes) -> bytes:
    """One captured call as SageMaker writes it, with the line end."""
    sides: dict[str, Any] = {}
    if entry.input_size is not None:
        sides["endpointInput"] = _side(capture, entry.input_type, "INPUT", input_)
    if entry.output_size is not None:
        sides["endpointOutput"] = _side(capture, entry.output_type, "OUTPUT", output)
    about = {"eventId": entry.event_id}
    if entry.inference_id:
        about["inferenceId"] = entry.inference_id
    about["inferenceTime"] = f"{datetime.fromtimestamp(entry.at, UTC):%Y-%m-%dT%H:%M:%SZ}"
    return msgspec.json.encode({"captureData": sides, "eventMetadata": about, "eventVersion": "0"}) + b"\n"


def _side(capture: Capture, content_type: str, mode: str, body: bytes) -> dict[str, str]:
    encoding = encoding_of(capture, content_type)
    data = ""
    if encoding != "BASE64":
        try:
            data = body.decode()
        except UnicodeDecodeError:
            # It says that it is text, and JSON cannot hold it.
            encoding = "BASE64"
    if encoding == "BASE64":
        data = base64.b64encode(body).decode()
    # Where nobody said what it is, nothing was observed.
    observed = {"observedContentType": content_type} if content_type else {}
    return {**observed, "mode": mode, "data": data, "encoding": encoding}


def encoding_of(capture: Capture, content_type: str) -> str:
    """How a body of that type is kept. Parameters such as ``; charset=utf-8`` do not count."""
    media = content_type.partition(";")[0].strip().lower()
    if media in capture.csv_types:
        return "CSV"
    return "JSON" if media in capture.json_types else "BASE64"


def key(target: Target, at: float, identity: str) -> tuple[str, str]:
    """Bucket and key of the object that a spool file becomes; ``at``: the epoch seconds when the file was begun, which
    never leaves the hour of its calls. The same file always has the same."""
    bucket, _, prefix = target.capture.destination.removeprefix("s3://").partition("/")
    began = min(max(at, target.hour * 3600.0), target.hour * 3600.0 + 3599.999)
    when = datetime.fromtimestamp(began, UTC)
    name = f"{when:%M-%S}-{when.microsecond // 1000:03d}-{identity}.jsonl"
    parts = (prefix.rstrip("/"), target.endpoint, target.variant, f"{when:%Y/%m/%d/%H}", name)
    return bucket, "/".join(part for part in parts if part)
