"""JSON with positions: what the standard library's reader forgets, a policy's author wants to know."""

import json
import re
from typing import NamedTuple

from polyport.errors import PolicyError

#: A policy's condition values are seven levels deep.
_DEEPEST = 16

_SPACE = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*"')
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_WORD = re.compile(r"(?:true|false|null)(?![a-zA-Z0-9_])")
_SURROGATE = re.compile("[\ud800-\udfff]")
_WORDS = {"true": True, "false": False, "null": None}


class Number(NamedTuple):
    """A number as it was written: policies compare numbers as texts too."""

    text: str


class Node(NamedTuple):
    """A JSON value and the offset in the text where it starts; a member of an object starts with its name."""

    value: "dict[str, Node] | list[Node] | str | Number | bool | None"
    offset: int

    @property
    def kind(self) -> str:
        """What it is, for people."""
        if self.value is None:
            return "null"
        return _KINDS[type(self.value)]


_KINDS = {dict: "an object", list: "a list", str: "a string", Number: "a number", bool: "a boolean"}


def read(text: str) -> Node:
    """The whole text as one value. Raises `PolicyError` for what is no JSON, double keys and deep nesting."""
    reader = _Reader(text)
    node = reader.value(0)
    if reader.position < len(text):
        raise reader.error("there is more text after the end of the document")
    return node


def error(text: str, offset: int, message: str, path: str = "") -> PolicyError:
    """The error for a place in the text."""
    line = text.count("\n", 0, offset) + 1
    return PolicyError(message, path, line, offset - text.rfind("\n", 0, offset))


class _Reader:
    def __init__(self, text: str) -> None:
        self._text = text
        self.position = 0
        self._skip()

    def error(self, message: str, offset: int | None = None) -> PolicyError:
        return error(self._text, self.position if offset is None else offset, message)

    def value(self, depth: int) -> Node:
        """The value that starts here; afterwards the position is behind it and behind the space that follows."""
        if depth > _DEEPEST:
            raise self.error(f"more than {_DEEPEST} levels of nesting")
        start = self.position
        match self._text[start : start + 1]:
            case "{":
                return Node(self._object(depth), start)
            case "[":
                return Node(self._list(depth), start)
            case '"':
                return Node(self._string(), start)
            case "":
                raise self.error("the text ends where a value is expected")
        if number := self._take(_NUMBER):
            return Node(Number(number), start)
        if word := self._take(_WORD):
            return Node(_WORDS[word], start)
        raise self.error("no JSON value starts here")

    def _object(self, depth: int) -> dict[str, Node]:
        members: dict[str, Node] = {}
        self._step()
        while not self._accept("}"):
            if members:
                self._expect(",", "a comma or the closing brace of the object is missing")
            start = self.position
            if self._text[start : start + 1] != '"':
                raise self.error("the name of a member, in double quotes, is expected")
            name = self._string()
            if name in members:
                raise self.error(f"the object has two members {json.dumps(name[:64])}", start)
            self._expect(":", "a colon after the name of a member is missing")
            members[name] = Node(self.value(depth + 1).value, start)
        return members

    def _list(self, depth: int) -> list[Node]:
        elements: list[Node] = []
        self._step()
        while not self._accept("]"):
            if elements:
                self._expect(",", "a comma or the closing bracket of the list is missing")
            elements.append(self.value(depth + 1))
        return elements

    def _string(self) -> str:
        start = self.position
        token = self._take(_STRING)
        if token is None:
            raise self.error("the string has no end, or holds a control character or an unknown escape")
        text: str = json.loads(token)
        if _SURROGATE.search(text):
            raise self.error("the string holds half of a surrogate pair, which is no character", start)
        return text

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        match = pattern.match(self._text, self.position)
        if match is None:
            return None
        self.position = match.end()
        self._skip()
        return match.group()

    def _accept(self, character: str) -> bool:
        if not self._text.startswith(character, self.position):
            return False
        self._step()
        return True

    def _expect(self, character: str, otherwise: str) -> None:
        if not self._accept(character):
            raise self.error(otherwise)

    def _step(self) -> None:
        self.position += 1
        self._skip()

    def _skip(self) -> None:
        match = _SPACE.match(self._text, self.position)
        self.position = match.end() if match else self.position
