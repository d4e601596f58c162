"""Members that a request has and the model has not: collected while it is read, told together."""

import difflib
from collections.abc import Collection

_SHOWN = 10
_NAME_LENGTH = 100

Unknown = list[str]
"""Collects what the model does not have, one sentence each."""


def note(unknown: Unknown, name: str, path: str, known: Collection[str]) -> None:
    """Adds the member ``name`` of the structure at ``path``, which has the members ``known``."""
    # Looking for the name that was meant is slow: only for those that are told.
    unknown.append(_sentence(name[:_NAME_LENGTH], path, known) if len(unknown) < _SHOWN else "")


def _sentence(name: str, path: str, known: Collection[str]) -> str:
    at = f" at '{path}'" if path else ""
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" (did you mean '{close[0]}'?)" if close else ""
    return f"'{name}'{at}{hint}"


def message(operation: str, unknown: Unknown) -> str:
    """What a caller of ``operation`` is told of them: the first ten, and how many there are."""
    rest = len(unknown) - _SHOWN
    more = f"; and {rest} more" if rest > 0 else ""
    plural = "s" if len(unknown) > 1 else ""
    return f"{len(unknown)} unknown member{plural} in {operation}: {'; '.join(unknown[:_SHOWN])}{more}"
