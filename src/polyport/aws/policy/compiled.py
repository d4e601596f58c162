"""Policies made ready for deciding: compiled once when they change, read at every call."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from polyport.aws.policy import document, keys, operators, texts, variables
from polyport.aws.policy.document import Document, Effect
from polyport.aws.policy.principals import Grant, Naming, Principal
from polyport.aws.policy.variables import Context


class Mismatch(NamedTuple):
    """The first element of a statement that does not match, and what the request has there (None: nothing)."""

    element: str
    found: tuple[str, ...] | None


class Condition:
    """One operator on one key."""

    __slots__ = ("_all", "_is_deny", "_is_negated", "_is_null", "_key", "_test", "_when_absent", "path", "reads")

    def __init__(self, condition: document.Condition, effect: Effect, has_variables: bool) -> None:
        operator = operators.find(condition.operator)
        if operator is None:
            raise ValueError(f"{condition.operator!r} is no condition operator")
        self.path = f"Condition.{condition.operator}.{condition.key}"
        self._key = condition.key.lower()
        self._test = operator.base.test(condition.values, has_variables)
        self.reads = self._test.keys | {self._key}
        self._is_null = operator.base.type is keys.Type.NULL
        self._is_negated = operator.base.is_negated
        self._is_deny = effect is Effect.DENY
        # Several values without a quantifier: all have to fit an Allow, one is enough for a Deny.
        self._all = operator.for_all or (not operator.for_any and not self._is_deny)
        self._when_absent = operator.for_all or operator.if_exists or (self._is_negated and not operator.for_any)

    def holds(self, context: Context) -> bool:
        """Whether the request is as the condition wants it."""
        found = context.get(self._key)
        is_absent = found is None or found == ()
        if self._is_null:
            return self._test.matches("true" if is_absent else "false", context)
        if found is None or found == ():
            return self._when_absent
        if isinstance(found, str):
            return self._fits(found, context)
        return (all if self._all else any)(self._fits(value, context) for value in found)

    def mismatch(self, context: Context) -> Mismatch:
        """What to tell of a condition that does not hold."""
        found = context.get(self._key)
        return Mismatch(self.path, (found,) if isinstance(found, str) else found or None)

    def _fits(self, value: str, context: Context) -> bool:
        matched = self._test.matches(value, context)
        if not self._is_negated:
            return matched
        # Of a value with a variable that the request does not have nobody can say that it is another one.
        return not matched and (self._is_deny or variables.have_values(self._test.required, context))


class Statement:
    """One statement; its ``policy`` (name), ``index`` (from 0) and ``sid`` say which."""

    __slots__ = (
        "_actions",
        "_conditions",
        "_excepts_actions",
        "_excepts_resources",
        "_naming",
        "_resources",
        "effect",
        "index",
        "policy",
        "reads",
        "sid",
    )

    def __init__(self, policy: str, index: int, statement: document.Statement, has_variables: bool) -> None:
        self.policy = policy
        self.index = index
        self.sid = statement.sid
        self.effect = statement.effect
        self._actions = texts.Patterns(
            variables.read(action.lower(), wildcards=True, substitutes=False) for action in statement.actions
        )
        self._excepts_actions = statement.excepts_actions
        self._resources = texts.Patterns(
            variables.read(resource, wildcards=True, substitutes=has_variables)
            for resource in statement.resources or ("*",)
        )
        self._excepts_resources = statement.excepts_resources
        self._conditions = tuple(Condition(each, self.effect, has_variables) for each in statement.conditions)
        self._naming = (
            Naming(statement.principals, statement.excepts_principals, self.effect) if statement.principals else None
        )
        self.reads = self._resources.keys.union(*(condition.reads for condition in self._conditions))

    def grant(self, action: str, resource: str, context: Context, principal: Principal) -> Grant:
        """Whether the statement matches, and how closely it names the caller. ``action`` is lower-case."""
        if self._actions.match(action, context) is self._excepts_actions or not self._is_about(resource, context):
            return Grant.NONE
        for condition in self._conditions:
            if not condition.holds(context):
                return Grant.NONE
        return self._naming.grant(principal) if self._naming else Grant.DIRECT

    def mismatch(self, action: str, resource: str, context: Context, principal: Principal) -> Mismatch | None:
        """The first element that does not match; None where all do."""
        if self._naming and not self._naming.grant(principal):
            return Mismatch(self._naming.element, principal.identities)
        if self._actions.match(action, context) is self._excepts_actions:
            return Mismatch("NotAction" if self._excepts_actions else "Action", (action,))
        if not self._is_about(resource, context):
            return Mismatch("NotResource" if self._excepts_resources else "Resource", (resource,))
        for condition in self._conditions:
            if not condition.holds(context):
                return condition.mismatch(context)
        return None

    def _is_about(self, resource: str, context: Context) -> bool:
        matched = self._resources.match(resource, context)
        if not self._excepts_resources:
            return matched
        return not matched and (self.effect is Effect.DENY or variables.have_values(self._resources.required, context))


class Policies:
    """The policies of one place: all that are attached to a caller, or the one of a resource."""

    __slots__ = ("_allows", "_denies", "dependencies", "kind", "statements")

    def __init__(self, kind: document.Kind | None, statements: Sequence[Statement]) -> None:
        self.kind = kind
        self.statements = tuple(statements)
        self._denies = tuple(each for each in statements if each.effect is Effect.DENY)
        self._allows = tuple(each for each in statements if each.effect is Effect.ALLOW)
        #: The condition keys, lower-case, that a decision may read: where none of them varies, nor action, resource
        #: and caller, the decision is the same.
        self.dependencies = frozenset[str]().union(*(statement.reads for statement in statements))

    def denial(self, action: str, resource: str, context: Context, principal: Principal) -> Statement | None:
        """The first Deny that matches."""
        return _first(self._denies, action, resource, context, principal)

    def permission(self, action: str, resource: str, context: Context, principal: Principal) -> Statement | None:
        """The first Allow that matches."""
        return _first(self._allows, action, resource, context, principal)

    def closest(
        self, action: str, resource: str, context: Context, principal: Principal
    ) -> tuple[Grant, Statement | None]:
        """Of the Allows that match the one that names the caller most closely."""
        best: tuple[Grant, Statement | None] = (Grant.NONE, None)
        for statement in self._allows:
            grant = statement.grant(action, resource, context, principal)
            if grant > best[0]:
                best = (grant, statement)
        return best


def compile(named: Iterable[tuple[str, Document]]) -> Policies:  # noqa: A001 - reads compiled.compile(...)
    """Parsed documents and the names that decisions call them by. All are of one kind."""
    pairs = list(named)
    kinds = {found.kind for _, found in pairs}
    if len(kinds) > 1:
        raise ValueError(f"policies of several kinds: {', '.join(sorted(kinds))}")
    return Policies(
        kinds.pop() if kinds else None,
        [
            Statement(name, index, statement, found.has_variables)
            for name, found in pairs
            for index, statement in enumerate(found.statements)
        ],
    )


def _first(
    statements: tuple[Statement, ...], action: str, resource: str, context: Context, principal: Principal
) -> Statement | None:
    for statement in statements:
        if statement.grant(action, resource, context, principal):
            return statement
    return None
