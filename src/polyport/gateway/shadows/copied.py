"""The copy of a call on its way through a shadow variant. It ends as any call does, and nobody hears of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyport.errors import ApiError
from polyport.gateway import faults
from polyport.gateway.calls.invocation import Invocation

if TYPE_CHECKING:
    from collections.abc import Callable

    from polyport.gateway.calls.inflow import Inflow
    from polyport.gateway.containers.upstream import Upstream
    from polyport.gateway.shadows.budget import Hold

#: The code of what is broken off because it takes more memory than there is for copies.
TOO_MUCH = "ShadowLimitExceeded"
#: The code of an answer that was begun and not ended.
CUT = "AnswerNotWhole"


class CopiedInvocation(Invocation):
    """What it holds between two stages is taken from the budget too. ``hold`` is set before it starts."""

    __slots__ = ("hold",)

    hold: Hold

    def _collect(self, upstream: Upstream) -> None:
        if self.hold.grow(sum(map(len, upstream.parts))):
            super()._collect(upstream)
        else:
            self._end_badly(ApiError(TOO_MUCH, "There is no room for more copies of calls."), faults.STREAM_BROKEN)

    def _open_inflow(self, upstream: Upstream, inflow: Inflow) -> None:
        """Nothing is kept to be sent again: that would be held beside the budget."""
        super()._open_inflow(upstream, inflow)
        if self._is_repeatable:
            self._is_repeatable = False
            self._body.clear()


class Sink:
    """The client of a copy: takes all and keeps nothing. ``on_end`` is told the code of the error, or nothing."""

    __slots__ = ("_on_end",)

    def __init__(self, on_end: Callable[[Sink, str], None]) -> None:
        self._on_end = on_end

    def write(self, data: bytes) -> None:
        """Thrown away."""

    def finish(self) -> None:
        """It was answered."""
        self._on_end(self, "")

    def fail(self, error: ApiError, lines: bytes = b"") -> int:  # noqa: ARG002  nobody reads them
        """It was not."""
        self._on_end(self, error.code)
        return 0

    def cut(self) -> None:
        """It was answered in part."""
        self._on_end(self, CUT)

    def peer(self) -> str:
        """Nobody waits for it."""
        return ""

    def pause_body(self) -> None:
        """The whole body is in memory."""

    def resume_body(self) -> None:
        """See `pause_body`."""
