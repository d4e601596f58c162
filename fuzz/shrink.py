"""Makes an input that shows something smaller, as long as it still shows it."""

import time
from collections.abc import Callable


def shrink(data: bytes, shows: Callable[[bytes], bool], seconds: float = 10.0) -> bytes:
    """The smallest input found in that time. Pieces are left out, large ones first; then bytes become plain."""
    end = time.monotonic() + seconds
    size = max(len(data) // 2, 1)
    while size:
        at = 0
        while at < len(data) and time.monotonic() < end:
            shorter = data[:at] + data[at + size :]
            if shows(shorter):
                data = shorter
            else:
                at += size
        size //= 2
    for at in range(len(data)):
        if time.monotonic() > end:
            break
        plain = data[:at] + b"a" + data[at + 1 :]
        if data[at : at + 1] not in b"a" and shows(plain):
            data = plain
    return data
