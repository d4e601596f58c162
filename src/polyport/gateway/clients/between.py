"""What stands between a connection and the exchange that answers it, and looks on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.access_log import Logged, Way
    from polyport.gateway.clients.exchange import Client, Taker


class Between:
    """To the connection it is the exchange, to the exchange the connection. It passes everything on; who inherits from
    it says what else is to be done when."""

    __slots__ = ("_client", "exchange")

    def __init__(self, client: Client) -> None:
        self._client = client
        #: The exchange itself; set before anything else happens, and gone when it is over: it holds this, a cycle.
        self.exchange: Taker = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.exchange!r}>"

    def way(self) -> Way:
        """Of the exchange, for the access log."""
        logged: Logged = self.exchange  # type: ignore[assignment]  # all that are logged can tell
        return logged.way()

    # What the exchange asks of its client

    def write(self, data: bytes) -> None:
        """A piece of the answer."""
        self._client.write(data)

    def finish(self) -> None:
        """The answer is complete."""
        self._client.finish()

    def fail(self, error: ApiError, lines: bytes = b"") -> int:
        """An error is the whole answer."""
        return self._client.fail(error, lines)

    def cut(self) -> None:
        """The answer ends before its end."""
        self._client.cut()

    def peer(self) -> str:
        """The client's address."""
        return self._client.peer()

    def pause_body(self) -> None:
        """No more of the body for now."""
        self._client.pause_body()

    def resume_body(self) -> None:
        """More of it."""
        self._client.resume_body()

    # What the connection asks of its exchange

    def start(self) -> None:
        """Set out."""
        self.exchange.start()

    def crashed(self) -> None:
        """A mistake of ours. If the exchange is not over, an answer comes of it."""
        if self.exchange is not None:
            self.exchange.crashed()

    def pause(self) -> None:
        """The client does not take more for now."""
        self.exchange.pause()

    def resume(self) -> None:
        """The client takes more."""
        self.exchange.resume()

    def take(self, piece: bytes) -> None:
        """The next piece of the body."""
        self.exchange.take(piece)

    def stalled(self) -> None:
        """The client does not go on: an answer comes of it."""
        self.exchange.stalled()

    def abandon(self) -> None:
        """The client is gone."""
        self.exchange.abandon()


def innermost(exchange: object) -> object:
    """The exchange itself, whatever looks on."""
    while isinstance(exchange, Between):
        exchange = exchange.exchange
    return exchange
