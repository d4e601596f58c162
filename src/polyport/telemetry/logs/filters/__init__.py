"""CloudWatch Logs' filter patterns: terms (`terms`), fields of JSON (`json`), columns (`columns`); and the regular
expressions in all of them (`linear`), which take time in proportion to the text, whatever they say.
"""

from collections.abc import Callable

from polyport.telemetry.logs.filters import columns, json, terms
from polyport.telemetry.logs.filters.tokens import PatternError

__all__ = ["Matches", "PatternError", "compile_filter"]

Matches = Callable[[str], bool]
"""Whether a message is meant."""


def compile_filter(pattern: str) -> Matches | None:
    """What tells which messages are meant; ``None``: all. Raises `PatternError`."""
    pattern = pattern.strip()
    if pattern.startswith("{"):
        return json.compile_pattern(pattern)
    if pattern.startswith("["):
        return columns.compile_pattern(pattern)
    return terms.compile_pattern(pattern)
