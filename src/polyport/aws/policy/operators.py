"""Condition operators: their names, which values they take, and how one value of a request is tested."""

import difflib
import operator
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from polyport.aws.policy import globs, keys, texts, values, variables
from polyport.aws.policy.keys import Type
from polyport.aws.policy.variables import Context

_FOR_ALL = "ForAllValues:"
_FOR_ANY = "ForAnyValue:"
_IF_EXISTS = "IfExists"


class Test(NamedTuple):
    """Whether a value of a request is one of those that a policy names (before any negation)."""

    matches: Callable[[str, Context], bool]
    #: The condition keys that variables in the policy's values read, and those that must have a value.
    keys: frozenset[str] = frozenset()
    required: frozenset[str] = frozenset()


class Base(NamedTuple):
    """An operator without what may be written around it."""

    name: str
    type: Type
    is_negated: bool
    #: Takes the policy's values (and whether variables are substituted in them).
    test: Callable[[Sequence[str], bool], Test]
    #: What is wrong with a value; None for a good one.
    problem: Callable[[str, bool], str | None]


class Operator(NamedTuple):
    """An operator as a policy names it: ``ForAnyValue:StringLikeIfExists``."""

    base: Base
    for_all: bool
    for_any: bool
    if_exists: bool

    def takes(self, key: keys.Key) -> bool:
        """Whether values of the key's type can ever be what the operator compares."""
        if self.base.type in (Type.STRING, Type.NULL) or key.type in (Type.STRING, self.base.type):
            return True
        return self.base.name.startswith("Numeric") and key.name == "aws:EpochTime"


def known() -> tuple[Base, ...]:
    """All of them, without what may be written around their names."""
    return tuple(_BASES.values())


def find(name: str) -> Operator | None:
    """The operator of that name; None for one that there is not. Case matters."""
    rest = name.removeprefix(_FOR_ALL).removeprefix(_FOR_ANY) if name.count(":") < 2 else name
    base = _BASES.get(rest.removesuffix(_IF_EXISTS))
    if base is None or (base.type is Type.NULL and name != base.name):
        return None
    return Operator(base, name.startswith(_FOR_ALL), name.startswith(_FOR_ANY), rest.endswith(_IF_EXISTS))


def suggestion(name: str) -> str:
    """``; did you mean ...?`` where a known operator is close, else nothing."""
    prefix = next((each for each in (_FOR_ALL, _FOR_ANY) if name.startswith(each)), "")
    suffix = _IF_EXISTS if name.endswith(_IF_EXISTS) else ""
    near = difflib.get_close_matches(name.removeprefix(prefix).removesuffix(suffix)[:64], _BASES, n=1)
    return f"; did you mean {prefix}{near[0]}{suffix}?" if near and near[0] != "Null" else ""


def _no_problem(value: str, substitutes: bool) -> str | None:
    return _variable_problem(value, False, substitutes)


def _like_problem(value: str, substitutes: bool) -> str | None:
    return _variable_problem(value, True, substitutes)


def _variable_problem(value: str, wildcards: bool, substitutes: bool) -> str | None:
    try:
        variables.read(value, wildcards=wildcards, substitutes=substitutes)
    except ValueError as error:
        return str(error)
    return None


def _arn_problem(value: str, substitutes: bool) -> str | None:
    problem = _like_problem(value, substitutes)
    if problem or value == "*" or (substitutes and "${" in value):
        return problem
    parts = value.split(":", 5)
    return None if len(parts) == 6 and parts[0] == "arn" else "is not '*' or an ARN of six parts separated by colons"


def _unless(read: Callable[[str], Any], wanted: str) -> Callable[[str, bool], str | None]:
    def problem(value: str, substitutes: bool) -> str | None:  # noqa: ARG001 - no variables in such values
        return None if read(value) is not None else f"is not {wanted}"

    return problem


def _patterns(
    *, wildcards: bool, fold: bool = False, build: texts.Build = globs.matcher
) -> Callable[[Sequence[str], bool], Test]:
    def test(wanted: Sequence[str], substitutes: bool) -> Test:
        read = (variables.read(each, wildcards=wildcards, substitutes=substitutes) for each in wanted)
        patterns = texts.Patterns(read, build, fold=fold)
        return Test(patterns.match, patterns.keys, patterns.required)

    return test


def _compared(read: Callable[[str], Any], compare: Callable[[Any, Any], bool]) -> Callable[[Sequence[str], bool], Test]:
    def test(wanted: Sequence[str], substitutes: bool) -> Test:  # noqa: ARG001 - no variables in such values
        limits = [read(each) for each in wanted]

        def matches(value: str, context: Context) -> bool:  # noqa: ARG001 - a test's signature
            found = read(value)
            return found is not None and any(compare(found, limit) for limit in limits)

        return Test(matches)

    return test


def _within_networks(wanted: Sequence[str], substitutes: bool) -> Test:  # noqa: ARG001 - no variables in such values
    networks = [found for each in wanted if (found := values.network(each)) is not None]

    def matches(value: str, context: Context) -> bool:  # noqa: ARG001 - a test's signature
        found = values.address(value)
        return found is not None and any(values.contains(network, found) for network in networks)

    return Test(matches)


def _bases() -> list[Base]:
    exact = _patterns(wildcards=False)
    folded = _patterns(wildcards=False, fold=True)
    like = _patterns(wildcards=True)
    arn = _patterns(wildcards=True, build=texts.arn)
    is_address = _unless(values.network, "an IP address or a range like 203.0.113.0/24")
    is_boolean = _unless(values.boolean, "true or false")
    is_binary = _unless(values.binary, "base64")
    found = [
        Base("StringEquals", Type.STRING, False, exact, _no_problem),
        Base("StringNotEquals", Type.STRING, True, exact, _no_problem),
        Base("StringEqualsIgnoreCase", Type.STRING, False, folded, _no_problem),
        Base("StringNotEqualsIgnoreCase", Type.STRING, True, folded, _no_problem),
        Base("StringLike", Type.STRING, False, like, _like_problem),
        Base("StringNotLike", Type.STRING, True, like, _like_problem),
        Base("ArnEquals", Type.ARN, False, arn, _arn_problem),
        Base("ArnLike", Type.ARN, False, arn, _arn_problem),
        Base("ArnNotEquals", Type.ARN, True, arn, _arn_problem),
        Base("ArnNotLike", Type.ARN, True, arn, _arn_problem),
        Base("IpAddress", Type.IP, False, _within_networks, is_address),
        Base("NotIpAddress", Type.IP, True, _within_networks, is_address),
        Base("Bool", Type.BOOL, False, _compared(values.boolean, operator.eq), is_boolean),
        Base("BinaryEquals", Type.BINARY, False, _compared(values.binary, operator.eq), is_binary),
        Base("Null", Type.NULL, False, _compared(values.boolean, operator.eq), is_boolean),
    ]
    for prefix, type_, read, wanted in (
        ("Numeric", Type.NUMERIC, values.number, "a number"),
        ("Date", Type.DATE, values.date, "an ISO 8601 date or a number of seconds since 1970"),
    ):
        for suffix, is_negated, compare in (
            ("Equals", False, operator.eq),
            ("NotEquals", True, operator.eq),
            ("LessThan", False, operator.lt),
            ("LessThanEquals", False, operator.le),
            ("GreaterThan", False, operator.gt),
            ("GreaterThanEquals", False, operator.ge),
        ):
            test, problem = _compared(read, compare), _unless(read, wanted)
            found.append(Base(prefix + suffix, type_, is_negated, test, problem))
    return found


_BASES = {base.name: base for base in _bases()}
