"""What callers may do: the policies of one access table, compiled when they are first needed."""

import logging
from collections.abc import Sequence

from polyport.access import callers
from polyport.access.callers import Caller, Circumstances, Keys
from polyport.aws import denials
from polyport.aws.denials import Denial
from polyport.aws.policy import compiled, document, evaluate
from polyport.aws.policy.compiled import Policies
from polyport.aws.policy.evaluate import Decision, Principal, Request
from polyport.domain.access import AccessTable, Grantee, PolicyText, PrincipalKind
from polyport.errors import PolicyError

log = logging.getLogger(__name__)

#: Condition keys that differ from call to call of one caller. A decision that asks for none of them stays true.
VARYING = frozenset({"aws:sourceip", "aws:currenttime", "aws:epochtime", "aws:useragent"})
_TAGS = ("aws:resourcetag/", "sagemaker:resourcetag/")
#: Session policies come from clients: so many sets of them are kept compiled.
_MOST_SESSIONS = 1024

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
        request = self._request(caller, action, resource, keys, circumstances)
        if caller.kind is None:
            return evaluate.ROOT
        return evaluate.decide(
            request,
            principal(caller),
            self.identity(caller),
            self.session(caller),
            self._of_resource(resource),
            account_of(resource) or caller.account,
        )

    def refusal(
        self, caller: Caller, action: str, resource: str, keys: Keys, circumstances: Circumstances
    ) -> Denial | None:
        """What a caller is told who may not; ``None`` for one who may."""
        decision = self.decide(caller, action, resource, keys, circumstances)
        return None if decision.allowed else self.denied(caller, action, resource, decision)

    @staticmethod
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
