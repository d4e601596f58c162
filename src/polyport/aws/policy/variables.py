"""Policy variables (``${aws:username}``, ``${aws:username, 'nobody'}``), escapes (``${*}``) and wildcards in texts."""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from polyport.aws.policy import globs, keys

#: What a request carries: lower-case condition keys, several values as a tuple.
Context = Mapping[str, str | tuple[str, ...]]

_VARIABLE = re.compile(r"\$\{([^${}]*)\}|\$\{([$])\}")
_SPECIAL = re.compile(r"\$\{|[*?]")
_INSIDE = re.compile(r"\s*([^\s,']+)\s*(?:,\s*'([^']*)'\s*)?")
_ESCAPED = frozenset("*?$")


class Variable(NamedTuple):
    """Stands for the value of a condition key (lower-case), or for a default where the request has none."""

    key: str
    default: str | None = None


Part = globs.Token | Variable


def read(text: str, *, wildcards: bool, substitutes: bool) -> list[Part]:
    """The parts of a text of a policy.

    ``wildcards``: whether ``*`` and ``?`` mean more than themselves; ``substitutes``: whether ``${`` does, which it
    does since version 2012-10-17. Raises `ValueError`, with what is wrong, for a variable that cannot be.
    """
    parts: list[Part] = []
    position = 0
    for special in _SPECIAL.finditer(text):
        if special.start() < position:
            continue
        if special.group() == "${":
            if not substitutes:
                continue
            part, end = _variable(text, special.start())
        elif wildcards:
            part, end = globs.Wild(special.group()), special.end()
        else:
            continue
        parts += [text[position : special.start()], part]
        position = end
    parts.append(text[position:])
    return [part for part in parts if part != ""]


def _variable(text: str, start: int) -> tuple[Part, int]:
    match = _VARIABLE.match(text, start)
    if match is None:
        raise ValueError(f"a variable that starts with {text[start : start + 32]!r} has no end")
    if match[2] or match[1] in _ESCAPED:
        return match[2] or match[1], match.end()
    inside = _INSIDE.fullmatch(match[1])
    if inside is None:
        raise ValueError(f"{match.group()[:64]!r} is no variable: ${{key}} or ${{key, 'default'}}")
    key = keys.find(inside[1])
    if key is None:
        raise ValueError(f"the variable {inside[1][:64]!r} is no known condition key{keys.suggestion(inside[1])}")
    if key.is_list:
        raise ValueError(f"{key.name} may have several values and cannot be a variable")
    return Variable(inside[1].lower(), inside[2]), match.end()


def required(parts: Sequence[Part]) -> frozenset[str]:
    """The keys that a request must have for this text to mean anything."""
    return frozenset(part.key for part in parts if isinstance(part, Variable) and part.default is None)


def names(parts: Sequence[Part]) -> frozenset[str]:
    """All keys that this text may read."""
    return frozenset(part.key for part in parts if isinstance(part, Variable))


def resolve(parts: Sequence[Part], context: Context) -> list[globs.Token] | None:
    """The pattern with the request's values, which are meant literally. None where a value is missing."""
    tokens: list[globs.Token] = []
    for part in parts:
        if not isinstance(part, Variable):
            tokens.append(part)
            continue
        value = value_of(part.key, context)
        if value is None:
            value = part.default
        if value is None:
            return None
        tokens.append(value)
    return tokens


def have_values(wanted: frozenset[str], context: Context) -> bool:
    """Whether each of the keys can be put into a pattern."""
    return all(value_of(name, context) is not None for name in wanted)


def value_of(key: str, context: Context) -> str | None:
    """The one value that the request has for a key; None without one, or with several."""
    value = context.get(key)
    if isinstance(value, tuple):
        return value[0] if len(value) == 1 else None
    return value
