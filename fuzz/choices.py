"""Inputs: bytes for what is tested, and at their end small numbers that choose how.

The last byte says how many numbers there are. So whatever changes in the bytes before leaves the choices alone, and any
bytes at all are an input.
"""


def pack(payload: bytes, *numbers: int) -> bytes:
    """An input, with numbers below 256."""
    return payload + bytes(numbers) + bytes([len(numbers)])


class Choices:
    """An input taken apart."""

    def __init__(self, data: bytes) -> None:
        count = min(data[-1], len(data) - 1) if data else 0
        end = max(len(data) - 1 - count, 0)
        self.payload = data[:end]
        self._numbers = iter(data[end : end + count])

    def below(self, bound: int) -> int:
        """The next number, below the bound; 0 when there are no more."""
        return next(self._numbers, 0) % bound

    def rest(self) -> list[int]:
        """All numbers that are left."""
        return list(self._numbers)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The data in pieces of these lengths, in turn (0: one byte); whole without any."""
    if not places:
        return [data]
    pieces, at, turn = [], 0, 0
    while at < len(data):
        size = max(places[turn % len(places)], 1)
        pieces.append(data[at : at + size])
        at += size
        turn += 1
    return pieces
