"""What every answer carries and is cheap only when prepared: the date, and a request id."""

import time
import uuid
from email.utils import formatdate
from itertools import count

#: Event loops round to a millisecond and may fire that much early. Without this, a tick just before a second's end
#: would come again and again until that end, and each would count as a second of a client's time.
TIMER_SLACK = 0.002


class Clock:
    """``date`` is a whole header line, renewed by `refresh` once a second."""

    __slots__ = ("_numbers", "_prefix", "date")

    def __init__(self) -> None:
        # Random per worker, counted within it: unique, uuid-shaped, and a fraction of what uuid4 costs.
        self._prefix = str(uuid.uuid4())[:24].encode()
        self._numbers = count(1)
        self.date = b""
        self.refresh()

    def refresh(self) -> float:
        """Take the time; returns seconds until the next second has surely begun."""
        now = time.time()
        self.date = b"Date: " + formatdate(now, usegmt=True).encode() + b"\r\n"
        return 1.0 - now % 1.0 + TIMER_SLACK

    def request_id(self) -> bytes:
        """A new request id."""
        return b"%b%012x" % (self._prefix, next(self._numbers))
