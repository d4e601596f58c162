"""What an oracle says, and what must not be said in a log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class Finding(Exception):
    """Something that must always hold does not."""


def require(holds: object, text: str) -> None:
    """Raises `Finding` with the text unless it holds."""
    if not holds:
        raise Finding(text)


class _Errors(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def no_errors_logged() -> Iterator[None]:
    """Polyport survives mistakes of its own and logs them: here they are findings. Nothing is printed."""
    logger = logging.getLogger("polyport")
    handler = _Errors()
    before = logger.propagate
    logger.propagate = False
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.propagate = before
    for record in handler.records:
        cause = record.exc_info[1] if record.exc_info else None
        raise Finding(f"logged as a mistake: {record.getMessage()}: {cause!r}") from cause
