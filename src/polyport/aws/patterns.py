"""The models' regular expressions are Java's; this translates them to Python's.

What differs and occurs: ``\\p{...}`` classes, ``\\z``, ``\\x{...}``, surrogate pairs, literal hyphens after a class
(``[\\w-_]``), nested brackets; ``\\w``, ``\\d`` and ``\\s`` are ASCII only, and ``.`` stops at every line terminator.
"""

import functools
import itertools
import re
import string
import unicodedata
from collections.abc import Callable, Iterator

#: Patterns that this product accepts besides the model's, by shape: model data may also be in a folder of this
#: machine. This is the only place where the API is wider than SageMaker's.
ALSO_ACCEPTED = {"Url": "file:///.+", "S3ModelUri": "file:///.+"}

_SURROGATES = re.compile(r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_PIECE = re.compile(r"\\[pP]\{\w+\}|\\x\{[0-9a-fA-F]+\}|\\u[0-9a-fA-F]{4}|\\x[0-9a-fA-F]{2}|\\.|.", re.DOTALL)
_DOT = "[^\n\r\x85\u2028\u2029]"
_ASCII_CLASSES = {
    "ASCII": "\x00-\x7f",
    "Lower": "a-z",
    "Upper": "A-Z",
    "Alpha": "a-zA-Z",
    "Digit": "0-9",
    "Alnum": "a-zA-Z0-9",
    "XDigit": "0-9a-fA-F",
    "Punct": re.escape(string.punctuation),
    "Graph": "!-~",
    "Print": " -~",
    "Blank": " \t",
    "Cntrl": "\x00-\x1f\x7f",
    "Space": "\t-\r ",
}
_UNICODE_CLASSES = {"LD": ("L", "Nd"), "IsAlphabetic": ("L", "Nl"), "IsWhitespace": ("Z",), "all": ("",)}


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The pattern for Python, to be used with ``fullmatch``. Raises `re.error` for one that cannot be translated."""
    return re.compile(translate(pattern), re.ASCII)


def fits(pattern: str, text: str) -> bool:
    """Whether the whole text is as the model's pattern says."""
    return compiled(pattern).fullmatch(text) is not None


def translate(pattern: str) -> str:
    """A Java regular expression in Python's words."""
    pieces = [match.group() for match in _PIECE.finditer(_SURROGATES.sub(_join_surrogates, pattern))]
    dot = "." if "(?s" in pattern else _DOT
    out: list[str] = []
    position = 0
    while position < len(pieces):
        piece = pieces[position]
        if piece == "[":
            end = _end_of_class(pieces, position)
            out.append(_class(pieces[position + 1 : end]))
            position = end
        else:
            out.append(dot if piece == "." else _outside(piece, pieces[position + 1 : position + 2]))
        position += 1
    return "".join(out)


def _join_surrogates(match: re.Match[str]) -> str:
    high, low = int(match[1], 16), int(match[2], 16)
    return chr(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))


def _end_of_class(pieces: list[str], start: int) -> int:
    first = start + 2 if pieces[start + 1 : start + 2] == ["^"] else start + 1
    try:
        return pieces.index("]", first)
    except ValueError:
        raise re.error("a character class has no end") from None


def _outside(piece: str, following: list[str]) -> str:
    if piece == "\\z":
        return r"\Z"
    if piece == "$" and following == ["{"]:  # Java repeats an anchor where Python says there is nothing to repeat
        return "(?:$)"
    if piece.startswith(("\\p{", "\\P{")):
        return f"[{_property(piece)}]"
    return _hexadecimal(piece)


def _class(pieces: list[str]) -> str:
    """A character class. Java wants fewer escapes inside than Python, which warns of what may become set operations."""
    if "&&" in "".join(pieces):
        raise re.error("an intersection of character classes is not translated")
    out: list[str] = []
    after_class = False
    for index, piece in enumerate(pieces):
        if piece.startswith(("\\p{", "\\P{")):
            out.append(_property(piece))
        elif piece == "-" and after_class:
            out.append(r"\-")
        elif piece in "[&|~" or (piece == "-" and index == len(pieces) - 1):
            out.append("\\" + piece)
        else:
            out.append(_hexadecimal(piece))
        after_class = piece[:2] in ("\\p", "\\P", "\\w", "\\W", "\\d", "\\D", "\\s", "\\S")
    return f"[{''.join(out)}]"


def _hexadecimal(piece: str) -> str:
    return re.escape(chr(int(piece[3:-1], 16))) if piece.startswith("\\x{") else piece


def _property(piece: str) -> str:
    """The inside of a character class for ``\\p{Name}`` or, complemented, ``\\P{Name}``."""
    name, negated = piece[3:-1], piece[1] == "P"
    if name in _ASCII_CLASSES and not negated:
        return _ASCII_CLASSES[name]
    if name in _ASCII_CLASSES:
        ascii_class = re.compile(f"[{_ASCII_CLASSES[name]}]")
        return _ranges(lambda code: not (code < 0x80 and ascii_class.match(chr(code))))
    prefixes = _UNICODE_CLASSES.get(name, (name.removeprefix("Is"),))
    return "".join(
        f"{re.escape(chr(first))}-{re.escape(chr(last))}"
        for first, last, category in _categories()
        if category.startswith(prefixes) != negated
    )


def _ranges(belongs: Callable[[int], bool]) -> str:
    outside_ascii = "\x80-\U0010ffff" if belongs(0x80) else ""
    return "".join(re.escape(chr(code)) for code in range(0x80) if belongs(code)) + outside_ascii


@functools.cache
def _categories() -> tuple[tuple[int, int, str], ...]:
    """All of Unicode as (first, last, general category). Takes some 50 ms once, so only where a pattern needs it.

    Planes 4 to 13 are empty and 15 and 16 are for private use, in every version of Unicode: not looked at one by one.
    """
    return (
        *_scan(0, 0x3FFFF),
        (0x40000, 0xDFFFF, "Cn"),
        *_scan(0xE0000, 0xE0FFF),
        (0xE1000, 0xEFFFF, "Cn"),
        (0xF0000, 0x10FFFF, "Co"),
    )


def _scan(first: int, last: int) -> Iterator[tuple[int, int, str]]:
    for category, codes in itertools.groupby(range(first, last + 1), key=lambda code: unicodedata.category(chr(code))):
        members = list(codes)
        yield members[0], members[-1], category
