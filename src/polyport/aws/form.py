"""``application/x-www-form-urlencoded`` text, bytes to pairs, and pairs with dotted names to a tree. Knows no model."""

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from polyport.errors import ApiError

#: A request may have that many parameters: a mebibyte, the most that is read, at some fifty bytes for each.
MOST_PARAMETERS = 20_000
#: How many parts a name may have. The deepest names of the services that Polyport knows have ten (CloudWatch), of all
#: services fourteen.
_MOST_PARTS = 16
_SHOWN = 100
_BAD_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")

Pairs = list[tuple[str, str]]
"""Names and values, decoded, in the order of the request."""

Tree = dict[str, "Tree | str"]
"""``A.B=x`` as ``{"A": {"B": "x"}}``."""


def malformed(message: str) -> ApiError:
    """The query protocol's error for parameters that are not well-formed, with the status that AWS documents for it."""
    return ApiError("MalformedQueryString", message, 404)


def shown(name: str) -> str:
    """As much of a caller's text as a message may repeat."""
    return name if len(name) <= _SHOWN else f"{name[:_SHOWN]}..."


def pairs(text: bytes) -> Pairs:
    """The parameters of a body or of a query string; a name without ``=`` has an empty value.

    Raises `ApiError` ``MalformedQueryString`` for a bad percent-encoding, for what is not UTF-8, for a value without
    a name, and for more than `MOST_PARAMETERS`.
    """
    # Counted before anything is made of them.
    if text.count(b"&") >= MOST_PARAMETERS:
        raise _too_many()
    found = []
    for part in text.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            if not name:
                raise malformed("A parameter has no name.")
            # A value is not repeated in an error: it may be a secret.
            decoded = _decoded(name, "the name of a parameter")
            found.append((decoded, _decoded(value, f"the value of {shown(decoded)}")))
    return found


def _decoded(raw: bytes, what: str) -> str:
    if _BAD_ESCAPE.search(raw):
        raise malformed(f"In {what} two hexadecimal digits are missing behind a percent sign.")
    try:
        return unquote_to_bytes(raw.replace(b"+", b" ")).decode()
    except UnicodeDecodeError as error:
        raise malformed(f"In {what} is text that is not UTF-8.") from error


def tree(parameters: Iterable[tuple[str, str]]) -> Tree:
    """The parameters by the parts of their names.

    Raises `ApiError` ``MalformedQueryString`` for a parameter that is given twice, for a name that is a value and the
    beginning of other names at once, for empty parts and too many of them, and for more than `MOST_PARAMETERS`.
    """
    root: Tree = {}
    for count, (name, value) in enumerate(parameters):
        if count >= MOST_PARAMETERS:
            raise _too_many()
        _put(root, name, value)
    return root


def _put(root: Tree, name: str, value: str) -> None:
    *branches, leaf = name.split(".", _MOST_PARTS - 1)
    if "." in leaf or not leaf or "" in branches:
        raise malformed(f"{shown(name)} is no name of a parameter: it has empty parts, or more than {_MOST_PARTS}.")
    node = root
    for part in branches:
        below = node.setdefault(part, {})
        if isinstance(below, str):
            raise _clash(name)
        node = below
    if leaf in node:
        if isinstance(node[leaf], str):
            raise malformed(f"The parameter {shown(name)} is given more than once.")
        raise _clash(name)
    node[leaf] = value


def _clash(name: str) -> ApiError:
    return malformed(f"The parameter {shown(name)} contradicts another: one name has a value and parts.")


def _too_many() -> ApiError:
    return malformed(f"A request may have at most {MOST_PARAMETERS} parameters.")
