"""A call that is refused before any container is asked."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from polyport.gateway import access_log, faults
from polyport.gateway.calls import timing
from polyport.gateway.containers import routes

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.clients.exchange import Client

#: Characters of an endpoint's name.
MAX_NAME = 63


class Refusal:
    """Answers with an error, at once. ``began`` (seconds, monotonic): when the call was looked at; ``None``: the answer
    does not tell how long that took."""

    __slots__ = ("_began", "_client", "_error", "_target")

    def __init__(self, client: Client, target: bytes, error: ApiError, began: float | None) -> None:
        self._client = client
        self._target = target
        # A traceback holds the frames that hold this: a cycle for every refused call.
        self._error = error.with_traceback(None)
        self._began = began

    def __repr__(self) -> str:
        return f"<Refusal {self._error.code}>"

    def start(self) -> None:
        """Answer."""
        lines = b"" if self._began is None else timing.line(monotonic() - self._began, ())
        self._client.fail(self._error, lines)

    def way(self) -> access_log.Way:
        """For the access log: the endpoint as the client wrote it, whether there is one or not."""
        parsed = routes.parse_target(self._target)
        return access_log.Way(parsed[0][:MAX_NAME] if parsed else "", error=self._error.code)

    def crashed(self) -> None:
        """A mistake of ours, before anything was written."""
        self._client.fail(faults.internal())

    def pause(self) -> None:
        """Nothing is under way."""

    def resume(self) -> None:
        """See `pause`."""

    def abandon(self) -> None:
        """See `pause`."""
