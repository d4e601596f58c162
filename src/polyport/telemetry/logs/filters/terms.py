"""Patterns of terms: ``ERROR -debug``, ``"two words"``, ``?this ?that``, ``%regex%``."""

import re
from collections.abc import Callable

from polyport.telemetry.logs.filters import tokens
from polyport.telemetry.logs.filters.tokens import PatternError

_TERM = re.compile(r'([-?]?)("(?:[^"\\]|\\.)*"|%(?:[^%\\]|\\.)+%|[^\s"%]\S*)(?:\s+|$)')


def compile_pattern(pattern: str) -> Callable[[str], bool] | None:
    """All terms, none of those with ``-``; or, where nothing else is said, one of those with ``?``. ``None``: all."""
    kinds: dict[str, list[Callable[[str], bool]]] = {"": [], "-": [], "?": []}
    at = 0
    while at < len(pattern):
        match = _TERM.match(pattern, at)
        if match is None:
            raise PatternError(f"the pattern cannot be read from {pattern[at : at + 20]!r} on")
        kinds[match[1]].append(_contains(match[2]))
        at = match.end()
    wanted, unwanted, either = kinds[""], kinds["-"], kinds["?"]
    if wanted or unwanted:
        return lambda text: all(term(text) for term in wanted) and not any(term(text) for term in unwanted)
    return (lambda text: any(term(text) for term in either)) if either else None


def _contains(token: str) -> Callable[[str], bool]:
    if len(token) > 2 and token[0] == token[-1] == "%":
        return tokens.regex(token[1:-1])
    value = tokens.unquoted(token)
    return lambda text: value in text
