"""Looks on at a call that is to be copied, and hands the copy over once the caller has its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyport.gateway.calls import headers
from polyport.gateway.clients.between import Between
from polyport.gateway.clients.request import Request
from polyport.gateway.shadows import tally

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyport.errors import ApiError
    from polyport.gateway.calls.planning import Call
    from polyport.gateway.clients.exchange import Client
    from polyport.gateway.containers.routes import Variant
    from polyport.gateway.shadows.budget import Hold
    from polyport.gateway.shadows.tally import Tally

#: The only error whose call is copied: the container was asked, and what another would say is of interest.
MODEL_ERROR = "ModelError"


class Copy:
    """One call to be copied. ``request`` is the call's own until the copy is due, then the copy's."""

    __slots__ = ("accept", "endpoint", "hold", "is_stream", "request", "stages", "tally", "variant")

    def __init__(
        self, request: Request, call: Call, variant: Variant, stages: tuple[int, ...], hold: Hold, tally_: Tally
    ) -> None:
        self.request = request
        self.endpoint, self.accept, self.is_stream = call[0], call[4], call[5]
        self.variant = variant
        #: The places of its containers in the shadow's instances.
        self.stages = stages
        self.hold = hold
        self.tally = tally_

    def __repr__(self) -> str:
        return f"<Copy of {self.request!r} for {self.variant.name}>"

    def drop(self, reason: str) -> None:
        """It will not be made."""
        self.tally.dropped[reason] += 1
        self.hold.release()


class Mirror(Between):
    """``offer`` gets the copy when it is due.

    Of a body that is in memory nothing is kept: the call has it anyway. One that goes on to its container while it
    comes is kept beside, if there is room.
    """

    __slots__ = ("_body", "_copy", "_is_early", "_offer")

    def __init__(self, client: Client, copy: Copy, offer: Callable[[Copy], None]) -> None:
        super().__init__(client)
        self._copy = copy
        self._offer = offer
        self._is_early = False
        #: Gathers a body that goes on while it comes.
        self._body: Request | None = None

    def start(self) -> None:
        """From now on, the call may forget what it has sent on of its body."""
        request = self._copy.request
        self._is_early = not request.is_whole
        if self._is_early and self._copy.hold.grow(request.size):
            self._body = Request()
            # Not the pieces themselves: to small ones more is added.
            self._body.keep(b"".join(request.body))
        super().start()

    def take(self, piece: bytes) -> None:
        """Keep it, and pass it on."""
        if self._body is not None:
            self._body.keep(piece)
        super().take(piece)

    def finish(self) -> None:
        """The answer is complete."""
        super().finish()
        self._end()

    def fail(self, error: ApiError, lines: bytes = b"") -> int:
        """An error is the whole answer."""
        taken = super().fail(error, lines)
        self._end(is_due=error.code == MODEL_ERROR)
        return taken

    def cut(self) -> None:
        """The answer ends before its end."""
        super().cut()
        self._end()

    def abandon(self) -> None:
        """The client is gone: nobody was answered."""
        super().abandon()
        self._end(is_due=False)

    def _end(self, *, is_due: bool = True) -> None:
        self.exchange = None  # type: ignore[assignment]
        copy, original = self._copy, self._copy.request
        if not is_due:
            copy.hold.release()
        elif not original.is_whole:
            copy.drop(tally.NOT_WHOLE)
        elif self._is_early and self._body is None:
            copy.drop(tally.NO_ROOM)
        else:
            copy.request = _twin(original, original.body if self._body is None else self._body.body)
            self._offer(copy)


def _twin(original: Request, body: list[bytes | bytearray]) -> Request:
    """The same request, for nobody's connection."""
    made = Request()
    made.id, made.method, made.target = original.id, original.method, original.target
    # The caller's trace is of what its answer took.
    made.fields, made.members = original.fields, headers.without_context(original.members)
    made.body, made.size = body, original.size
    return made
