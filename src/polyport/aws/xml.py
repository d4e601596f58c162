"""Values of a shape as XML text, as the query protocol's services write them."""

import base64
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from xml.sax.saxutils import escape, quoteattr

from botocore.model import Shape

from polyport.aws import moments

#: What XML 1.0 cannot hold, not even escaped.
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
#: Readers make a line feed of a carriage return that is not escaped.
_ESCAPED = {"\r": "&#13;"}


def document(root: str) -> bytes:
    """The bytes of a document around its root element."""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{root}'.encode()


def text(value: str) -> str:
    """Character data: nothing in it is markup, and what XML cannot hold is replaced by U+FFFD."""
    return escape(_NOT_XML.sub("\ufffd", value), _ESCAPED)


def element(name: str, content: str, namespace: str = "") -> str:
    """An element around ``content``, which is XML already."""
    declared = f" xmlns={quoteattr(namespace)}" if namespace else ""
    return f"<{name}{declared}>{content}</{name}>"


def wire_name(name: str, member: Shape) -> str:
    """What a structure's member is called in XML and in forms.

    A flattened list has no element of its own: its entries stand in its place, by their name where they have one.
    """
    own = member.serialization.get("name", name)
    is_flat_list = member.type_name == "list" and member.serialization.get("flattened")
    return str(member.member.serialization.get("name", own) if is_flat_list else own)


def members(shape: Shape, value: Mapping[str, Any]) -> str:
    """The elements of a structure's members; those that are ``None`` are left out.

    `ValueError` or `TypeError` when ``value`` is not of the shape.
    """
    return "".join(_members(shape, value))


def _members(shape: Shape, value: Mapping[str, Any]) -> Iterator[str]:
    for name, inner in value.items():
        if name not in shape.members:
            raise ValueError(f"{shape.name} has no member {name!r}")
        if inner is not None:
            member = shape.members[name]
            yield _named(member, inner, wire_name(name, member))


def _named(shape: Shape, value: Any, name: str) -> str:
    """A value under its name: one element, or, of a flattened list or map, one for each entry."""
    if shape.serialization.get("flattened") and shape.type_name in _ENTRIES:
        return _ENTRIES[shape.type_name](shape, value, name)
    return element(name, _CONTENTS[shape.type_name](shape, value))


def _list(shape: Shape, value: Any, name: str = "") -> str:
    name = name or shape.member.serialization.get("name", "member")
    return "".join(_named(shape.member, inner, name) for inner in value)


def _map(shape: Shape, value: Mapping[str, Any], name: str = "entry") -> str:
    key_name = shape.key.serialization.get("name", "key")
    value_name = shape.value.serialization.get("name", "value")
    return "".join(
        element(name, _named(shape.key, key, key_name) + _named(shape.value, inner, value_name))
        for key, inner in value.items()
    )


def _string(shape: Shape, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{shape.name} is a string, not {value!r}")
    return text(value)


def _float(_: Shape, value: Any) -> str:
    number = float(value)
    if math.isnan(number):
        return "NaN"
    return repr(number) if math.isfinite(number) else f"{'-' if number < 0 else ''}Infinity"


def _timestamp(shape: Shape, value: Any) -> str:
    return moments.to_text(value, shape.serialization.get("timestampFormat", "iso8601"))


_ENTRIES: dict[str, Callable[[Shape, Any, str], str]] = {"list": _list, "map": _map}

_CONTENTS: dict[str, Callable[[Shape, Any], str]] = {
    "structure": members,
    "list": _list,
    "map": _map,
    "string": _string,
    "character": _string,
    "boolean": lambda _, value: "true" if value else "false",
    "integer": lambda _, value: str(int(value)),
    "long": lambda _, value: str(int(value)),
    "float": _float,
    "double": _float,
    "timestamp": _timestamp,
    "blob": lambda _, value: base64.b64encode(value).decode("ascii"),
}
