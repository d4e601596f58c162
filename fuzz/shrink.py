"""Makes an input that shows something smaller, as long as it still shows it."""

import time
from collections.abc import Callable

Shows = Callable[[bytes], bool]


def shrink(data: bytes, shows: Shows, seconds: float = 10.0) -> bytes:
    """The smallest input found in that time. Choices go if they can (`fuzz.choices`: the last byte counts them), then
    pieces, large ones first; at last bytes become plain."""
    end = time.monotonic() + seconds

    def shows_in_time(other: bytes) -> bool:
        return time.monotonic() < end and shows(other)

    data = _without_pieces(data, shows_in_time)
    if data and shows_in_time(data[:-1] + b"\0"):
        data = _without_pieces(data[:-1] + b"\0", shows_in_time)
    for at in range(len(data) - 1):
        plain = data[:at] + b"a" + data[at + 1 :]
        if plain != data and shows_in_time(plain):
            data = plain
    return data


def _without_pieces(data: bytes, shows: Shows) -> bytes:
    size = max(len(data) // 2, 1)
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            if shows(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    return data
