"""A container that is given so many calls at the same time and no more; further ones wait in line.

A connection carries one call at a time, so the bound is one on connections in use. Each container has its own line:
a slow one delays nobody but its own callers.
"""

import logging
from typing import Protocol, cast

from polyport.gateway.containers.upstream import Connect, Pool, Upstream, User
from polyport.gateway.deadlines import Lane, Loop

log = logging.getLogger(__name__)


class Caller(User, Protocol):
    """A user who can be told that there is no place."""

    def crowded(self, *, has_waited: bool) -> None:
        """The line is full, or the time to wait in it is over. Nothing was sent."""


class BoundedPool(Pool):
    """``most``: connections in use at the same time; ``size`` and ``seconds``: how many may wait, and how long. Its
    users are `Caller`s."""

    __slots__ = ("_busy", "_is_called", "_line", "_loop", "_most", "_opened", "_size")

    def __init__(self, connect: Connect, loop: Loop, *, most: int, size: int, seconds: float) -> None:
        super().__init__(connect)
        self._loop = loop
        self._most = most
        self._size = size
        #: Those who wait, the foremost first.
        self._line: Lane[Caller] = Lane(loop, seconds, lambda caller: caller.crowded(has_waited=True))
        self._busy: set[Upstream] = set()
        #: Connections that are being made.
        self._opened = 0
        #: The next in line will be called in the next turn.
        self._is_called = False

    @property
    def waiting(self) -> int:
        """How many wait in line."""
        return len(self._line)

    def take(self) -> Upstream | None:
        """As in any pool, but nobody passes the line."""
        return self._occupy() if self._has_place() and not self._line else None

    def open(self, user: User) -> None:
        """A new connection, a place in the line, or neither."""
        if self._has_place() and not self._line:
            self._open_for(user)
        elif len(self._line) < self._size:
            self._line.add(cast(Caller, user))
        else:
            cast(Caller, user).crowded(has_waited=False)

    def leave(self, user: User) -> None:
        """Out of the line."""
        self._line.discard(cast(Caller, user))

    def put(self, upstream: Upstream) -> None:
        """Its place is free."""
        super().put(upstream)
        self._vacate(upstream)

    def forget(self, upstream: Upstream) -> None:
        """Its place is free."""
        super().forget(upstream)
        self._vacate(upstream)

    def opened(self, upstream: Upstream | None) -> None:
        """A connection was made, or (``None``) cannot be."""
        self._opened -= 1
        if upstream is None:
            self._call()
        else:
            self._busy.add(upstream)

    def _has_place(self) -> bool:
        return len(self._busy) + self._opened < self._most

    def _occupy(self) -> Upstream | None:
        upstream = super().take()
        if upstream is not None:
            self._busy.add(upstream)
        return upstream

    def _open_for(self, user: User) -> None:
        self._opened += 1
        super().open(_Opening(self, user))

    def _vacate(self, upstream: Upstream) -> None:
        if upstream in self._busy:
            self._busy.remove(upstream)
            self._call()

    def _call(self) -> None:
        """Not at once: whoever left the place is still in the middle of something."""
        if self._line and not self._is_called:
            self._is_called = True
            self._loop.call_at(self._loop.time(), self._admit)

    def _admit(self) -> None:
        self._is_called = False
        while self._has_place() and (caller := self._line.pop()) is not None:
            upstream = self._occupy()
            try:
                if upstream is None:
                    self._open_for(caller)
                else:
                    caller.connected(upstream)
            except Exception:
                log.exception("an exchange failed")
                caller.crashed()


class _Opening:
    """Stands for a user while its connection is made, to keep count."""

    __slots__ = ("_pool", "_user")

    def __init__(self, pool: BoundedPool, user: User) -> None:
        self._pool = pool
        self._user = user

    def connected(self, upstream: Upstream) -> None:
        """Pass it on."""
        self._pool.opened(upstream)
        self._user.connected(upstream)

    def refused(self, reason: str) -> None:
        """Pass it on."""
        self._pool.opened(None)
        self._user.refused(reason)

    def received(self, upstream: Upstream) -> None:
        """Never: the user itself begins the exchange."""
        self._user.received(upstream)

    def clogged(self) -> None:
        """Never, as `received`."""

    def cleared(self) -> None:
        """Never, as `received`."""

    def broken(self, upstream: Upstream, reason: str) -> None:
        """Never, as `received`."""
        self._user.broken(upstream, reason)

    def crashed(self) -> None:
        """Pass it on."""
        self._user.crashed()
