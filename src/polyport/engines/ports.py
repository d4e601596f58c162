"""Ports for containers, in blocks: the first is the one to bind, the others are the safe range."""

import contextlib
import errno
import random
import socket

from polyport.errors import EngineError, UsageError

#: Ports per container. Blocks begin at multiples of it, so that homes with different ranges agree on them.
BLOCK = 20


class Ports:
    """Hands out blocks. A block handed out is claimed machine-wide, for other homes and their containers that do not
    listen yet; the kernel drops the claims of a process that ends."""

    def __init__(self, port_range: str) -> None:
        self._firsts = list_blocks(port_range)
        self._next = random.randrange(len(self._firsts))  # noqa: S311 - spreads homes over the range, guards nothing
        self._claims: dict[int, socket.socket] = {}

    def take(self) -> int:
        """The first port of a block that nobody uses; the least recently used one, and rather one without connections
        that linger after their container's end. Raises `EngineError` when all are in use."""
        for lingering in (False, True):
            for _ in self._firsts:
                first = self._firsts[self._next]
                self._next = (self._next + 1) % len(self._firsts)
                if self._try(first, lingering):
                    return first
        raise EngineError(
            f"All {len(self._firsts)} blocks of {BLOCK} ports are in use; the setting port_range gives more."
        )

    def _try(self, first: int, lingering: bool) -> bool:
        if first in self._claims or not self.claim(first):
            return False
        if not _is_free(first, lingering):
            self.release(first)
            return False
        return True

    def claim(self, first: int) -> bool:
        """Claims a block, also one that this home had before it was restarted. False when another process has it."""
        if first in self._claims:
            return True
        # Abstract names live in the same network namespace as the ports, and vanish with their holder.
        claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            claim.bind(b"\0polyport-ports-%d" % first)
        except OSError as error:
            claim.close()
            if error.errno != errno.EADDRINUSE:
                raise
            return False
        self._claims[first] = claim
        return True

    def release(self, first: int) -> None:
        """Gives a block back."""
        if claim := self._claims.pop(first, None):
            claim.close()

    def close(self) -> None:
        """Gives up the claims; what runs goes on."""
        for first in list(self._claims):
            self.release(first)


def list_blocks(port_range: str) -> list[int]:
    """The first ports of the blocks that lie in ``FIRST-LAST``. Raises `UsageError` when there is none."""
    low, _, high = port_range.partition("-")
    begin = -(-int(low) // BLOCK) * BLOCK
    blocks = list(range(max(begin, BLOCK), min(int(high), 65535) - BLOCK + 2, BLOCK))
    if not blocks:
        raise UsageError(f"port_range = {port_range!r} holds no {BLOCK} ports in a row; each container needs as many.")
    return blocks


def safe_range(first: int) -> str:
    """``SAGEMAKER_SAFE_PORT_RANGE`` of a block: without the port to bind."""
    return f"{first + 1}-{first + BLOCK - 1}"


def _is_free(first: int, lingering: bool) -> bool:
    """Nothing uses any port of the block, on any address: containers bind 0.0.0.0 as well as 127.0.0.1.

    ``lingering`` overlooks closed connections that the kernel still remembers, as most servers do.
    """
    with contextlib.ExitStack() as stack:
        for port in range(first, first + BLOCK):
            probe = stack.enter_context(socket.socket())
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, lingering)
            try:
                probe.bind(("", port))
            except OSError:
                return False
    return True
