"""Lines that belong together, for people: a traceback is one block, whatever other containers print meanwhile. Pure."""

import msgspec

from polyport.telemetry.logs.records import Event

#: Microseconds after which nothing more is expected to belong to a block.
PATIENCE = 500_000
#: Between a message and the traceback that follows it.
_AT_ONCE = 100_000
_TRACEBACK = "Traceback (most recent call last):"
_LINKS = (
    "During handling of the above exception",
    "The above exception was the direct cause",
    "Caused by:",
    "... ",
)


class Block(msgspec.Struct):
    """Lines of one stream, in their order. ``is_done``: no more of them come."""

    stream: str
    events: list[Event]
    is_done: bool = False
    #: The last lines are a traceback that has not come to the exception itself.
    in_traceback: bool = False

    @property
    def last(self) -> Event:
        """The line that came last."""
        return self.events[-1]


class Blocks:
    """Takes lines by time and gives blocks, in the order of their first lines."""

    def __init__(self) -> None:
        self._waiting: list[Block] = []
        self._open: dict[tuple[str, str], Block] = {}

    def add(self, stream: str, event: Event) -> list[Block]:
        """One more line; returns the blocks that are complete now."""
        block = self._open.get((stream, event.source))
        if block is None or not _belongs(block, event):
            if block is not None:
                block.is_done = True
            block = self._open[stream, event.source] = Block(stream, [])
            self._waiting.append(block)
        block.events.append(event)
        block.in_traceback = _is_in_traceback(block, event)
        return self.expire(event.micros)

    def expire(self, now: int) -> list[Block]:
        """The blocks that are complete at a time, in microseconds."""
        for block in self._waiting:
            if block.last.micros + PATIENCE < now:
                self._close(block)
        return self._take()

    def flush(self) -> list[Block]:
        """All that is left."""
        for block in self._waiting:
            self._close(block)
        return self._take()

    def _close(self, block: Block) -> None:
        block.is_done = True
        key = (block.stream, block.last.source)
        if self._open.get(key) is block:
            del self._open[key]

    def _take(self) -> list[Block]:
        count = next((index for index, block in enumerate(self._waiting) if not block.is_done), len(self._waiting))
        done, self._waiting = self._waiting[:count], self._waiting[count:]
        return done


def _belongs(block: Block, event: Event) -> bool:
    text = event.text
    if text.startswith((" ", "\t")) or block.in_traceback or text.startswith(_LINKS):
        return True
    if text == _TRACEBACK:
        return event.micros - block.last.micros < _AT_ONCE
    # An empty line inside of a chain of tracebacks.
    return not text and len(block.events) > 1


def _is_in_traceback(block: Block, event: Event) -> bool:
    if event.text == _TRACEBACK:
        return True
    return block.in_traceback and (not event.text or event.text.startswith((" ", "\t")))
