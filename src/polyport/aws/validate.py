"""The constraints of the service model (required, length, range, pattern, enum), all violations in one message.

The wording is AWS's. Some choices are ours, so that the answer to a hostile request is short and cheap: of a map or
list with bad keys, values or elements only the bad ones are shown; what is shown ends after `_SHOWN` characters; inside
a collection that is too long nothing more is looked for; and at most `_TOLD` violations are told.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, NamedTuple

from botocore.model import OperationModel, Shape

from polyport.aws import paths, patterns
from polyport.errors import ApiError

_SHOWN = 1024
_TOLD = 50
#: A text beyond this and beyond the shape's own maximum is refused for its length alone, and where the model names
#: no maximum, this is it: so no pattern can be made to backtrack for long.
_PATTERN_REACH = 8192
_NUMBERS = frozenset({"integer", "long", "float", "double"})
_COMPOSITE = frozenset({"structure", "list", "map"})


class _Constraint(NamedTuple):
    text: str
    holds: Callable[[Any], bool]


def validate(operation: OperationModel, request: dict[str, Any]) -> None:
    """Raises `ApiError` when the parsed request breaks a constraint of the model: ``ValidationException``, or the name
    that the operation's service has for it."""
    if operation.input_shape is not None:
        found = violations(operation.input_shape, request)
        if found:
            raise ApiError(_code(operation), message(found))


def _code(operation: OperationModel) -> str:
    declared = {shape.name for shape in operation.error_shapes}
    return "InvalidParameterException" if "InvalidParameterException" in declared else "ValidationException"


def message(found: list[str]) -> str:
    """AWS's sentence for a list of violations."""
    return f"{len(found)} validation error{'s' if len(found) > 1 else ''} detected: {'; '.join(found)}"


def violations(shape: Shape, value: Any, path: str = "") -> list[str]:
    """What is wrong with a value (parsed, of the right type) at ``path``, in the order of the model; the first 50."""
    return list(islice(_check(shape, value, path), _TOLD))


def _check(shape: Shape, value: Any, path: str) -> Iterator[str]:
    for constraint in _broken(_constraints(shape), value):
        yield _violation(shape, value, path, constraint.text)
    within = _WITHIN.get(shape.type_name)
    if within is not None and ("max" not in shape.metadata or len(value) <= shape.metadata["max"]):
        yield from within(shape, value, path)


def _structure(shape: Shape, value: Any, path: str) -> Iterator[str]:
    if shape.is_document_type:
        return
    for name, member in shape.members.items():
        if name in value:
            yield from _check(member, value[name], paths.member(path, name))
        elif name in shape.required_members:
            yield _null(paths.member(path, name))
    if shape.is_tagged_union and len(value) != 1:
        yield _violation(shape, value, path, "Member must have exactly one of its members set")


def _list(shape: Shape, value: list[Any], path: str) -> Iterator[str]:
    constraints = _of_scalar(shape.member)
    bad = [element for element in value if element is not None and _broken(constraints, element)]
    if bad:
        yield _violation(shape, bad, path, f"Member must satisfy constraint: {_all_of(constraints)}")
    for index, element in enumerate(value):
        if element is None:
            yield _null(paths.element(path, index))
        elif shape.member.type_name in _COMPOSITE:
            yield from _check(shape.member, element, paths.element(path, index))


def _map(shape: Shape, value: dict[str, Any], path: str) -> Iterator[str]:
    of_key, of_value = _of_scalar(shape.key), _of_scalar(shape.value)
    bad_keys = {key: inner for key, inner in value.items() if _broken(of_key, key)}
    if bad_keys:
        yield _violation(shape, bad_keys, path, f"Map keys must satisfy constraint: {_all_of(of_key)}")
    bad = {key: inner for key, inner in value.items() if inner is not None and _broken(of_value, inner)}
    if bad:
        yield _violation(shape, bad, path, f"Map value must satisfy constraint: {_all_of(of_value)}")
    for key, inner in value.items():
        if inner is None:
            yield _null(paths.entry(path, key))
        elif shape.value.type_name in _COMPOSITE:
            yield from _check(shape.value, inner, paths.entry(path, key))


_WITHIN = {"structure": _structure, "list": _list, "map": _map}


def _of_scalar(shape: Shape) -> list[_Constraint]:
    """The constraints of a scalar in a list or map; composites are looked at one by one, with a path each."""
    return [] if shape.type_name in _COMPOSITE else _constraints(shape)


def _all_of(constraints: list[_Constraint]) -> str:
    return f"[{', '.join(constraint.text for constraint in constraints)}]"


def _broken(constraints: list[_Constraint], value: Any) -> list[_Constraint]:
    return [constraint for constraint in constraints if not constraint.holds(value)]


def _constraints(shape: Shape) -> list[_Constraint]:
    limits = shape.metadata
    kind = "value" if shape.type_name in _NUMBERS else "length"
    found = []
    if "max" in limits:
        found.append(_at_most(kind, limits["max"]))
    elif "pattern" in limits:
        found.append(_at_most(kind, _PATTERN_REACH))
    if "min" in limits:
        found.append(_at_least(kind, limits["min"]))
    if "pattern" in limits:
        found.append(_pattern(shape))
    if "enum" in limits:
        allowed = limits["enum"]
        found.append(_Constraint(f"Member must satisfy enum value set: [{', '.join(allowed)}]", allowed.__contains__))
    return found


def _size(kind: str, value: Any) -> Any:
    return len(value) if kind == "length" else value


def _at_most(kind: str, limit: float) -> _Constraint:
    text = f"Member must have {kind} less than or equal to {limit}"
    return _Constraint(text, lambda value: bool(_size(kind, value) <= limit))


def _at_least(kind: str, limit: float) -> _Constraint:
    text = f"Member must have {kind} greater than or equal to {limit}"
    return _Constraint(text, lambda value: bool(_size(kind, value) >= limit))


def _pattern(shape: Shape) -> _Constraint:
    accepted = [shape.metadata["pattern"]]
    # AWS prints (and applies) every pattern as if it were anchored, though most models do not write it so.
    text = f"Member must satisfy regular expression pattern: {'' if accepted[0].startswith('^') else '^'}{accepted[0]}"
    if shape.name in patterns.ALSO_ACCEPTED:
        accepted.append(patterns.ALSO_ACCEPTED[shape.name])
    reach = max(shape.metadata.get("max", 0), _PATTERN_REACH)
    return _Constraint(text, lambda value: len(value) > reach or any(patterns.fits(each, value) for each in accepted))


def _null(path: str) -> str:
    return f"Value null at '{path}' failed to satisfy constraint: Member must not be null"


def _violation(shape: Shape, value: Any, path: str, text: str) -> str:
    shown = "" if shape.metadata.get("sensitive") else f" '{_shortened(_shown(shape, value))}'"
    return f"Value{shown} at '{path}' failed to satisfy constraint: {text}"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def _shown(shape: Shape, value: Any) -> str:
    """A value as AWS prints it: ``[a, b]``, ``{key=value}``; nothing that the model calls sensitive."""
    if shape.metadata.get("sensitive"):
        return "***"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{', '.join(_shown(shape.member, element) for element in value)}]"
    if isinstance(value, dict):
        parts = (f"{key}={_shown(_below(shape, key), inner)}" for key, inner in value.items())
        return f"{{{', '.join(parts)}}}"
    return "null" if value is None else str(value)


def _below(shape: Shape, key: str) -> Shape:
    """The shape under a key; of a document, whose members nobody knows, the document's own."""
    return shape.value if shape.type_name == "map" else shape.members.get(key, shape)
