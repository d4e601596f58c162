"""A body on its way to a container while it is still coming in: from the client, or from the stage before."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyport.gateway.clients.exchange import Client
    from polyport.gateway.containers.routes import Container, Instance
    from polyport.gateway.containers.upstream import Upstream

#: A body is kept for the one permitted repetition up to so many bytes and pieces: a connection that the container
#: closed while it was idle does not take as much before its end is seen.
MOST_KEPT = 1024 * 1024
MOST_PIECES = 256


class Inflow:
    """What is still to come. ``giver``: the stage before, if the body is its answer; ``source``: its connection;
    ``on_end`` is told when nothing more comes of it."""

    __slots__ = ("_client", "_on_end", "giver", "is_clogged", "owed", "source")

    def __init__(
        self,
        client: Client,
        owed: int,
        source: Upstream | None = None,
        giver: tuple[Instance, Container] | None = None,
        on_end: Callable[[Instance], None] | None = None,
    ) -> None:
        self._client = client
        #: Bytes.
        self.owed = owed
        self.source = source
        self.giver = giver
        self._on_end = on_end
        #: The container takes no more for now.
        self.is_clogged = False

    def __repr__(self) -> str:
        return f"<Inflow of {self.owed} bytes from {self.source or self._client!r}>"

    def pause(self) -> None:
        """No more for now."""
        if self.source is None:
            self._client.pause_body()
        else:
            self.source.transport.pause_reading()

    def resume(self) -> None:
        """More, unless the container is the one that does not take it."""
        if self.is_clogged:
            return
        if self.source is None:
            self._client.resume_body()
        elif not self.source.transport.is_closing():
            self.source.transport.resume_reading()

    def end(self) -> None:
        """It is whole, or not wanted any more: then the stage before is not reused, for it is not at its end."""
        self.is_clogged = False
        self.resume()
        if self.source is not None:
            self.source.release()
        if self.giver is not None and self._on_end is not None:
            self._on_end(self.giver[0])
            self._on_end = None
