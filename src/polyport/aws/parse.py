"""Request bytes to a dict of members, by the shapes of the service model.

Stricter than AWS in one respect: a member that the model does not have is refused, where AWS drops it unseen.
"""

import base64
import binascii
import math
from collections.abc import Callable
from typing import Any

import msgspec
from botocore.model import OperationModel, Shape

from polyport.aws import moments, paths, unknowns
from polyport.aws.unknowns import Unknown
from polyport.errors import ApiError

#: An integer is at least minus this, and less than this.
LIMITS = {"integer": 2**31, "long": 2**63}

Values = Any
"""What JSON can hold."""


def parse_json(operation: OperationModel, body: bytes) -> dict[str, Any]:
    """The members of a JSON 1.0 or 1.1 request.

    Raises `ApiError`: ``SerializationException`` for what is not JSON or of the wrong type, ``ValidationException``
    for members that the operation does not have. Constraints are `polyport.aws.validate`'s.
    """
    values = _decode(body)
    if not isinstance(values, dict):
        raise _serialization_error("The request body must be a JSON object.")
    if operation.input_shape is None:
        return {}
    unknown: Unknown = []
    request: dict[str, Any] = _structure(operation.input_shape, values, "", unknown)
    if unknown:
        raise ApiError("ValidationException", unknowns.message(operation.name, unknown))
    return request


def read_values(shape: Shape, values: dict[str, Values], unknown: Unknown) -> dict[str, Any]:
    """The members of a structure from values of JSON, or of CBOR, which has bytes too. ``unknown`` gets the others.

    Raises `ApiError` ``SerializationException``.
    """
    members: dict[str, Any] = _structure(shape, values, "", unknown)
    return members


def _decode(body: bytes) -> Values:
    if not body.strip():
        return {}
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _serialization_error(f"The request body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise _serialization_error("The request body is nested too deeply.") from error


def _read(shape: Shape, value: Values, path: str, unknown: Unknown) -> Any:
    return _READERS[shape.type_name](shape, value, path, unknown)


def _structure(shape: Shape, value: Values, path: str, unknown: Unknown) -> Any:
    if shape.is_document_type:
        return value
    if not isinstance(value, dict):
        raise _wrong_type(value, "a Structure", path)
    wire_names = {member.serialization.get("name", name): name for name, member in shape.members.items()}
    members = {}
    for wire_name, inner in value.items():
        name = wire_names.get(wire_name)
        if name is None:
            # ``__type`` is how JSON protocols may name a structure's shape; it carries nothing.
            if wire_name != "__type":
                unknowns.note(unknown, wire_name, path, wire_names)
        elif inner is not None:
            members[name] = _read(shape.members[name], inner, paths.member(path, name), unknown)
    return members


def _list(shape: Shape, value: Values, path: str, unknown: Unknown) -> list[Any]:
    if not isinstance(value, list):
        raise _wrong_type(value, "a List", path)
    return [
        None if inner is None else _read(shape.member, inner, paths.element(path, index), unknown)
        for index, inner in enumerate(value)
    ]


def _map(shape: Shape, value: Values, path: str, unknown: Unknown) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong_type(value, "a Map", path)
    return {
        key: None if inner is None else _read(shape.value, inner, paths.entry(path, key), unknown)
        for key, inner in value.items()
    }


def _string(_: Shape, value: Values, path: str, __: Unknown) -> str:
    if not isinstance(value, str):
        raise _wrong_type(value, "a String", path)
    return value


def _boolean(_: Shape, value: Values, path: str, __: Unknown) -> bool:
    if not isinstance(value, bool):
        raise _wrong_type(value, "a Boolean", path)
    return value


def _integer(shape: Shape, value: Values, path: str, _: Unknown) -> int:
    kind = "an Integer" if shape.type_name == "integer" else "a Long"
    is_endless = isinstance(value, float) and not math.isfinite(value)
    if not _is_number(value) or is_endless or int(value) != value:
        raise _wrong_type(value, kind, path)
    limit = LIMITS[shape.type_name]
    if not -limit <= value < limit:
        raise _serialization_error(f"A number out of the range of {kind} at '{path}'")
    return int(value)


def _float(shape: Shape, value: Values, path: str, _: Unknown) -> float:
    if not _is_number(value):
        raise _wrong_type(value, f"a {shape.type_name.capitalize()}", path)
    return _finite(value, path)


def _timestamp(_: Shape, value: Values, path: str, __: Unknown) -> float:
    """Epoch seconds; also ISO 8601 text, UTC when it names no zone."""
    if isinstance(value, str):
        try:
            value = moments.from_iso(value)
        except ValueError as error:
            raise _wrong_type(value, "a Timestamp", path) from error
    if not _is_number(value):
        raise _wrong_type(value, "a Timestamp", path)
    if not moments.FIRST <= _finite(value, path) <= moments.LAST:
        raise _serialization_error(f"A number out of the range of a Timestamp at '{path}'")
    return float(value)


def _blob(_: Shape, value: Values, path: str, __: Unknown) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise _wrong_type(value, "a Blob", path)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise _serialization_error(f"A Blob that is not valid base64 at '{path}'") from error


def _is_number(value: Values) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _finite(value: float, path: str) -> float:
    try:
        number = float(value)
    except OverflowError:  # JSON's integers have no end, floats have
        number = math.inf
    if not math.isfinite(number):
        raise _serialization_error(f"A number out of range at '{path}'")
    return number


def _wrong_type(value: Values, wanted: str, path: str) -> ApiError:
    return _serialization_error(f"{_token(value)} can not be converted to {wanted} at '{path}'")


def _token(value: Values) -> str:
    """How AWS's JSON reader names what it found."""
    if isinstance(value, bool):
        return "TRUE_VALUE" if value else "FALSE_VALUE"
    names = {str: "STRING_VALUE", int: "NUMBER_VALUE", float: "NUMBER_VALUE", list: "START_ARRAY", dict: "START_OBJECT"}
    return names.get(type(value), "VALUE_NULL")


def _serialization_error(message: str) -> ApiError:
    return ApiError("SerializationException", message)


_READERS: dict[str, Callable[[Shape, Values, str, Unknown], Any]] = {
    "structure": _structure,
    "list": _list,
    "map": _map,
    "string": _string,
    "character": _string,
    "boolean": _boolean,
    "integer": _integer,
    "long": _integer,
    "float": _float,
    "double": _float,
    "timestamp": _timestamp,
    "blob": _blob,
}
