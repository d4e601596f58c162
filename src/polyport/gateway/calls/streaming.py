"""InvokeEndpointWithResponseStream: the container's answer in event-stream frames, as it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from polyport.aws import frames
from polyport.gateway import faults
from polyport.gateway.calls import headers
from polyport.gateway.calls.invocation import Invocation

if TYPE_CHECKING:
    from polyport.errors import ApiError
    from polyport.gateway.containers import routes
    from polyport.gateway.containers.upstream import Upstream
    from polyport.gateway.counting import Cell

#: Bytes of payload that SDKs take in one frame.
MAX_PAYLOAD = 16 * 1024 * 1024

PART = frames.head(event_type="PayloadPart", content_type="application/octet-stream", message_type="event")
ERROR = frames.head(exception_type="ModelStreamError", content_type="application/json", message_type="exception")


def part(payload: bytes) -> bytes:
    """A ``PayloadPart``."""
    return frames.frame(PART, payload)


class StreamedInvocation(Invocation):
    """A call that answers in frames."""

    __slots__ = ()

    def _pass_on(self, upstream: Upstream) -> None:
        parts, upstream.parts = upstream.parts, []
        data = b"".join(parts)
        pieces = [part(data[at : at + MAX_PAYLOAD]) for at in range(0, len(data), MAX_PAYLOAD)]
        head = () if self._begun else self._head(upstream, None)
        self._begun = True
        self._write(head, pieces, is_last=upstream.ended)
        if upstream.ended:
            self._finish(is_at_once=bool(head))

    def _count(self, ended: float) -> Cell:
        cell = super()._count(ended)
        cell.streams += 1
        if self._begun:
            model = sum(seconds for _, seconds in self._took)
            whole = self._first - self._began
            cell.first.add(whole * 1e6)
            cell.first_model.add(model * 1e6)
            cell.first_overhead.add((whole - model) * 1e6)
        return cell

    def _count_failure(self, error: ApiError, container: routes.Container | None) -> None:
        super()._count_failure(error, container)
        self._cells().of_call(self._stages[0]).broken_streams += self._begun

    def _framing(self, length: bytes | None) -> bytes:  # noqa: ARG002  frames are not as long as what is in them
        return super()._framing(None)

    def _type_lines(self, content_type: bytes | None) -> bytes:
        lines = b"Content-Type: application/vnd.amazon.eventstream\r\n"
        return lines if content_type is None else b"%bX-Amzn-SageMaker-Content-Type: %b\r\n" % (lines, content_type)

    def _interrupt(self, reason: faults.Interruption, label: str) -> None:
        body = msgspec.json.encode({"ErrorCode": reason.code, "Message": reason.text.format(container=label)})
        self._write((), [frames.frame(ERROR, body)], is_last=True)
        self._client.finish()

    def _write(self, head: tuple[bytes, ...], parts: list[bytes], *, is_last: bool) -> None:
        pieces = headers.chunked(parts, is_last=is_last) if self._is_chunked else parts
        self._client.write(b"".join((*head, *pieces)))
