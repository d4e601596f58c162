"""IAM policy documents: JSON in, frozen values out; what IAM would refuse, or could never match, is refused."""

import enum
from collections.abc import Callable

import msgspec

from polyport.aws.policy import elements, jsontext, keys, operators
from polyport.aws.policy.jsontext import Node, Number
from polyport.errors import PolicyError

#: Characters, as `PutEndpointPolicy` has it.
LONGEST = 20_480


class Kind(enum.StrEnum):
    """What a policy is attached to, which says what it may hold."""

    IDENTITY = "identity-based policy"
    RESOURCE = "resource-based policy"
    TRUST = "role trust policy"
    SESSION = "session policy"


class Effect(enum.StrEnum):
    """What a statement does where it matches."""

    ALLOW = "Allow"
    DENY = "Deny"


class Principals(msgspec.Struct, frozen=True):
    """Whom a statement of a resource or trust policy is about."""

    everyone: bool = False
    #: 12 digits of an account, or an ARN of an account's root, a user, a role or an assumed role.
    aws: tuple[str, ...] = ()
    #: ``sagemaker.amazonaws.com``
    services: tuple[str, ...] = ()


class Condition(msgspec.Struct, frozen=True):
    """One operator on one key: ``ForAnyValue:StringLike``, ``aws:TagKeys``, values of which one has to match."""

    operator: str
    key: str
    values: tuple[str, ...]


class Statement(msgspec.Struct, frozen=True):
    """One statement. The ``excepts_`` flags tell NotAction, NotResource and NotPrincipal from their opposites.

    ``resources`` is empty in a trust policy, ``principals`` is None in identity and session policies.
    """

    effect: Effect
    actions: tuple[str, ...]
    excepts_actions: bool = False
    resources: tuple[str, ...] = ()
    excepts_resources: bool = False
    principals: Principals | None = None
    excepts_principals: bool = False
    conditions: tuple[Condition, ...] = ()
    sid: str = ""


class Document(msgspec.Struct, frozen=True):
    """A whole policy."""

    kind: Kind
    statements: tuple[Statement, ...]
    version: str = "2008-10-17"
    id: str = ""

    @property
    def has_variables(self) -> bool:
        """Whether ``${...}`` is substituted; in documents of the older version it stands for itself."""
        return self.version == "2012-10-17"


def parse(text: str, kind: Kind) -> Document:
    """The policy. Raises `PolicyError` with the position of the first thing that is wrong."""
    if len(text) > LONGEST:
        raise jsontext.error(text, LONGEST, f"a policy has at most {LONGEST:,} characters, this one has {len(text):,}")
    if kind is Kind.RESOURCE and not text.isascii():
        offset = next(index for index, character in enumerate(text) if not character.isascii())
        raise jsontext.error(text, offset, f"a {kind.value} may hold only ASCII characters")
    return _Parser(text, kind).document(jsontext.read(text))


