"""What callers may do: the policies of one access table, compiled when they are first needed."""

import logging
from collections.abc import Sequence

from polyport.access import callers
from polyport.access.callers import Caller, Circumstances, Keys
from polyport.aws import denials
from polyport.aws.denials import Denial
from polyport.aws.policy import compiled, document, evaluate, principals
from polyport.aws.policy.compiled import Policies
from polyport.aws.policy.evaluate import Decision, Request
from polyport.aws.policy.principals import Principal
from polyport.domain.access import AccessTable, Grantee, PolicyText, PrincipalKind
from polyport.errors import PolicyError

log = logging.getLogger(__name__)

#: Condition keys that differ from call to call of one caller. A decision that asks for none of them stays true.
VARYING = frozenset({"aws:sourceip", "aws:currenttime", "aws:epochtime", "aws:useragent"})
_TAGS = ("aws:resourcetag/", "sagemaker:resourcetag/")
#: Session policies come from clients: so many sets of them are kept compiled.
_MOST_SESSIONS = 1024

PASS_ROLE = "iam:PassRole"  # noqa: S105  an action, no password
ASSUME_ROLE = "sts:AssumeRole"
_KINDS = {
    PrincipalKind.USER: principals.PrincipalKind.USER,
    PrincipalKind.ROLE: principals.PrincipalKind.ROLE_SESSION,
    None: principals.PrincipalKind.ROOT,
}

Texts = tuple[PolicyText, ...]


class Authority:
    """``before``: the one that this one takes the place of; what did not change is not compiled again."""

    def __init__(self, table: AccessTable, before: "Authority | None" = None) -> None:
        self._table = table
        self._grantees = {(one.account, one.kind, one.name): one for one in table.grantees}
        self._compiled: dict[tuple[document.Kind, Texts], Policies] = {}
        self._sessions: dict[Texts, Policies] = {}
        if before is not None:
            wanted = {one.policies for one in table.grantees}
            self._compiled = {key: kept for key, kept in before._compiled.items() if key[1] in wanted}
            self._sessions = before._sessions

    def grantee(self, caller: Caller) -> Grantee | None:
        """The user or role that a caller is."""
        return self._grantees.get((caller.account, caller.kind, caller.name)) if caller.kind else None

    def decide(self, caller: Caller, action: str, resource: str, keys: Keys, circumstances: Circumstances) -> Decision:
        """Whether the caller may do that. ``keys`` are condition keys of the call itself."""
        request = self.request(caller, action, resource, keys, circumstances)
        # A role that is passed on is a name to us: whose it is makes no difference.
        account = "" if action == PASS_ROLE else account_of(resource)
        return evaluate.decide(
            request,
            principal(caller),
            self.identity(caller),
            self.session(caller),
            self.of_resource(resource),
            account or caller.account,
        )

    def decide_trust(self, caller: Caller, role: Grantee, keys: Keys, circumstances: Circumstances) -> Decision:
        """Whether the caller may assume a role."""
        request = self.request(caller, ASSUME_ROLE, role.arn, keys, circumstances)
        sides = self.identity(caller), self.session(caller), self.trust(role)
        return evaluate.decide_trust(request, principal(caller), *sides, role.account)

    def refusal(
        self, caller: Caller, action: str, resource: str, keys: Keys, circumstances: Circumstances
    ) -> Denial | None:
        """What a caller is told who may not; ``None`` for one who may."""
        decision = self.decide(caller, action, resource, keys, circumstances)
        return None if decision.allowed else self.denied(caller, action, resource, decision)

    @staticmethod
    def denied(caller: Caller, action: str, resource: str, decision: Decision) -> Denial:
        """What a caller is told who may not, in AWS's words."""
        return denials.forbidden(
            f"User: {caller.arn} is not authorized to perform: {action} on resource: {resource} {decision.denial}"
        )

    def dependencies(self, caller: Caller, resource: str) -> frozenset[str]:
        """The condition keys that decisions on this caller and resource may ask for."""
        asked = [self.identity(caller), self.session(caller), self.of_resource(resource)]
        return frozenset[str]().union(*(policies.dependencies for policies in asked if policies is not None))

    def asks_for_tags(self, caller: Caller, resource: str) -> bool:
        """Whether decisions may depend on the resource's tags."""
        return any(key.startswith(_TAGS) for key in self.dependencies(caller, resource))

    def identity(self, caller: Caller) -> Policies:
        """The policies attached to the caller."""
        grantee = self.grantee(caller)
        return self._compile(document.Kind.IDENTITY, grantee.policies if grantee else ())

    def session(self, caller: Caller) -> Policies | None:
        """The policies that limit a session, if any do."""
        if not caller.policies:
            return None
        if caller.policies not in self._sessions:
            if len(self._sessions) >= _MOST_SESSIONS:
                self._sessions.clear()
            self._sessions[caller.policies] = _compile(document.Kind.SESSION, caller.policies)
        return self._sessions[caller.policies]

    def trust(self, role: Grantee) -> Policies:
        """A role's trust policy."""
        return self._compile(document.Kind.TRUST, (PolicyText("trust policy", role.trust),))

    def of_resource(self, resource: str) -> Policies | None:
        """The policy of an endpoint, by its ARN, if it has one."""
        text = self._table.endpoint_policies.get(resource)
        if text is None:
            return None
        return self._compile(document.Kind.RESOURCE, (PolicyText("endpoint policy", text),))

    def request(self, caller: Caller, action: str, resource: str, keys: Keys, circumstances: Circumstances) -> Request:
        """What is decided on, with all condition keys."""
        context = {**callers.keys(caller, circumstances), **keys}
        account = account_of(resource)
        if account:
            context["aws:resourceaccount"] = account
        tags = self._table.endpoint_tags.get(resource)
        if tags:
            context |= callers.tag_keys(tags)
        return Request(action, resource, context)

    def _compile(self, kind: document.Kind, texts: Texts) -> Policies:
        key = (kind, texts)
        if key not in self._compiled:
            self._compiled[key] = _compile(kind, texts)
        return self._compiled[key]


def principal(caller: Caller) -> Principal:
    """As policies name the caller."""
    return Principal(_KINDS[caller.kind], caller.account, caller.arn, caller.role_arn)


def account_of(arn: str) -> str:
    """The account in an ARN; empty if there is none."""
    parts = arn.split(":", 5)
    return parts[4] if len(parts) == 6 else ""


def _compile(kind: document.Kind, texts: Sequence[PolicyText]) -> Policies:
    try:
        return compiled.compile([(text.name, document.parse(text.document, kind)) for text in texts])
    except PolicyError as error:
        # It was checked when it was put there, perhaps by a version that knew more. In doubt, nobody may.
        log.error("a policy cannot be read, so it grants nothing: %s", error)
        return compiled.compile([("unreadable", document.parse(_DENY_ALL[kind], kind))])


_DENY = '{"Version":"2012-10-17","Statement":[{"Effect":"Deny",%s"Action":"*"%s}]}'
_DENY_ALL = {
    document.Kind.IDENTITY: _DENY % ("", ',"Resource":"*"'),
    document.Kind.SESSION: _DENY % ("", ',"Resource":"*"'),
    document.Kind.RESOURCE: _DENY % ('"Principal":"*",', ',"Resource":"*"'),
    document.Kind.TRUST: _DENY % ('"Principal":"*",', ""),
}
