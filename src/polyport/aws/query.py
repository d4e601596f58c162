"""AWS's query protocol: parameters of a form to a dict of members, and a dict of members to XML.

A parameter's name is its path: ``Tags.member.1.Key=team``. As strict as `polyport.aws.parse`: an unknown member is
refused, and so is a parameter that is given twice. More lenient than some services: the indexes of a list only order
its elements, so there may be gaps (clients leave one where an element has nothing to send).
"""

import base64
import binascii
import math
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.model import OperationModel, Shape

from polyport.aws import form, moments, parse, paths, unknowns, xml
from polyport.aws.form import Pairs, Tree
from polyport.aws.render import REQUEST_ID
from polyport.aws.unknowns import Unknown
from polyport.aws.wire import Head, Response
from polyport.errors import ApiError

CONTENT_TYPE = "application/x-www-form-urlencoded"
#: What a pre-signed URL adds to the parameters; compared in lower case.
_SIGNING_PREFIX = "x-amz-"
_INDEX = re.compile(r"[1-9][0-9]{0,8}")
_INTEGER = re.compile(r"-?[0-9]{1,40}")
_NUMBER = re.compile(r"-?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
#: No number that a double can tell from another takes more characters.
_NUMBER_LENGTH = 1100
_BOOLEANS = {"true": True, "false": False}

Node = Tree | str
"""What stands under a name: further names, or a value."""


def parameters(head: Head, body: bytes) -> Pairs:
    """All parameters of a request, those of its URL first, without those that sign it.

    Raises `ApiError` as `form.pairs` does, and for a body that is no form.
    """
    if body and not head.headers.get("content-type", "").startswith(CONTENT_TYPE):
        raise form.malformed(f"The body of a query call must be {CONTENT_TYPE}.")
    of_url = form.pairs(head.query.encode("latin-1", "replace"))
    return [pair for pair in of_url if not pair[0].lower().startswith(_SIGNING_PREFIX)] + form.pairs(body)


def parse_query(operation: OperationModel, given: bytes | Pairs) -> dict[str, Any]:
    """The members of a query request, from its form or from its `parameters`.

    Raises `ApiError`: ``MalformedQueryString`` for parameters that are not well-formed, ``InvalidAction`` for another
    operation's or another version's, ``MalformedInput`` for a value of the wrong type, ``ValidationError`` for members
    that the operation does not have. Constraints are `polyport.aws.validate`'s.
    """
    tree = form.tree(form.pairs(given) if isinstance(given, bytes) else given)
    _check_addressee(operation, tree.pop("Action", ""), tree.pop("Version", ""))
    unknown: Unknown = []
    request: dict[str, Any] = {}
    if operation.input_shape is not None:
        request = _structure(operation.input_shape, tree, "", unknown)
    else:
        for name in tree:
            unknowns.note(unknown, name, "", ())
    if unknown:
        raise ApiError("ValidationError", unknowns.message(operation.name, unknown))
    return request


def _check_addressee(operation: OperationModel, action: Node, version: Node) -> None:
    wanted = operation.metadata["apiVersion"]
    if action == "":
        raise ApiError("MissingAction", "The request must have the parameter Action.")
    if action != operation.name or version != wanted:
        told = f"version {form.shown(version)}" if version and isinstance(version, str) else "no version"
        asked = form.shown(action) if isinstance(action, str) else "Action"
        raise ApiError(
            "InvalidAction", f"Could not find operation {asked} for {told}: {operation.name} is of version {wanted}."
        )


def _read(shape: Shape, node: Node, path: str, unknown: Unknown) -> Any:
    if shape.type_name in _COMPOSITES:
        # An empty value is how clients send a list (or structure, or map) that has nothing in it.
        below: Node = {} if node == "" else node
        if isinstance(below, str):
            raise _malformed(f"A value in place of a {shape.type_name.capitalize()} at '{path}'")
        return _COMPOSITES[shape.type_name](shape, below, path, unknown)
    if not isinstance(node, str):
        raise _malformed(f"Further names in place of a {shape.type_name.capitalize()} at '{path}'")
    return _SCALARS[shape.type_name](shape, node, path)


def _structure(shape: Shape, node: Tree, path: str, unknown: Unknown) -> dict[str, Any]:
    names = _wire_names(shape)
    members: dict[str, Any] = {}
    for wire_name, inner in node.items():
        name = names.get(wire_name)
        if name is None:
            unknowns.note(unknown, wire_name, path, names)
        elif name in members:
            raise form.malformed(f"The parameter {wire_name} is given under two names.")
        else:
            members[name] = _read(shape.members[name], inner, paths.member(path, name), unknown)
    return members


def _wire_names(shape: Shape) -> dict[str, str]:
    """Wire names to members. A flattened list whose entries have a name has two: its own is sent when it is empty."""
    names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
    return names | {xml.wire_name(name, member): name for name, member in shape.members.items()}


def _list(shape: Shape, node: Tree, path: str, unknown: Unknown) -> list[Any]:
    entries = _entries(shape, node, shape.member.serialization.get("name", "member"), path, unknown)
    return [
        _read(shape.member, inner, paths.element(path, position), unknown) for position, inner in enumerate(entries)
    ]


def _map(shape: Shape, node: Tree, path: str, unknown: Unknown) -> dict[str, Any]:
    key_name = shape.key.serialization.get("name", "key")
    value_name = shape.value.serialization.get("name", "value")
    found: dict[str, Any] = {}
    for entry in _entries(shape, node, "entry", path, unknown):
        if isinstance(entry, str) or not isinstance(entry.get(key_name), str):
            raise _malformed(f"An entry without '{key_name}' at '{path}'")
        key = _read(shape.key, entry[key_name], path, unknown)
        if key in found:
            raise form.malformed(f"The key '{form.shown(key)}' is given more than once at '{path}'.")
        at = paths.entry(path, key)
        # Without a value it is null, as in JSON: for the validator to refuse.
        found[key] = _read(shape.value, entry[value_name], at, unknown) if value_name in entry else None
        for name in entry:
            if name not in (key_name, value_name):
                unknowns.note(unknown, name, at, (key_name, value_name))
    return found


def _entries(shape: Shape, node: Tree, name: str, path: str, unknown: Unknown) -> Iterator[Node]:
    """What is under the indexes of a list or map, in their order. Unless it is flattened, ``name`` is before them."""
    if not shape.serialization.get("flattened"):
        for other in node:
            if other != name:
                unknowns.note(unknown, other, path, (name,))
        below = node.get(name, {})
        if isinstance(below, str):
            raise _malformed(f"A value in place of an index at '{path}'")
        node = below
    for index in node:
        if not _INDEX.fullmatch(index):
            raise form.malformed(f"'{form.shown(index)}' at '{path}' is no index: they are whole numbers from 1 on.")
    for index in sorted(node, key=int):
        yield node[index]


def _boolean(_: Shape, value: str, path: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise _wrong_type("a Boolean", path)
    return _BOOLEANS[value.lower()]


def _integer(shape: Shape, value: str, path: str) -> int:
    kind = "an Integer" if shape.type_name == "integer" else "a Long"
    if not _INTEGER.fullmatch(value):
        raise _wrong_type(kind, path)
    limit = parse.LIMITS[shape.type_name]
    if not -limit <= int(value) < limit:
        raise _malformed(f"A number out of the range of {kind} at '{path}'")
    return int(value)


def _float(shape: Shape, value: str, path: str) -> float:
    if not _is_number(value):
        raise _wrong_type(f"a {shape.type_name.capitalize()}", path)
    if not math.isfinite(float(value)):
        raise _malformed(f"A number out of range at '{path}'")
    return float(value)


def _timestamp(_: Shape, value: str, path: str) -> float:
    """ISO 8601 text, UTC when it names no zone; also epoch seconds."""
    try:
        seconds = float(value) if _is_number(value) else moments.from_iso(value)
    except ValueError as error:
        raise _wrong_type("a Timestamp", path) from error
    if not moments.FIRST <= seconds <= moments.LAST:
        raise _malformed(f"A moment out of the range of a Timestamp at '{path}'")
    return seconds


def _blob(_: Shape, value: str, path: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _malformed(f"A Blob that is not valid base64 at '{path}'") from error


def _is_number(text: str) -> bool:
    return len(text) <= _NUMBER_LENGTH and _NUMBER.fullmatch(text) is not None


def _wrong_type(wanted: str, path: str) -> ApiError:
    # The value is not repeated: it may be a secret that got under the wrong name.
    return _malformed(f"A value that can not be converted to {wanted} at '{path}'")


def _malformed(message: str) -> ApiError:
    return ApiError("MalformedInput", message)


_COMPOSITES: dict[str, Callable[[Shape, Tree, str, Unknown], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
}

_SCALARS: dict[str, Callable[[Shape, str, str], Any]] = {
    "string": lambda _, value, __: value,
    "character": lambda _, value, __: value,
    "boolean": _boolean,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "timestamp": _timestamp,
    "blob": _blob,
}


def render_query(operation: OperationModel, answer: Mapping[str, Any] | None, request_id: str) -> Response:
    """The 200 of a query operation: its result, where it has one, and the request id.

    Members that are ``None`` are left out. `ValueError` or `TypeError` when ``answer`` is not of the output shape.
    """
    shape = operation.output_shape
    result = ""
    if shape is not None:
        result = xml.members(shape, answer or {})
        wrapper = shape.serialization.get("resultWrapper")
        result = xml.element(wrapper, result) if wrapper else result
    metadata = xml.element("ResponseMetadata", xml.element("RequestId", xml.text(request_id)))
    namespace = operation.metadata.get("xmlNamespace", "")
    root = xml.element(f"{operation.name}Response", result + metadata, namespace)
    return Response(200, ((b"Content-Type", b"text/xml"), (REQUEST_ID, request_id.encode())), xml.document(root))