class _Parser:
    def __init__(self, text: str, kind: Kind) -> None:
        self._text = text
        self._kind = kind
        self._names_principals = kind in (Kind.RESOURCE, Kind.TRUST)
        self._substitutes = False
        self._sids: set[str] = set()

    def document(self, node: Node) -> Document:
        members = self._object(node, "")
        self._only(members, ("Version", "Id", "Statement"), "")
        version = self._string(members["Version"], "Version") if "Version" in members else "2008-10-17"
        if version not in ("2012-10-17", "2008-10-17"):
            raise self._error(members["Version"], "Version", "must be 2012-10-17 or 2008-10-17")
        self._substitutes = version == "2012-10-17"
        id_ = self._string(members["Id"], "Id") if "Id" in members else ""
        if "Statement" not in members:
            raise self._error(node, "Statement", "is missing")
        return Document(self._kind, self._statements(members["Statement"]), version, id_)

    def _statements(self, node: Node) -> tuple[Statement, ...]:
        if not isinstance(node.value, list):
            return (self._statement(node, "Statement"),)
        self._filled(node, "Statement")
        return tuple(self._statement(each, f"Statement[{index}]") for index, each in enumerate(node.value))

    def _statement(self, node: Node, path: str) -> Statement:
        members = self._object(node, path)
        self._only(members, _ELEMENTS, path)
        sid = self._sid(members["Sid"], f"{path}.Sid") if "Sid" in members else ""
        excepts_actions, actions = self._one_of(node, members, path, "Action", elements.action_problem)
        excepts_resources, resources = self._resources(node, members, path)
        excepts_principals, principals = self._principals(node, members, path)
        return Statement(
            effect=self._effect(node, members, path),
            actions=actions,
            excepts_actions=excepts_actions,
            resources=resources,
            excepts_resources=excepts_resources,
            principals=principals,
            excepts_principals=excepts_principals,
            conditions=self._conditions(members["Condition"], f"{path}.Condition") if "Condition" in members else (),
            sid=sid,
        )

    def _sid(self, node: Node, path: str) -> str:
        sid = self._string(node, path)
        if not elements.is_sid(sid):
            raise self._error(node, path, "may hold only letters and digits of ASCII")
        if sid and sid in self._sids:
            raise self._error(node, path, f"another statement has the Sid {_shown(sid)}")
        self._sids.add(sid)
        return sid

    def _effect(self, statement: Node, members: dict[str, Node], path: str) -> Effect:
        node = members.get("Effect")
        if node is None:
            raise self._error(statement, f"{path}.Effect", "is missing")
        text = self._string(node, f"{path}.Effect")
        if text not in (Effect.ALLOW, Effect.DENY):
            raise self._error(node, f"{path}.Effect", "must be Allow or Deny")
        return Effect(text)

    def _resources(self, statement: Node, members: dict[str, Node], path: str) -> tuple[bool, tuple[str, ...]]:
        if self._kind is Kind.TRUST:
            for name in ("Resource", "NotResource"):
                if name in members:
                    raise self._error(members[name], f"{path}.{name}", "a role trust policy has none: it is the role's")
            return False, ()
        return self._one_of(statement, members, path, "Resource", self._resource_problem)

    def _resource_problem(self, text: str) -> str | None:
        return elements.resource_problem(text, self._substitutes)

    def _one_of(
        self, statement: Node, members: dict[str, Node], path: str, name: str, problem: Callable[[str], str | None]
    ) -> tuple[bool, tuple[str, ...]]:
        """Of an element and its opposite the one that is there, and whether it is the opposite."""
        chosen = self._either(statement, members, path, name)
        found = self._strings(members[chosen], f"{path}.{chosen}")
        for where, node, text in found:
            wrong = problem(text)
            if wrong is None and name == "Action" and self._kind is Kind.TRUST and not text.lower().startswith("sts:"):
                wrong = "a role trust policy is about sts: actions"
            if wrong:
                raise self._error(node, where, f"{_shown(text)} {wrong}")
        return chosen != name, tuple(text for _, _, text in found)

    def _either(self, statement: Node, members: dict[str, Node], path: str, name: str) -> str:
        opposite = f"Not{name}"
        if name in members and opposite in members:
            raise self._error(members[opposite], f"{path}.{opposite}", f"a statement has this or {name}, not both")
        if name not in members and opposite not in members:
            raise self._error(statement, f"{path}.{name}", f"is missing, and there is no {opposite}")
        return name if name in members else opposite

    def _principals(self, statement: Node, members: dict[str, Node], path: str) -> tuple[bool, Principals | None]:
        if not self._names_principals:
            for name in ("Principal", "NotPrincipal"):
                if name in members:
                    message = "belongs into policies of resources and roles; this one is about whom it is attached to"
                    raise self._error(members[name], f"{path}.{name}", message)
            return False, None
        chosen = self._either(statement, members, path, "Principal")
        node, where = members[chosen], f"{path}.{chosen}"
        if chosen == "NotPrincipal" and self._kind is Kind.TRUST:
            raise self._error(node, where, "a role trust policy names whom it is about with Principal")
        return chosen == "NotPrincipal", self._principal(node, where)

    def _principal(self, node: Node, path: str) -> Principals:
        if isinstance(node.value, str):
            if node.value != "*":
                raise self._error(node, path, 'must be "*" or an object like {"AWS": "arn:..."}')
            return Principals(everyone=True)
        members = self._object(node, path)
        self._only(members, ("AWS", "Service"), path)
        self._filled(node, path)
        aws = self._strings(members["AWS"], f"{path}.AWS") if "AWS" in members else []
        services = self._strings(members["Service"], f"{path}.Service") if "Service" in members else []
        for found, problem in ((aws, elements.principal_problem), (services, elements.service_problem)):
            for where, value, text in found:
                if wrong := problem(text):
                    raise self._error(value, where, f"{_shown(text)} {wrong}")
        names = tuple(text for _, _, text in aws)
        return Principals(
            everyone="*" in names,
            aws=tuple(name for name in names if name != "*"),
            services=tuple(text for _, _, text in services),
        )

    def _conditions(self, node: Node, path: str) -> tuple[Condition, ...]:
        found: list[Condition] = []
        for name, inner in self._object(node, path).items():
            operator = operators.find(name)
            if operator is None:
                message = f"{_shown(name)} is no condition operator{operators.suggestion(name)}"
                raise self._error(inner, _member(path, name), message)
            found += self._of_operator(name, operator, inner, _member(path, name))
        return tuple(found)

    def _of_operator(self, name: str, operator: operators.Operator, node: Node, path: str) -> list[Condition]:
        found: dict[str, Condition] = {}
        members = self._object(node, path)
        self._filled(node, path)
        for written, values in members.items():
            where = _member(path, written)
            key = keys.find(written)
            if key is None:
                message = f"{_shown(written)} is no known condition key{keys.suggestion(written)}"
                raise self._error(values, where, message)
            if written.lower() in found:
                raise self._error(values, where, "the same key is there in another case")
            if not operator.takes(key):
                raise self._error(values, where, f"{name} can never match {key.name}, which is {key.type.value}")
            texts = tuple(self._value(operator, each, at) for at, each in self._several(values, where))
            found[written.lower()] = Condition(name, written, texts)
        return list(found.values())

    def _value(self, operator: operators.Operator, node: Node, path: str) -> str:
        match node.value:
            case str(text) | Number(text):
                pass
            case bool(truth):
                text = str(truth).lower()
            case _:
                raise self._error(node, path, f"is {node.kind}, not a string, a number or a boolean")
        if wrong := operator.base.problem(text, self._substitutes):
            raise self._error(node, path, f"{_shown(text)} {wrong}")
        return text

    def _error(self, node: Node, path: str, message: str) -> PolicyError:
        return jsontext.error(self._text, node.offset, message, path or "document")

    def _object(self, node: Node, path: str) -> dict[str, Node]:
        if not isinstance(node.value, dict):
            raise self._error(node, path, f"is {node.kind}, not an object")
        return node.value

    def _only(self, members: dict[str, Node], known: tuple[str, ...], path: str) -> None:
        for name, node in members.items():
            if name not in known:
                message = f"{_shown(name)} is not known here: {', '.join(known)} are"
                raise self._error(node, _member(path, name), message)

    def _filled(self, node: Node, path: str) -> None:
        if not node.value:
            raise self._error(node, path, "is empty")

    def _string(self, node: Node, path: str) -> str:
        if not isinstance(node.value, str):
            raise self._error(node, path, f"is {node.kind}, not a string")
        return node.value

    def _strings(self, node: Node, path: str) -> list[tuple[str, Node, str]]:
        """One string or a list of them: of each where it is, the node, the string."""
        return [(at, each, self._string(each, at)) for at, each in self._several(node, path)]

    def _several(self, node: Node, path: str) -> list[tuple[str, Node]]:
        if not isinstance(node.value, list):
            return [(path, node)]
        self._filled(node, path)
        return [(f"{path}[{index}]", each) for index, each in enumerate(node.value)]


_ELEMENTS = (
    "Sid",
    "Effect",
    "Principal",
    "NotPrincipal",
    "Action",
    "NotAction",
    "Resource",
    "NotResource",
    "Condition",
)


def _member(path: str, name: str) -> str:
    return f"{path}.{name[:64]}" if path else name[:64]


def _shown(text: str) -> str:
    """A text of the author's, which may be long, in a message."""
    return f'"{text[:64]}..."' if len(text) > 64 else f'"{text}"'
