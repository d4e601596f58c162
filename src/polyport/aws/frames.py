"""AWS's event-stream framing: messages with headers, their lengths and checksums."""

import binascii

_STRING = b"\x07"


def frame(header: bytes, payload: bytes) -> bytes:
    """One message: lengths and their CRC, headers, payload, and the CRC of all that."""
    prelude = (len(header) + len(payload) + 16).to_bytes(4, "big") + len(header).to_bytes(4, "big")
    message = b"".join((prelude, binascii.crc32(prelude).to_bytes(4, "big"), header, payload))
    return message + binascii.crc32(message).to_bytes(4, "big")


def head(**values: str) -> bytes:
    """Headers of a message: ``message_type="event"`` stands for ``:message-type``."""
    parts = []
    for name, value in values.items():
        key, text = b":" + name.replace("_", "-").encode(), value.encode()
        parts += [bytes([len(key)]), key, _STRING, len(text).to_bytes(2, "big"), text]
    return b"".join(parts)
