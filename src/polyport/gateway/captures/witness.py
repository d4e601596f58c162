"""Looks on at a call that is to be captured, and hands over what went in and out once the caller has its answer."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING, cast

from polyport.gateway.calls import headers
from polyport.gateway.clients.between import Between, innermost
from polyport.gateway.clients.request import SMALL
from polyport.telemetry.capture.records import Call, Entry

if TYPE_CHECKING:
    from polyport.domain.captures import Capture
    from polyport.errors import ApiError
    from polyport.gateway.calls.course import Course
    from polyport.gateway.captures.captures import Captures, Key, Tally
    from polyport.gateway.clients.exchange import Client
    from polyport.gateway.clients.request import Request
    from polyport.gateway.containers.upstream import Upstream

#: Bytes that a call takes besides its bodies, and each piece of them; more or less.
OVERHEAD, PIECE_OVERHEAD = 1024, 64
_INFERENCE_ID = b"x-amzn-sagemaker-inference-id"

#: Why a call that was to be captured is not.
NO_ROOM = "no room"
TOO_LARGE = "too large"
NOT_WHOLE = "body not whole"


class Witness(Between):
    """To the call it is the client, to the client the call. `answer` is asked by the call itself, which alone sees the
    answer as the container gave it.

    Of a request that is in memory nothing is kept: the call has it anyway. One that goes on to its container while it
    comes is kept beside. Once there is no room, all that was kept is let go.
    """

    __slots__ = (
        "_began",
        "_capture",
        "_captures",
        "_held",
        "_input",
        "_key",
        "_output",
        "_output_type",
        "_reason",
        "_request",
        "_tally",
    )

    def __init__(
        self, captures: Captures, client: Client, request: Request, capture: Capture, key: Key, tally: Tally
    ) -> None:
        super().__init__(client)
        self._captures = captures
        self._capture = capture
        self._request = request
        self._key = key
        self._tally = tally
        self._began = time()
        #: Of a body that goes on while it comes.
        self._input: list[bytes | bytearray] | None = None
        self._output: list[bytes | bytearray] = []
        self._output_type: bytes | None = None
        #: Why it will not be kept; empty: it may.
        self._reason = ""
        #: Bytes that are taken of the worker's room.
        self._held = 0

    def start(self) -> None:
        """From now on, the call may forget what it has sent on of its body."""
        request = self._request
        if self._capture.takes_input and not request.is_whole:
            self._input = []
            self._keep(self._input, b"".join(request.body))
        super().start()

    def take(self, piece: bytes) -> None:
        """Keep it, and pass it on."""
        if self._input is not None:
            self._keep(self._input, piece)
        super().take(piece)

    def answer(self, upstream: Upstream) -> None:
        """Of the last container, a success: its head and whatever there is of its body."""
        if self._capture.takes_output:
            if self._output_type is None:
                self._output_type = headers.from_container(upstream.headers).get(headers.TYPE, b"")
            for part in upstream.parts:
                self._keep(self._output, part)

    def finish(self) -> None:
        """The answer is complete, or a stream ends with the error that broke it off."""
        call = cast("Course", innermost(self.exchange))
        super().finish()
        if call.failure:
            self._forget()
            return
        self.exchange = None  # type: ignore[assignment]
        request = self._request
        if self._capture.takes_input and not request.is_whole:
            self._give_up(NOT_WHOLE)
        elif self._capture.takes_input and self._input is None:
            self._grow(request.size + PIECE_OVERHEAD * len(request.body))
        if not self._reason and self._grow(OVERHEAD):
            self._captures.offer(self._key, self._capture, self._call(), self._held)
        else:
            self._tally.dropped[self._reason] += 1

    def fail(self, error: ApiError, lines: bytes = b"") -> int:
        """An error is the whole answer: nothing is captured."""
        taken = super().fail(error, lines)
        self._forget()
        return taken

    def cut(self) -> None:
        """The answer ends before its end."""
        super().cut()
        self._forget()

    def abandon(self) -> None:
        """The client is gone."""
        super().abandon()
        self._forget()

    # Steps

    def _call(self) -> Call:
        request, capture = self._request, self._capture
        entry = Entry(
            event_id=request.id.decode(),
            at=self._began,
            inference_id=request.members.get(_INFERENCE_ID, b"").decode("latin-1"),
        )
        given = self._input if self._input is not None else list(request.body)
        made = Call(entry)
        if capture.takes_input:
            entry.input_type = request.fields.get(headers.TYPE, headers.DEFAULT_TYPE).decode("latin-1")
            entry.input_size, made.input = sum(map(len, given)), given
        if capture.takes_output:
            entry.output_type = (self._output_type or b"").decode("latin-1")
            entry.output_size, made.output = sum(map(len, self._output)), self._output
        return made

    def _keep(self, pieces: list[bytes | bytearray], piece: bytes) -> None:
        """Small pieces are put together: a list of them would take many times their size."""
        if self._reason or not self._grow(len(piece) + PIECE_OVERHEAD):
            return
        if len(piece) >= SMALL or not pieces:
            pieces.append(piece)
        elif isinstance(pieces[-1], bytearray):
            pieces[-1] += piece
        else:
            pieces.append(bytearray(piece))

    def _grow(self, size: int) -> bool:
        if self._reason:
            return False
        if self._held + size > self._captures.most_of_call:
            self._give_up(TOO_LARGE)
        elif not self._captures.take(size):
            self._give_up(NO_ROOM)
        else:
            self._held += size
            return True
        return False

    def _give_up(self, reason: str) -> None:
        self._reason = self._reason or reason
        self._captures.give_back(self._held)
        self._held = 0
        self._input, self._output = None if self._input is None else [], []

    def _forget(self) -> None:
        self.exchange = None  # type: ignore[assignment]
        self._captures.give_back(self._held)
        self._held = 0
