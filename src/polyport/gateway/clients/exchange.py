"""What a client connection and the exchange it waits for may ask of each other."""

from typing import Protocol

from polyport.errors import ApiError


class Client(Protocol):
    """The connection that waits for an answer."""

    def write(self, data: bytes) -> None:
        """Send a piece of the answer."""

    def finish(self) -> None:
        """The answer is complete."""

    def fail(self, error: ApiError, lines: bytes = b"") -> int:
        """Answer with an error, with these further header lines. Nothing was written before, and nothing comes after.
        Returns how many bytes it took."""

    def cut(self) -> None:
        """Break off an answer that was begun and cannot be ended: the client must see that it is not whole."""

    def peer(self) -> str:
        """The client's address, ``host:port``; empty if it is gone."""

    def pause_body(self) -> None:
        """More of the request's body is not wanted for now."""

    def resume_body(self) -> None:
        """More of it is wanted."""


class Exchange(Protocol):
    """One request on its way."""

    def start(self) -> None:
        """Set out. Answers come later; only a refusal may come from within."""

    def crashed(self) -> None:
        """A mistake of ours was logged: end it, whatever its state."""

    def pause(self) -> None:
        """The client does not take more for now."""

    def resume(self) -> None:
        """The client takes more."""

    def abandon(self) -> None:
        """The client is gone."""


class Taker(Exchange, Protocol):
    """One request that is on its way before its body is whole."""

    def take(self, piece: bytes) -> None:
        """The next piece of the body. With the last one, the request's ``is_whole`` is true."""

    def stalled(self) -> None:
        """The client does not go on with it."""
